"""The page that says who somebody is."""

from typing import Annotated

from fastapi import File, Form, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from faceid.service.api import identify as api
from faceid.service.api.parts import GalleryPath, RateField, compute, read_photos, service_of
from faceid.service.gate import access
from faceid.service.page.photo_view import PhotoView, views_of
from faceid.service.page.rendering import show
from faceid.service.page.routes import page_router
from faceid.vision.detection import FacePolicy

router = page_router()

_RATES = (0.003, 0.01, 0.1)
_PLACE = "/galleries/{gallery}"


@router.get(_PLACE, openapi_extra=access("identify"))
def ask(request: Request, gallery: GalleryPath) -> Response:
    """Show the form for photos."""
    return _page(request, gallery, None, None, None)


@router.post(_PLACE, openapi_extra=access("identify"))
async def answer(
    request: Request,
    gallery: GalleryPath,
    photos: Annotated[list[UploadFile], File()],
    fpir: RateField = None,
    faces: Annotated[FacePolicy, Form()] = "all",
) -> Response:
    """Say who is on the photos, as `POST /v1/galleries/{gallery}/identify` does, and show them with boxes."""
    found = await api.identify(request, gallery, photos, fpir=fpir, faces=faces)
    for photo in photos:
        await photo.seek(0)
    uploaded = await read_photos(request, photos)
    views = await compute(request, lambda: views_of(uploaded.pictures, found.answers), uploaded.pictures)
    return _page(request, gallery, views, fpir, faces)


def _page(
    request: Request, gallery: str, views: list[PhotoView] | None, fpir: float | None, faces: FacePolicy | None
) -> Response:
    service = service_of(request)
    usual = service.settings.fpir
    return show(
        request,
        "identify",
        people=service.galleries.get(gallery).reader.size,
        views=views,
        rates=sorted({*_RATES, usual}),
        fpir=fpir or usual,
        faces=faces or "all",
    )
