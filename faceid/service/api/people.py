"""Routes about people: list and search, show, enrol, add photos."""

import base64
import json
from typing import Annotated, Any
from unicodedata import normalize

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from starlette.responses import Response

from faceid.records import (
    EnrollmentRecord,
    PersonRecord,
    TemplateRecord,
    person_record,
    template_record,
)
from faceid.service.api.examples import Message
from faceid.service.api.parts import (
    GalleryPath,
    IdempotencyKey,
    PersonPath,
    Uploaded,
    changing,
    compute,
    once,
    problems,
    read_photos,
    request_id_of,
    service_of,
)
from faceid.service.galleries import OpenGallery
from faceid.service.gate import GuardedRoute, access
from faceid.service.idempotency import request_digest
from faceid.service.problems import Problem
from faceid.vision.detection import FacePolicy
from faceid.vision.photo_list import PersonPhoto
from faceid.vision.quality import Limits
from indexer.records import Identity, clean_name

router = APIRouter(route_class=GuardedRoute, tags=["people"])

Photos = Annotated[list[UploadFile], File(description="photos of this one person")]
OneFace = Annotated[
    FacePolicy, Form(description="which face of a photo is the person: not `all`", examples=["exactly-one"])
]
Name = Annotated[str, Form(min_length=1, max_length=255, examples=["Ada Lovelace"])]


class PeoplePage(Message):
    """Some people in order of id; `next_cursor` leads to the next ones, null at the end."""

    request_id: str
    people: list[PersonRecord]
    next_cursor: str | None


class Person(Message):
    """One person and the photos that were enrolled."""

    request_id: str
    person: PersonRecord
    templates: list[TemplateRecord]


class Enrolled(Message):
    """The person as it is now, and what became of each photo."""

    request_id: str
    person: PersonRecord
    photos: list[EnrollmentRecord]


@router.get(
    "/v1/galleries/{gallery}/people",
    openapi_extra=access("enrol"),
    responses=problems("no_such_gallery", "invalid_cursor"),
    summary="Who is in the gallery",
)
def list_people(
    request: Request,
    gallery: GalleryPath,
    search: Annotated[str | None, Query(max_length=255, description="part of a name or external id")] = None,
    removed: Annotated[bool, Query(description="removed people, too")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=255, description="`next_cursor` of the page before")] = None,
) -> PeoplePage:
    """List people in order of id, a page at a time; somebody who is enrolled meanwhile comes at the end."""
    opened = service_of(request).galleries.get(gallery)
    after = -1 if cursor is None else _after(cursor, gallery)
    wanted = " ".join(normalize("NFC", search or "").split()).casefold()  # as the gallery keeps names
    found = [one for one in opened.people() if one.id > after and (removed or not one.removed) and _fits(one, wanted)]
    page = found[:limit]
    return PeoplePage(
        request_id=request_id_of(request),
        people=[person_record(one) for one in page],
        next_cursor=_cursor(page[-1].id, gallery) if len(found) > limit else None,
    )


@router.get(
    "/v1/galleries/{gallery}/people/{person}",
    openapi_extra=access("enrol"),
    responses=problems("no_such_gallery", "no_such_person"),
    summary="One person",
)
def show_person(request: Request, gallery: GalleryPath, person: PersonPath) -> Person:
    """Show a person and the photos that were enrolled, removed ones too; never a vector."""
    opened = service_of(request).galleries.get(gallery)
    identity = opened.person(person)
    templates = opened.reader.templates_of(identity.id, include_removed=True)
    return Person(
        request_id=request_id_of(request),
        person=person_record(identity),
        templates=[template_record(one) for one in templates],
    )


