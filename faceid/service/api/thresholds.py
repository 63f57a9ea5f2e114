"""Routes about thresholds: the table of a gallery, each row with where it comes from."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from faceid.service.api.examples import Message
from faceid.service.api.parts import GalleryPath, compute, problems, request_id_of, service_of
from faceid.service.gate import GuardedRoute, access
from faceid.threshold_words import threshold_line
from faceid.thresholds import gallery_rows

router = APIRouter(route_class=GuardedRoute, tags=["thresholds"])

FPIRS = (0.1, 0.01, 0.003)
FARS = (1e-2, 1e-3, 1e-4)
_Rates = Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Query(max_length=16)]


class ThresholdRow(BaseModel):
    """A rate and what is accepted for it: measured, extrapolated, or refused and why."""

    target: str
    value: float
    gallery_size: int | None
    threshold: float | None
    kind: str | None
    basis: str
    trials: int | None
    ci95: list[float] | None
    data: str | None
    date: str | None
    reason: str | None


class ThresholdTable(Message):
    """The gallery's thresholds as it is now; `words` says the usual one and what would make it better."""

    request_id: str
    words: str
    rows: list[ThresholdRow]


@router.get(
    "/v1/galleries/{gallery}/thresholds",
    openapi_extra=access("identify"),
    responses=problems("no_such_gallery", "busy"),
    summary="At which similarity somebody is accepted",
)
async def thresholds(
    request: Request,
    gallery: GalleryPath,
    fpir: _Rates = [*FPIRS],  # noqa: B006 - FastAPI copies it
    far: _Rates = [*FARS],  # noqa: B006
) -> ThresholdTable:
    """Say for each rate at which similarity somebody is accepted, and on what evidence."""
    opened = service_of(request).galleries.get(gallery)

    def work() -> tuple[str, list[dict[str, Any]]]:
        engine = opened.engine
        words = threshold_line(engine.model, opened.reader, engine.detector_digest)
        return words, gallery_rows(engine.model, opened.reader, fpir, far, detector=engine.detector_digest)

    words, rows = await compute(request, work)
    return ThresholdTable(request_id=request_id_of(request), words=words, rows=[ThresholdRow(**row) for row in rows])
