"""The page of health: are the gallery's files sound, what computes, and the two jobs that mend or look closer."""

from starlette.requests import Request
from starlette.responses import Response

from faceid.service.api import jobs as jobs_api
from faceid.service.api import system as api
from faceid.service.api.parts import GalleryPath
from faceid.service.gate import access
from faceid.service.page.rendering import go, show
from faceid.service.page.routes import page_router

router = page_router()

_PLACE = "/galleries/{gallery}/health"


@router.get(_PLACE, openapi_extra=access("curate"))
def health(request: Request, gallery: GalleryPath) -> Response:
    """Show what a check of the files finds, and what the gallery is."""
    return show(
        request,
        "health",
        health=api.gallery_health(request, gallery),
        facts=api.gallery_facts(request, gallery),
        model=api.gallery_model(request, gallery),
    )


@router.post(f"{_PLACE}/check", openapi_extra=access("curate"))
def check(request: Request, gallery: GalleryPath) -> Response:
    """Begin a job that reads every byte."""
    jobs_api.check(request, gallery)
    return go(f"/galleries/{gallery}/jobs", "started")


@router.post(f"{_PLACE}/rebuild", openapi_extra=access("admin"))
def rebuild(request: Request, gallery: GalleryPath) -> Response:
    """Begin a job that makes the caches anew."""
    jobs_api.rebuild(request, gallery)
    return go(f"/galleries/{gallery}/jobs", "started")
