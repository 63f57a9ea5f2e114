"""What the routes share: parameters by name, the models around the records, and the ways of asking and of noting."""

import asyncio
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from fastapi import Form, Header, Path, Query, Request, UploadFile
from pydantic import BaseModel
from starlette.responses import Response

from faceid.service.audit import Entry
from faceid.service.gate import address_of
from faceid.service.idempotency import Kept
from faceid.service.logs import log
from faceid.service.pictures import picture_of
from faceid.service.problems import CODES, MEDIA_TYPE, Problem, body_of, of_error
from faceid.service.service import Service
from faceid.vision.picture import Picture
from indexer.errors import FaceIdError

Result = TypeVar("Result")

GalleryPath = Annotated[str, Path(description="a gallery's name", examples=["default"], max_length=64)]
GalleryQuery = Annotated[
    str | None, Query(description="a gallery's name; needed where there are several", examples=["default"])
]
PersonPath = Annotated[int, Path(ge=0, lt=2**63, description="a person's id", examples=[1])]
RateField = Annotated[
    float | None, Form(gt=0, lt=1, description="share of strangers taken for somebody", examples=[0.01])
]
SimilarityField = Annotated[
    float | None, Form(ge=-1, le=1, allow_inf_nan=False, description="accept at this instead", examples=[0.45])
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="the same key with the same request gets the same answer for a day, and is done once",
    ),
]


class ProblemModel(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return what a route tells of its problems in the OpenAPI document: by status, with their codes."""
    told: dict[int | str, list[str]] = {}
    for code in ("bad_request", "no_key", "bad_key", "forbidden", "invalid_request", "too_many_requests", "not_ready"):
        told.setdefault(CODES[code][0], []).append(code)
    for code in codes:
        told.setdefault(CODES[code][0], []).append(code)
    return {
        status: {
            "description": ", ".join(dict.fromkeys(known)),
            "content": {
                MEDIA_TYPE: {
                    "schema": ProblemModel.model_json_schema(),
                    "examples": {
                        code: {"value": body_of(Problem(code, "what it is in this case"), "6f1c2a9be4d84c0f")}
                        for code in dict.fromkeys(known)
                    },
                }
            },
        }
        for status, known in sorted(told.items())
    }


def service_of(request: Request) -> Service:
    """Return the server's parts."""
    service: Service = request.app.state.service
    return service


def request_id_of(request: Request) -> str:
    """Return the request's number."""
    number: str = request.state.request_id
    return number


async def compute(request: Request, work: Callable[[], Result], photos: Sequence[Picture] = ()) -> Result:
    """Do work that computes in the engine room; of `photos`, none is decoded once the request's time is over."""
    left = request.state.deadline - asyncio.get_running_loop().time()
    with _given_up_in_time(photos):
        return await service_of(request).room.run(work, left)


async def compute_together(
    request: Request,
    alike: Hashable,
    pictures: Sequence[Picture],
    work: Callable[[list[Picture]], list[list[Result]]],
) -> tuple[list[list[Result]], int]:
    """Do work for some pictures, and in the same breath for those of others who ask alike, where the settings say so.

    Returns the results of each picture, and how many pictures were worked on together.
    """
    service = service_of(request)
    left = request.state.deadline - asyncio.get_running_loop().time()
    with _given_up_in_time(pictures):
        found, together = await service.room.run_together(alike, pictures, work, left)
    service.metrics.batches.observe(together)
    return found, together


@contextmanager
def _given_up_in_time(photos: Sequence[Picture]) -> Iterator[None]:
    """Where nobody waits for an answer any more, let go of the thread: some photos take half a minute to decode."""
    try:
        yield
    except BaseException:
        for photo in photos:
            photo.reason_code = "too_slow"
        raise


@dataclass(frozen=True, eq=False)
class Uploaded:
    """The photos of a request: as bytes, and as pictures."""

    data: tuple[bytes, ...]
    pictures: tuple[Picture, ...]


async def read_photos(request: Request, photos: Sequence[UploadFile]) -> Uploaded:
    """Read what was uploaded; raises Problem `too_large` for too many photos."""
    settings = service_of(request).settings
    if len(photos) > settings.photos:
        raise Problem("too_large", f"{len(photos)} photos; at most {settings.photos} are taken at a time")
    data = [await photo.read() for photo in photos]
    names = [photo.filename or f"photo {number}" for number, photo in enumerate(photos, start=1)]
    pictures = [picture_of(one, name, settings) for one, name in zip(data, names, strict=True)]
    return Uploaded(tuple(data), tuple(pictures))


def entry(request: Request, action: str, outcome: str, gallery: str | None = None, **facts: Any) -> Entry:
    """Return an entry of the audit log for this request."""
    number = request_id_of(request)
    key_id = request.state.caller.key_id
    return Entry(action, outcome, number, key_id=key_id, address=address_of(request), gallery=gallery, **facts)


async def note_search(request: Request, noted: Entry) -> None:
    """Note a search; where the log cannot be written the answer goes out all the same, but for strict settings."""
    service = service_of(request)
    written: Future[None] = service.audit.write(noted)
    try:
        await asyncio.wrap_future(written)
    except Exception as error:  # whatever the disk says
        log.error("the audit log cannot be written", extra={"request_id": noted.request_id}, exc_info=error)
        if service.settings.strict_audit:
            raise Problem("audit_unavailable", "searches must be noted, and this one cannot be") from error


@dataclass
class Change:
    """A change that is being made: whom it turned out to be about."""

    about: tuple[int, ...] = ()


@contextmanager
def changing(request: Request, action: str, gallery: str, about: Sequence[int] = ()) -> Iterator[Change]:
    """Note a change before it is made, and how it ended. Raises Problem `audit_unavailable` before anything is done."""
    service = service_of(request)
    asked = entry(request, action, "asked", gallery, about=tuple(about))
    service.note(asked)
    change = Change(tuple(about))
    outcome = "internal"
    try:
        yield change
        outcome = "done"
    except Problem as problem:
        outcome = problem.code
        raise
    except FaceIdError as error:
        outcome = of_error(error).code
        raise
    finally:
        try:
            service.audit.write(replace(asked, outcome=outcome, about=change.about)).result()
        except Exception as error:  # the change is made, and that it was asked for is noted
            log.error("the audit log cannot be written", extra={"request_id": asked.request_id}, exc_info=error)


def once(
    request: Request, gallery: str, idempotency_key: str | None, asked: bytes, work: Callable[[], BaseModel]
) -> Response:
    """Do a write once for an idempotency key, and tell the same answer again for the same key."""
    service = service_of(request)
    key_id = request.state.caller.key_id or 0
    if idempotency_key is None:
        return _json(Kept(200, work().model_dump_json()))
    kept = service.answers.begin(key_id, idempotency_key, gallery, asked)
    if kept is not None:
        return _json(kept, {"Idempotent-Replayed": "true"})
    try:
        done = Kept(200, work().model_dump_json())
    except BaseException:
        service.answers.abandon(key_id, idempotency_key)
        raise
    service.answers.finish(key_id, idempotency_key, done)
    return _json(done)


def _json(kept: Kept, headers: dict[str, str] | None = None) -> Response:
    return Response(kept.body, kept.status, headers, "application/json")
