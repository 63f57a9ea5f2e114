"""Routes about work that takes minutes: bulk enrolment, calibration, rebuilding, deep checks."""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi import Path as PathParameter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from faceid.records import EnrollmentRecord, Job, JobKind
from faceid.service.api.examples import Message
from faceid.service.api.parts import (
    GalleryPath,
    IdempotencyKey,
    changing,
    once,
    problems,
    request_id_of,
    service_of,
)
from faceid.service.database import UPLOADS
from faceid.service.gate import GuardedRoute, access
from faceid.service.idempotency import request_digest
from faceid.service.problems import Problem
from faceid.vision.detection import FacePolicy

router = APIRouter(route_class=GuardedRoute, tags=["jobs"])

JobPath = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$", description="a job's id", examples=["0" * 32])]
_Archive = Annotated[UploadFile | None, File(description="a zip file with one folder a person")]
_PLACE = "/v1/galleries/{gallery}/jobs"


class OneJob(Message):
    """One job."""

    request_id: str
    job: Job


class JobList(Message):
    """A gallery's jobs, newest first."""

    request_id: str
    jobs: list[Job]


class JobRecords(Message):
    """What became of each photo so far."""

    request_id: str
    records: list[EnrollmentRecord]


@router.post(
    f"{_PLACE}/enroll",
    openapi_extra=access("enrol"),
    response_model=OneJob,
    responses=problems("no_such_gallery", "no_such_folder", "bad_archive", "too_large", "audit_unavailable"),
    summary="Enrol many people",
)
async def enroll(
    request: Request,
    gallery: GalleryPath,
    archive: _Archive = None,
    folder: Annotated[
        str | None, Form(max_length=64, description="a folder that the settings name", examples=["import"])
    ] = None,
    faces: Annotated[
        FacePolicy, Form(description="which face of a photo is the person", examples=["exactly-one"])
    ] = "exactly-one",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Enrol a zip file, or a folder of the server's settings: one folder a person, named as the person."""
    service = service_of(request)
    if (archive is None) == (folder is None):
        raise Problem("invalid_request", "give an archive or a folder")
    if folder is not None and folder not in service.settings.folders:
        raise Problem("no_such_folder", f"the settings name no folder {folder!r}")
    if faces == "all":
        raise Problem("invalid_request", "enrolment takes one face a photo: exactly-one, largest or centre")
    asked = {"folder": folder, "faces": faces}
    return await run_in_threadpool(_create, request, gallery, "enroll", asked, archive, idempotency_key)


@router.post(
    f"{_PLACE}/calibrate",
    openapi_extra=access("admin"),
    response_model=OneJob,
    responses=problems("no_such_gallery", "bad_archive", "too_large", "audit_unavailable"),
    summary="Measure the gallery's thresholds",
)
async def calibrate(
    request: Request,
    gallery: GalleryPath,
    archive: _Archive = None,
    keep: Annotated[bool, Form(description="keep the strangers' vectors in the gallery", examples=[False])] = False,
    faces: Annotated[FacePolicy, Form(description="which faces of a photo count", examples=["largest"])] = "largest",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Measure with photos of strangers, people who are not in the gallery; without them its own people serve."""
    asked = {"keep": keep, "faces": faces}
    return await run_in_threadpool(_create, request, gallery, "calibrate", asked, archive, idempotency_key)


@router.post(
    f"{_PLACE}/rebuild",
    openapi_extra=access("admin"),
    response_model=OneJob,
    responses=problems("no_such_gallery", "audit_unavailable"),
    summary="Make the caches anew",
)
def rebuild(request: Request, gallery: GalleryPath, idempotency_key: IdempotencyKey = None) -> Response:
    """Make every cache of the gallery anew from its database."""
    return _create(request, gallery, "rebuild", {}, None, idempotency_key)


@router.post(
    f"{_PLACE}/check",
    openapi_extra=access("curate"),
    response_model=OneJob,
    responses=problems("no_such_gallery", "audit_unavailable"),
    summary="Read every byte",
)
def check(request: Request, gallery: GalleryPath, idempotency_key: IdempotencyKey = None) -> Response:
    """Read every byte of the gallery's files and compare; the job's message says what was found."""
    return _create(request, gallery, "check", {}, None, idempotency_key)


@router.get(_PLACE, openapi_extra=access("enrol"), responses=problems("no_such_gallery"), summary="All jobs")
def list_jobs(request: Request, gallery: GalleryPath) -> JobList:
    """List a gallery's jobs, newest first."""
    service = service_of(request)
    service.galleries.get(gallery)
    return JobList(request_id=request_id_of(request), jobs=service.jobs.of_gallery(gallery))


@router.get(
    f"{_PLACE}/{{job}}",
    openapi_extra=access("enrol"),
    responses=problems("no_such_gallery", "no_such_job"),
    summary="How far a job is",
)
def show_job(request: Request, gallery: GalleryPath, job: JobPath) -> OneJob:
    """Say how far a job is."""
    service = service_of(request)
    service.galleries.get(gallery)
    return OneJob(request_id=request_id_of(request), job=service.jobs.get(gallery, job))


@router.get(
    f"{_PLACE}/{{job}}/records",
    openapi_extra=access("enrol"),
    responses=problems("no_such_gallery", "no_such_job"),
    summary="What became of each photo",
)
def job_records(request: Request, gallery: GalleryPath, job: JobPath) -> JobRecords:
    """Tell what became of each photo; these are destroyed when somebody of the gallery is erased."""
    service = service_of(request)
    service.galleries.get(gallery)
    return JobRecords(request_id=request_id_of(request), records=service.jobs.records(gallery, job))


@router.post(
    f"{_PLACE}/{{job}}/cancel",
    openapi_extra=access("enrol"),
    responses=problems("no_such_gallery", "no_such_job", "job_ended"),
    summary="Let a job end",
)
def cancel(request: Request, gallery: GalleryPath, job: JobPath) -> OneJob:
    """Let a job end; what it has done stays."""
    service = service_of(request)
    service.galleries.get(gallery)
    with changing(request, "cancel job", gallery):
        ended = service.jobs.cancel(gallery, job)
    return OneJob(request_id=request_id_of(request), job=ended)


def _create(
    request: Request,
    gallery: str,
    kind: JobKind,
    asked: dict[str, Any],
    archive: UploadFile | None,
    idempotency_key: str | None,
) -> Response:
    service = service_of(request)
    service.galleries.get(gallery)
    upload = None if archive is None else _kept(archive, service.settings.data / UPLOADS)

    def work() -> OneJob:
        with changing(request, f"job {kind}", gallery):
            job = service.jobs.create(gallery, kind, asked, request.state.caller.key_id, upload)
        return OneJob(request_id=request_id_of(request), job=job)

    try:
        digest = request_digest(f"job {kind}", gallery, repr(sorted(asked.items())), _digest(upload))
        return once(request, gallery, idempotency_key, digest, work)
    finally:
        if upload is not None:
            upload.unlink(missing_ok=True)


def _kept(archive: UploadFile, folder: Path) -> Path:
    """Copy an uploaded archive to where jobs find it."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
        try:
            shutil.copyfileobj(archive.file, file)
            file.flush()
        except BaseException:  # on a full disk half an archive would keep it full
            Path(file.name).unlink()
            raise
    return Path(file.name)


def _digest(upload: Path | None) -> bytes | None:
    if upload is None:
        return None
    with upload.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
