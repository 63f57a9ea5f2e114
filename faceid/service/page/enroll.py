"""Pages that enrol: one person from photos, or many from a folder."""

import json
import tempfile
import zipfile
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import File, Form, UploadFile
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from faceid.records import EnrollmentRecord
from faceid.service.api import jobs as jobs_api
from faceid.service.api import people as api
from faceid.service.api.parts import GalleryPath, service_of
from faceid.service.gate import access
from faceid.service.page.rendering import go, show
from faceid.service.page.routes import page_router
from faceid.service.problems import Problem
from faceid.vision.detection import FacePolicy

router = page_router()

_PLACE = "/galleries/{gallery}/enroll"
_Photos = Annotated[list[UploadFile], File()]
_OneFace = Annotated[FacePolicy, Form()]


@router.get(_PLACE, openapi_extra=access("enrol"))
def ask(request: Request, gallery: GalleryPath) -> Response:
    """Show the forms."""
    return _page(request)


@router.post(_PLACE, openapi_extra=access("enrol"))
async def enroll(
    request: Request,
    gallery: GalleryPath,
    name: Annotated[str, Form(min_length=1, max_length=255)],
    photos: _Photos,
    external_id: Annotated[str | None, Form(max_length=255)] = None,
    faces: _OneFace = "exactly-one",
) -> Response:
    """Enrol photos of one person and tell what became of each."""
    return await enroll_and_tell(request, gallery, name, external_id, photos, faces, None)


@router.post(f"{_PLACE}/folder", openapi_extra=access("enrol"))
async def enroll_folder(
    request: Request,
    gallery: GalleryPath,
    photos: Annotated[list[UploadFile] | None, File()] = None,
    archive: Annotated[UploadFile | None, File()] = None,
    folder: Annotated[str | None, Form(max_length=64)] = None,
    faces: _OneFace = "exactly-one",
) -> Response:
    """Begin a job that enrols a folder of the browser's, a zip file, or a folder that the server's settings name."""
    sent = [photo for photo in photos or [] if photo.filename]
    if sent:
        archive = await run_in_threadpool(_packed, sent)
    elif archive is not None and not archive.filename:
        archive = None
    answer = await jobs_api.enroll(request, gallery, archive=archive, folder=folder or None, faces=faces)
    return go(f"/galleries/{gallery}/jobs/{json.loads(bytes(answer.body))['job']['id']}")


async def enroll_and_tell(
    request: Request,
    gallery: str,
    name: str,
    external_id: str | None,
    photos: list[UploadFile],
    faces: FacePolicy,
    person: int | None,
) -> Response:
    """Enrol photos of somebody new, or of the person of that id, and show what became of each."""
    records: list[EnrollmentRecord]
    try:
        if person is None:
            answer = await api.enroll_person(request, gallery, name, photos, external_id=external_id, faces=faces)
        else:
            answer = await api.add_photos(request, gallery, person, photos, faces=faces)
    except Problem as problem:
        if problem.code != "no_face":
            raise
        request.state.problem = problem.code
        return _page(request, problem.more["photos"], name=name, status=problem.status)
    told = json.loads(bytes(answer.body))
    records = told["photos"]
    return _page(request, records, told["person"]["name"], told["person"]["id"])


def _page(
    request: Request,
    records: list[EnrollmentRecord] | None = None,
    name: str = "",
    person: int | None = None,
    status: int = 200,
) -> Response:
    folders = list(service_of(request).settings.folders)
    return show(request, "enroll", status=status, records=records, name=name, person=person, folders=folders)


def _packed(photos: list[UploadFile]) -> UploadFile:
    """Pack a folder that a browser sent, file by file, into the zip file that jobs take; names are labels in there."""
    file = tempfile.SpooledTemporaryFile(max_size=2**20)  # noqa: SIM115 - the job reads it
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for photo in photos:
            with archive.open(str(PurePosixPath(photo.filename or "photo")), "w") as member:
                while piece := photo.file.read(2**20):
                    member.write(piece)
    file.seek(0)
    return UploadFile(file, filename="folder.zip")  # type: ignore[arg-type]
