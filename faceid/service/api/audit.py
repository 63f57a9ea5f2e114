"""The audit log of a gallery, for those who may do everything in it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from faceid.service import audit
from faceid.service.api.examples import Message
from faceid.service.api.parts import GalleryPath, problems, request_id_of, service_of
from faceid.service.gate import GuardedRoute, access

router = APIRouter(route_class=GuardedRoute, tags=["audit"])


class AuditEntry(BaseModel):
    """One event; `about` are ids of people, and of erased ones a digest that leads to nobody."""

    schema_version: int
    number: int
    at: str
    action: str
    outcome: str
    request_id: str
    key_id: int | None
    address: str | None
    gallery: str | None
    about: list[int | str]
    threshold: float | None
    threshold_way: str | None
    faces: int | None
    job: str | None
    hash: str


class AuditPage(Message):
    """Some entries, oldest first; `last` goes into `after` of the next call, null at the end."""

    request_id: str
    entries: list[AuditEntry]
    last: int | None


@router.get(
    "/v1/galleries/{gallery}/audit",
    openapi_extra=access("admin"),
    responses=problems("no_such_gallery"),
    summary="Who asked what",
)
def audit_log(
    request: Request,
    gallery: GalleryPath,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditPage:
    """Tell who asked what about whom, with which outcome, oldest first."""
    service = service_of(request)
    service.galleries.get(gallery)
    found = list(audit.entries(service.database, gallery=gallery, after=after, limit=limit))
    last = found[-1]["number"] if len(found) == limit else None
    return AuditPage(request_id=request_id_of(request), entries=[AuditEntry(**one) for one in found], last=last)
