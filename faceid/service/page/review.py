"""The page of what is probably wrong in the gallery, each finding with the buttons that mend it or say no."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Form, Query
from starlette.requests import Request
from starlette.responses import Response

from faceid.gallery_review import Suggestion
from faceid.service.api import review as api
from faceid.service.api.parts import GalleryPath, service_of
from faceid.service.gate import access
from faceid.service.page.rendering import go, show
from faceid.service.page.routes import page_router
from indexer.hygiene.review import KINDS

router = page_router()

_PLACE = "/galleries/{gallery}/review"


@router.get(_PLACE, openapi_extra=access("curate"))
async def review(request: Request, gallery: GalleryPath, again: Annotated[bool, Query()] = False) -> Response:
    """Show what is probably wrong, kind by kind."""
    found, refused = await api.suggestions(request, gallery, again)
    reader = service_of(request).galleries.get(gallery).reader
    return show(
        request,
        "review",
        kinds=[(kind, [one for one in found if one.finding.kind == kind]) for kind in KINDS],
        refused=refused,
        crops={template for of_person in reader.with_crops(_people(found)).values() for template in of_person},
    )


@router.post(_PLACE, openapi_extra=access("curate"))
async def answer(
    request: Request,
    gallery: GalleryPath,
    finding: Annotated[str, Form(max_length=255)],
    answer: Annotated[Literal["accept", "reject"], Form()],
) -> Response:
    """Mend what a finding says, or remember that it is wrong."""
    await api.answer_finding(request, gallery, api.FindingAnswer(finding=finding, answer=answer))
    return go(f"/galleries/{gallery}/review", "mended" if answer == "accept" else "rejected")


def _people(found: Sequence[Suggestion]) -> list[int]:
    return sorted({one.id for suggestion in found for one in suggestion.people})