@router.post(
    "/v1/galleries/{gallery}/people",
    openapi_extra=access("enrol"),
    response_model=Enrolled,
    responses=problems("no_such_gallery", "invalid_name", "no_face", "too_large", "too_slow", "gallery_locked", "busy"),
    summary="Enrol a person",
)
async def enroll_person(
    request: Request,
    gallery: GalleryPath,
    name: Name,
    photos: Photos,
    external_id: Annotated[
        str | None, Form(max_length=255, description="tells namesakes apart", examples=["4711"])
    ] = None,
    faces: OneFace = "exactly-one",
    restore: Annotated[bool, Form(description="bring a removed person back", examples=[False])] = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Enrol photos of one person. Somebody of that name (or external id) who is there already gets them as well.

    The records are those of `faceid enroll --json`; 422 `no_face` where no photo was of use, with the reasons.
    """
    opened = service_of(request).galleries.get(gallery)
    clean_name(name)
    if external_id:
        clean_name(external_id)
    uploaded = await read_photos(request, photos)
    asked = request_digest("enroll", gallery, name, external_id, faces, str(restore), uploaded.data)

    def work() -> Enrolled:
        return _enroll(request, opened, uploaded, name, external_id or None, faces, restore)

    return await compute(request, lambda: once(request, gallery, idempotency_key, asked, work))


@router.post(
    "/v1/galleries/{gallery}/people/{person}/photos",
    openapi_extra=access("enrol"),
    response_model=Enrolled,
    responses=problems(
        "no_such_gallery", "no_such_person", "no_face", "too_large", "too_slow", "gallery_locked", "busy"
    ),
    summary="Add photos to a person",
)
async def add_photos(
    request: Request,
    gallery: GalleryPath,
    person: PersonPath,
    photos: Photos,
    faces: OneFace = "exactly-one",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Enrol more photos of somebody who is in the gallery."""
    opened = service_of(request).galleries.get(gallery)
    uploaded = await read_photos(request, photos)
    asked = request_digest("add", gallery, str(person), faces, uploaded.data)

    def work() -> Enrolled:
        identity = opened.person(person)
        return _enroll(request, opened, uploaded, identity.name, identity.external_id, faces, False)

    return await compute(request, lambda: once(request, gallery, idempotency_key, asked, work))


def _enroll(
    request: Request,
    opened: OpenGallery,
    uploaded: Uploaded,
    name: str,
    external_id: str | None,
    faces: FacePolicy,
    restore: bool,
) -> Enrolled:
    if faces == "all":
        raise Problem("invalid_request", "enrolment takes one face a photo: exactly-one, largest or centre")
    people = [PersonPhoto(picture, name, external_id) for picture in uploaded.pictures]
    keep_crops = service_of(request).settings.keep_crops
    with changing(request, "enroll", opened.name) as change:
        with opened.writing() as writer:
            results = opened.engine.enroll(
                writer, people, faces=faces, limits=Limits(), restore=restore, keep_crops=keep_crops
            )
            (who,) = writer.meant([(name, external_id)])
        for result in results:
            service_of(request).metrics.enrolled.labels(opened.name, result.status).inc()
        records = [result.record() for result in results]
        if not any(result.status in ("enrolled", "already_enrolled") for result in results):
            raise Problem("no_face", "; ".join(result.message or result.status for result in results), _more(records))
        if who is None:
            raise Problem("no_such_person", "the person was erased in the same moment")
        change.about = (who,)
        identity = opened.person(who)
    return Enrolled(request_id=request_id_of(request), person=person_record(identity), photos=records)


def _more(records: list[EnrollmentRecord]) -> dict[str, Any]:
    return {"photos": records}


def _fits(identity: Identity, wanted: str) -> bool:
    return wanted in identity.name.casefold() or (
        identity.external_id is not None and wanted in identity.external_id.casefold()
    )


def _cursor(last_id: int, gallery: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([gallery, last_id]).encode()).decode().rstrip("=")


def _after(cursor: str, gallery: str) -> int:
    try:
        of_gallery, last_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if of_gallery != gallery or type(last_id) is not int:
            raise ValueError
    except (ValueError, TypeError) as error:
        raise Problem("invalid_cursor", "take `next_cursor` of the page before, of the same gallery") from error
    return last_id
