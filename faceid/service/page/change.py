"""What the forms of a person's page do, and the page of changes that can be taken back."""

import json
import re
from typing import Annotated

from fastapi import File, Form, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from faceid.service.api import change as api
from faceid.service.api.parts import GalleryPath, PersonPath, service_of
from faceid.service.galleries import OpenGallery
from faceid.service.gate import access
from faceid.service.page.enroll import enroll_and_tell
from faceid.service.page.rendering import go, show
from faceid.service.page.routes import page_router
from faceid.service.problems import Problem
from faceid.vision.detection import FacePolicy
from indexer.records import Identity

router = page_router()

_PLACE = "/galleries/{gallery}/people/{person}"
_NUMBERED = re.compile(r"(?:.*\()?#([0-9]{1,18})\)?", re.DOTALL)
_LABELLED = re.compile(r"(.+) \((.+)\)", re.DOTALL)
_Text = Annotated[str, Form(min_length=1, max_length=255)]


@router.post(f"{_PLACE}/rename", openapi_extra=access("curate"))
def rename(request: Request, gallery: GalleryPath, person: PersonPath, name: _Text) -> Response:
    """Give the person another name."""
    api.rename(request, gallery, person, api.NewName(name=name))
    return go(f"/galleries/{gallery}/people/{person}", "renamed")


@router.post(f"{_PLACE}/merge", openapi_extra=access("curate"))
def merge(request: Request, gallery: GalleryPath, person: PersonPath, other: _Text) -> Response:
    """Make the person's photos those of another, who is named or numbered."""
    into = _meant(service_of(request).galleries.get(gallery), other)
    api.merge(request, gallery, person, api.Into(into=into.id))
    return go(f"/galleries/{gallery}/people/{into.id}", "merged")


@router.post(f"{_PLACE}/remove", openapi_extra=access("curate"))
def remove(request: Request, gallery: GalleryPath, person: PersonPath) -> Response:
    """Hide the person from searches."""
    api.remove(request, gallery, person)
    return go(f"/galleries/{gallery}/people/{person}", "removed")


@router.post(f"{_PLACE}/restore", openapi_extra=access("curate"))
def restore(request: Request, gallery: GalleryPath, person: PersonPath) -> Response:
    """Bring the person back."""
    api.restore(request, gallery, person)
    return go(f"/galleries/{gallery}/people/{person}", "restored")


@router.post(f"{_PLACE}/photos/remove", openapi_extra=access("curate"))
def remove_photo(
    request: Request, gallery: GalleryPath, person: PersonPath, template: Annotated[int, Form(ge=0, lt=2**63)]
) -> Response:
    """Hide one photo from searches."""
    api.remove_photos(request, gallery, person, api.Templates(template_ids=[template]))
    return go(f"/galleries/{gallery}/people/{person}", "photo_removed")


@router.post(f"{_PLACE}/photos", openapi_extra=access("enrol"))
async def add_photos(
    request: Request,
    gallery: GalleryPath,
    person: PersonPath,
    photos: Annotated[list[UploadFile], File()],
    faces: Annotated[FacePolicy, Form()] = "exactly-one",
) -> Response:
    """Enrol more photos of the person."""
    identity = service_of(request).galleries.get(gallery).person(person)
    return await enroll_and_tell(request, gallery, identity.name, identity.external_id, photos, faces, person)


@router.post(f"{_PLACE}/erase", openapi_extra=access("admin"))
def erase(
    request: Request,
    gallery: GalleryPath,
    person: PersonPath,
    confirm: Annotated[str, Form(max_length=255)] = "",
) -> Response:
    """Destroy everything about the person; the name was typed to say so."""
    told = json.loads(bytes(api.erase(request, gallery, person, api.Confirmation(confirm=confirm)).body))
    return go(f"/galleries/{gallery}/people", "erased" if told["state"] == "done" else "erase_pending")


@router.get("/galleries/{gallery}/changes", openapi_extra=access("curate"))
def changes(request: Request, gallery: GalleryPath) -> Response:
    """List what can be taken back."""
    opened = service_of(request).galleries.get(gallery)
    known = {one.id: one for one in opened.people()}
    return show(request, "changes", entries=api.undoable(request, gallery).entries, known=known)


@router.post("/galleries/{gallery}/undo", openapi_extra=access("curate"))
def undo(request: Request, gallery: GalleryPath, entry: Annotated[int | None, Form(ge=0, lt=2**63)] = None) -> Response:
    """Take a change back."""
    api.undo(request, gallery, api.Entry(entry=entry))
    return go(f"/galleries/{gallery}/changes", "undone")


def _meant(opened: OpenGallery, typed: str) -> Identity:
    """Return whom somebody means by a name, a number, or as answers label namesakes: `Name (external id or #number)`.

    Raises Problem for none or several.
    """
    typed = typed.strip()
    found = opened.reader.find(typed)
    if not found and (numbered := _NUMBERED.fullmatch(typed)):
        return opened.person(int(numbered[1]))
    if not found and (labelled := _LABELLED.fullmatch(typed)):
        found = [one for one in opened.reader.find(labelled[2]) if labelled[1] == one.name]
    if len(found) == 1:
        return found[0]
    if not found:
        raise Problem("no_such_person", f"nobody here is called {typed!r}")
    raise Problem(
        "conflict", "several people are called that; type the number: " + ", ".join(f"#{p.id}" for p in found)
    )
