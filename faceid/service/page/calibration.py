"""The page of thresholds: what a rate of false alarms means here, whether it is kept, who would be taken for whom."""

import json
from typing import Annotated

from fastapi import File, Form, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from faceid.service.api import jobs as jobs_api
from faceid.service.api import thresholds as api
from faceid.service.api.parts import GalleryPath, compute, service_of
from faceid.service.gate import access
from faceid.service.page.rendering import go, show
from faceid.service.page.routes import page_router
from faceid.service.page.trial import tried

router = page_router()

_PLACE = "/galleries/{gallery}/calibration"


@router.get(_PLACE, openapi_extra=access("identify"))
async def calibration(request: Request, gallery: GalleryPath) -> Response:
    """Show the thresholds, and the form that measures them anew."""
    table = await api.thresholds(request, gallery, fpir=[*api.FPIRS], far=[*api.FARS])
    people = service_of(request).galleries.get(gallery).reader.size
    return show(request, "calibration", rows=table.rows, people=people)


@router.get(f"{_PLACE}/trial", openapi_extra=access("enrol"))
async def trial(request: Request, gallery: GalleryPath) -> Response:
    """Try the thresholds on strangers and on the gallery's own people; takes a moment."""
    service = service_of(request)
    opened = service.galleries.get(gallery)
    found = await compute(request, lambda: tried(opened, service.settings.fpir, api.FPIRS))
    return show(request, "trial", trial=found)


@router.post(_PLACE, openapi_extra=access("admin"))
async def calibrate(
    request: Request,
    gallery: GalleryPath,
    archive: Annotated[UploadFile | None, File()] = None,
    keep: Annotated[bool, Form()] = False,
) -> Response:
    """Begin a job that measures with photos of strangers; without any the gallery's own people serve."""
    given = archive if archive is not None and archive.filename else None
    answer = await jobs_api.calibrate(request, gallery, archive=given, keep=keep)
    return go(f"/galleries/{gallery}/jobs/{json.loads(bytes(answer.body))['job']['id']}")
