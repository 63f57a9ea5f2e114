"""Routes that change who is in a gallery: rename, merge, remove, restore, erase, take back."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from faceid.records import PersonRecord, UndoableRecord, person_record, undoable_record
from faceid.service import audit
from faceid.service.api.examples import Message
from faceid.service.api.parts import (
    GalleryPath,
    IdempotencyKey,
    PersonPath,
    changing,
    once,
    problems,
    request_id_of,
    service_of,
)
from faceid.service.gate import GuardedRoute, access
from faceid.service.idempotency import request_digest
from faceid.service.problems import Problem
from indexer.gallery import Gallery
from indexer.records import clean_name

router = APIRouter(route_class=GuardedRoute, tags=["people"])


class Wish(Message):
    """The body of a change: no field that is not known is passed over, and no `true` taken for the number 1."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewName(Wish):
    """What a person is to be called."""

    name: Annotated[str, Field(min_length=1, max_length=255, examples=["Ada King"])]


class Into(Wish):
    """Whom to merge with: the person who stays."""

    into: Annotated[int, Field(ge=0, lt=2**63, examples=[2])]


class Templates(Wish):
    """Single photos of a person, by their template ids."""

    template_ids: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1, max_length=1000)]


class Confirmation(Wish):
    """The person's name, typed: erasing cannot be taken back."""

    confirm: Annotated[str, Field(max_length=255, examples=["Ada Lovelace"])]


class Entry(Wish):
    """Which change to take back; the newest one without it."""

    entry: Annotated[int | None, Field(ge=0, lt=2**63)] = None


class Changed(Message):
    """The person as it is now."""

    request_id: str
    person: PersonRecord


class Erased(Message):
    """`pending`: gone from every search; a reader or a full disk is in the way, the bytes go with a later change."""

    request_id: str
    state: Literal["done", "pending"]


class UndoableList(Message):
    """What can be taken back, newest first."""

    request_id: str
    entries: list[UndoableRecord]


class Undone(Message):
    """What was taken back."""

    request_id: str
    entry: UndoableRecord


_PLACE = "/v1/galleries/{gallery}/people/{person}"
_PROBLEMS = problems("no_such_gallery", "no_such_person", "conflict", "gallery_locked", "audit_unavailable")


@router.patch(
    _PLACE, openapi_extra=access("curate"), response_model=Changed, responses=_PROBLEMS, summary="Rename a person"
)
def rename(
    request: Request, gallery: GalleryPath, person: PersonPath, wish: NewName, idempotency_key: IdempotencyKey = None
) -> Response:
    """Give a person another name; the old one goes on leading there until it is purged."""
    return _change(
        request, "rename", gallery, [person], wish, idempotency_key, lambda writer: writer.rename(person, wish.name)
    )


