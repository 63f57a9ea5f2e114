"""Routes about what is probably wrong in a gallery: the findings of a review, and answers to them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from faceid.gallery_review import Suggestion, apply_answers
from faceid.service.api.change import Wish
from faceid.service.api.examples import Message
from faceid.service.api.parts import (
    GalleryPath,
    IdempotencyKey,
    changing,
    compute,
    once,
    problems,
    request_id_of,
    service_of,
)
from faceid.service.gate import GuardedRoute, access
from faceid.service.idempotency import request_digest
from faceid.service.problems import Problem
from indexer.hygiene.review import FindingKind

router = APIRouter(route_class=GuardedRoute, tags=["review"])

_PLACE = "/v1/galleries/{gallery}/review"


class FoundPerson(BaseModel):
    """Somebody whom a finding is about."""

    id: int
    name: str
    external_id: str | None


class FoundTemplate(BaseModel):
    """An enrolled photo that a finding is about."""

    id: int
    source: str
    box: list[float] | None


class FindingRecord(BaseModel):
    """Something that is probably wrong, as `faceid gallery review --json` tells it; `command` is what mends it."""

    finding: str
    kind: FindingKind
    probability: float
    reason: str
    people: list[FoundPerson]
    templates: list[FoundTemplate]
    evidence: dict[str, float]
    command: str


class Review(Message):
    """What is probably wrong; `refused` are the kinds that could not be looked for, and why."""

    request_id: str
    findings: list[FindingRecord]
    refused: dict[str, str]


class FindingAnswer(Wish):
    """`accept` mends (merges, moves, hides), `reject` remembers that the finding is wrong."""

    finding: Annotated[str, Field(max_length=255)]
    answer: Literal["accept", "reject"]


class Answered(Message):
    """What was done."""

    request_id: str
    finding: str
    answer: Literal["accept", "reject"]


@router.get(
    _PLACE,
    openapi_extra=access("curate"),
    responses=problems("no_such_gallery", "too_slow", "busy"),
    summary="What is probably wrong",
)
async def review(
    request: Request, gallery: GalleryPath, again: Annotated[bool, Query(description="look anew")] = False
) -> Review:
    """List what a review found: people enrolled twice, wrong labels, crops without a face, copies. Nothing is changed.

    What was found is kept until somebody looks `again`; what was answered or is gone is left out.
    """
    found, refused = await suggestions(request, gallery, again)
    records = [FindingRecord.model_validate(one.record()) for one in found]
    return Review(request_id=request_id_of(request), findings=records, refused=dict(refused))


@router.post(
    _PLACE,
    openapi_extra=access("curate"),
    response_model=Answered,
    responses=problems("no_such_gallery", "conflict", "too_slow", "gallery_locked", "audit_unavailable", "busy"),
    summary="Answer a finding",
)
async def answer_finding(
    request: Request, gallery: GalleryPath, wish: FindingAnswer, idempotency_key: IdempotencyKey = None
) -> Response:
    """Mend what a finding says, or remember that it is wrong. What is mended can be undone."""
    found, _ = await suggestions(request, gallery)
    about = next((one.finding.identity_ids for one in found if one.finding.key == wish.finding), None)

    def work() -> Answered:
        if about is None:
            raise Problem("conflict", "there is no such finding any more; look again")
        opened = service_of(request).galleries.get(gallery)
        with changing(request, f"review_{wish.answer}", gallery, about), opened.writing() as writer:
            (done,) = apply_answers(writer, [(wish.finding, wish.answer)])
            if done.status == "failed":
                raise Problem("conflict", done.message)
        return Answered(request_id=request_id_of(request), finding=wish.finding, answer=wish.answer)

    asked = request_digest("review", gallery, wish.finding, wish.answer)
    return await run_in_threadpool(once, request, gallery, idempotency_key, asked, work)


async def suggestions(
    request: Request, gallery: str, again: bool = False
) -> tuple[Sequence[Suggestion], Mapping[str, str]]:
    """Return what is probably wrong, and the kinds that could not be looked for and why."""
    service = service_of(request)
    opened = service.galleries.get(gallery)
    return await compute(request, lambda: service.reviews.of(opened, again=again))
