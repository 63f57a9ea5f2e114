"""Pages of people: who is in the gallery, and one of them."""

from typing import Annotated

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from faceid.service.api import people as api
from faceid.service.api.parts import GalleryPath, PersonPath, service_of
from faceid.service.gate import access
from faceid.service.page.rendering import HEADERS, show
from faceid.service.page.routes import page_router
from faceid.service.problems import Problem

router = page_router()

_AT_ONCE = 60
_SUGGESTED = 8
_Search = Annotated[str, Query(max_length=255)]


@router.get("/galleries/{gallery}/people", openapi_extra=access("enrol"))
def people(
    request: Request,
    gallery: GalleryPath,
    search: _Search = "",
    removed: bool = False,
    cursor: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """Show the people as a grid, a part at a time."""
    page = api.list_people(request, gallery, search=search, removed=removed, limit=_AT_ONCE, cursor=cursor)
    reader = service_of(request).galleries.get(gallery).reader
    return show(
        request,
        "people",
        people=page.people,
        next_cursor=page.next_cursor,
        search=search,
        removed=removed,
        count=reader.size,
        portraits={who: ids[0] for who, ids in reader.with_crops([one["id"] for one in page.people]).items()},
    )


@router.get("/galleries/{gallery}/people/names", openapi_extra=access("enrol"))
def names(request: Request, gallery: GalleryPath, other: _Search = "") -> Response:
    """Suggest people whose names hold what was typed."""
    found = api.list_people(request, gallery, search=other, limit=_SUGGESTED).people if other else []
    return show(request, "names", people=found)


@router.get("/galleries/{gallery}/crops/{template}", openapi_extra=access("enrol"))
def crop(request: Request, gallery: GalleryPath, template: Annotated[int, Path(ge=0, lt=2**63)]) -> Response:
    """Send the picture of an enrolled face, where the gallery keeps one."""
    kept = service_of(request).galleries.get(gallery).reader.crop(template)
    if kept is None:
        raise Problem("no_such_page", "the gallery keeps no such picture")
    return Response(kept, headers=HEADERS, media_type="image/jpeg")


@router.get("/galleries/{gallery}/people/{person}", openapi_extra=access("enrol"))
def person(request: Request, gallery: GalleryPath, person: PersonPath) -> Response:
    """Show a person: photos, what happened to them, what can be done."""
    found = api.show_person(request, gallery, person)
    reader = service_of(request).galleries.get(gallery).reader
    return show(
        request,
        "person",
        person=found.person,
        templates=found.templates,
        crops=reader.with_crops([person]).get(person, []),
        history=[entry for entry in reader.undoable() if person in entry.identity_ids],
    )
