"""The page of cameras: who was seen last, and start and stop."""

from typing import Annotated

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from faceid.service.api.parts import GalleryPath, changing, service_of
from faceid.service.gate import access
from faceid.service.page.rendering import go, show
from faceid.service.page.routes import page_router

router = page_router()

_PLACE = "/galleries/{gallery}/cameras"
CameraPath = Annotated[str, Path(max_length=64)]


@router.get(_PLACE, openapi_extra=access("identify"))
def cameras(request: Request, gallery: GalleryPath) -> Response:
    """List the cameras with their last events; while one is watched the list renews itself."""
    service = service_of(request)
    service.galleries.get(gallery)
    found = service.monitors.of(gallery)
    return show(request, "cameras", cameras=found, running=any(one.running for one in found))


@router.get(f"{_PLACE}/{{camera}}/faces/{{number}}", openapi_extra=access("identify"))
def face(request: Request, gallery: GalleryPath, camera: CameraPath, number: str) -> Response:
    """Send the picture of an event's face."""
    return Response(service_of(request).monitors.face(gallery, camera, number), media_type="image/jpeg")


@router.post(f"{_PLACE}/{{camera}}/start", openapi_extra=access("admin"))
def start(request: Request, gallery: GalleryPath, camera: CameraPath) -> Response:
    """Begin to watch a camera."""
    with changing(request, "camera.start", gallery):
        service_of(request).monitors.start(gallery, camera)
    return go(f"/galleries/{gallery}/cameras", "camera_started")


@router.post(f"{_PLACE}/{{camera}}/stop", openapi_extra=access("admin"))
def stop(request: Request, gallery: GalleryPath, camera: CameraPath) -> Response:
    """Stop watching a camera."""
    with changing(request, "camera.stop", gallery):
        service_of(request).monitors.stop(gallery, camera)
    return go(f"/galleries/{gallery}/cameras", "camera_stopped")