@router.post(
    f"{_PLACE}/merge",
    openapi_extra=access("curate"),
    response_model=Changed,
    responses=_PROBLEMS,
    summary="Two entries are one person",
)
def merge(
    request: Request, gallery: GalleryPath, person: PersonPath, wish: Into, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make this person's photos those of another; that one stays and is the answer."""
    return _change(
        request,
        "merge",
        gallery,
        [wish.into, person],
        wish,
        idempotency_key,
        lambda writer: writer.merge(person, wish.into),
    )


@router.post(
    f"{_PLACE}/remove",
    openapi_extra=access("curate"),
    response_model=Changed,
    responses=_PROBLEMS,
    summary="Hide a person from searches",
)
def remove(
    request: Request, gallery: GalleryPath, person: PersonPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Hide a person; nothing is destroyed, and `restore` brings the person back."""
    return _change(request, "remove", gallery, [person], None, idempotency_key, lambda writer: writer.remove(person))


@router.post(
    f"{_PLACE}/restore",
    openapi_extra=access("curate"),
    response_model=Changed,
    responses=_PROBLEMS,
    summary="Bring a person back",
)
def restore(
    request: Request, gallery: GalleryPath, person: PersonPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Bring a removed person back."""
    return _change(request, "restore", gallery, [person], None, idempotency_key, lambda writer: writer.restore(person))


@router.post(
    f"{_PLACE}/photos/remove",
    openapi_extra=access("curate"),
    response_model=Changed,
    responses=_PROBLEMS,
    summary="Hide single photos",
)
def remove_photos(
    request: Request, gallery: GalleryPath, person: PersonPath, wish: Templates, idempotency_key: IdempotencyKey = None
) -> Response:
    """Hide single photos of a person from searches."""

    def act(writer: Gallery) -> None:
        own = {one.id for one in writer.templates_of(person, include_removed=True)}
        if foreign := set(wish.template_ids) - own:
            raise Problem("conflict", f"not of this person: templates {sorted(foreign)}")
        writer.remove_templates(wish.template_ids)

    return _change(request, "remove_photos", gallery, [person], wish, idempotency_key, act)


@router.post(
    f"{_PLACE}/erase",
    openapi_extra=access("admin"),
    response_model=Erased,
    responses=_PROBLEMS,
    summary="Destroy everything about a person",
)
def erase(
    request: Request,
    gallery: GalleryPath,
    person: PersonPath,
    wish: Confirmation,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Destroy a person's vectors, names and photo digests for good. `confirm` is the person's name."""
    service = service_of(request)
    opened = service.galleries.get(gallery)

    def work() -> Erased:
        identity = opened.person(person)
        if clean_name(wish.confirm) != identity.name:
            raise Problem("invalid_request", "`confirm` is not the person's name")
        with changing(request, "erase", gallery, [person]), opened.writing() as writer:
            state = writer.erase(person)
        opened.people()  # the list in memory holds the name until it is read again
        service.jobs.forget_people(gallery)
        service.answers.forget(gallery)
        audit.forget_person(service.database, gallery, person)
        return Erased(request_id=request_id_of(request), state=state)

    asked = request_digest("erase", gallery, str(person))
    return once(request, gallery, idempotency_key, asked, work)


@router.get(
    "/v1/galleries/{gallery}/undo",
    openapi_extra=access("curate"),
    responses=problems("no_such_gallery"),
    summary="What can be taken back",
)
def undoable(request: Request, gallery: GalleryPath) -> UndoableList:
    """List the changes that can be taken back, newest first."""
    found = service_of(request).galleries.get(gallery).reader.undoable()
    return UndoableList(request_id=request_id_of(request), entries=[undoable_record(one) for one in found])


@router.post(
    "/v1/galleries/{gallery}/undo",
    openapi_extra=access("curate"),
    response_model=Undone,
    responses=problems("no_such_gallery", "conflict", "gallery_locked", "audit_unavailable"),
    summary="Take a change back",
)
def undo(
    request: Request,
    gallery: GalleryPath,
    wish: Annotated[Entry, Body()] = Entry(),  # noqa: B008 - never changed
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Take back a remove, merge, rename or removal of photos: the newest, or the one that is named."""
    opened = service_of(request).galleries.get(gallery)

    def work() -> Undone:
        with changing(request, "undo", gallery) as change, opened.writing() as writer:
            entry = writer.undo(wish.entry)
            change.about = entry.identity_ids
        return Undone(request_id=request_id_of(request), entry=undoable_record(entry))

    return once(request, gallery, idempotency_key, request_digest("undo", gallery, str(wish.entry)), work)


def _change(
    request: Request,
    action: str,
    gallery: str,
    about: Sequence[int],
    wish: BaseModel | None,
    idempotency_key: str | None,
    act: Callable[[Gallery], object],
) -> Response:
    """Change people and tell of the first of them as it is then."""
    opened = service_of(request).galleries.get(gallery)

    def work() -> Changed:
        for person in about:
            opened.person(person)
        with changing(request, action, gallery, about), opened.writing() as writer:
            act(writer)
        return Changed(request_id=request_id_of(request), person=person_record(opened.person(about[0])))

    said = wish.model_dump_json() if wish else None
    asked = request_digest(action, gallery, *map(str, about), said)
    return once(request, gallery, idempotency_key, asked, work)
