"""Routes about the server itself: is it alive, is it ready, which galleries there are, its metrics."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from faceid.models import model_zoo
from faceid.records import SCHEMA_VERSION
from faceid.service import metrics
from faceid.service.api.examples import Message
from faceid.service.api.parts import GalleryPath, problems, request_id_of, service_of
from faceid.service.gate import GuardedRoute, access
from faceid.service.keys import Role
from faceid.service.problems import Problem

router = APIRouter(route_class=GuardedRoute, tags=["system"])


class Health(Message):
    """The process answers."""

    status: str
    ready: bool
    request_id: str


class GalleryFacts(Message):
    """What a gallery is, and what the key may do in it."""

    name: str
    role: Role
    people: int
    revision: int
    model: str
    model_digest: str
    fusion: str
    decided_on: str


class GalleryList(Message):
    """The galleries that the key may use."""

    request_id: str
    galleries: list[GalleryFacts]


class ModelFacts(Message):
    """The model that a gallery is bound to, and what runs it."""

    request_id: str
    name: str
    digest: str
    dimension: int
    backend: str
    precision: str
    detector_digest: str
    has_cohort: bool
    licence: str


class Finding(BaseModel):
    """Something that is wrong with a gallery's files."""

    kind: str
    text: str
    rebuild_mends: bool


class GalleryHealth(Message):
    """What a check of the files found, and counts."""

    request_id: str
    sound: bool
    problems: list[Finding]
    stats: dict[str, Any]


@router.get("/v1/health", openapi_extra=access("open"), summary="Does the process answer")
def health(request: Request) -> Health:
    """Say that the process answers; `ready` whether requests are taken."""
    return Health(status="ok", ready=service_of(request).ready, request_id=request_id_of(request))


@router.get("/v1/ready", openapi_extra=access("open"), responses=problems("not_ready"), summary="Are requests taken")
def ready(request: Request) -> Health:
    """Answer 200 when requests are taken, 503 while the server starts or stops."""
    if not service_of(request).ready:
        raise Problem("not_ready", "try again in a moment")
    return Health(status="ok", ready=True, request_id=request_id_of(request))


@router.get("/v1/galleries", openapi_extra=access("any"), responses=problems(), summary="Which galleries there are")
def galleries(request: Request) -> GalleryList:
    """List the galleries that the key may use."""
    caller = request.state.caller
    names = [name for name in service_of(request).galleries.names if caller.role_for(name)]
    return GalleryList(request_id=request_id_of(request), galleries=[_facts(request, name) for name in names])


@router.get(
    "/v1/galleries/{gallery}",
    openapi_extra=access("identify"),
    responses=problems("no_such_gallery"),
    summary="What a gallery is",
)
def gallery_facts(request: Request, gallery: GalleryPath) -> GalleryFacts:
    """Say how many people a gallery holds, and which model it is bound to."""
    return _facts(request, gallery)


@router.get(
    "/v1/galleries/{gallery}/model",
    openapi_extra=access("identify"),
    responses=problems("no_such_gallery"),
    summary="What computes its vectors",
)
def gallery_model(request: Request, gallery: GalleryPath) -> ModelFacts:
    """Say which model, detector and arithmetic a gallery's answers come from."""
    engine = service_of(request).galleries.get(gallery).engine
    return ModelFacts(
        request_id=request_id_of(request),
        name=engine.model.spec.name,
        digest=engine.model.digest,
        dimension=engine.binding.dimension,
        backend=engine.pipeline.embedder.backend,
        precision=engine.pipeline.embedder.precision,
        detector_digest=engine.detector_digest,
        has_cohort=model_zoo.load_cohort(engine.model) is not None,
        licence=engine.model.spec.licence,
    )


@router.get(
    "/v1/galleries/{gallery}/health",
    openapi_extra=access("curate"),
    responses=problems("no_such_gallery", "store_damaged"),
    summary="Are its files sound",
)
def gallery_health(request: Request, gallery: GalleryPath) -> GalleryHealth:
    """Check the gallery's files, without reading every byte (a job of the kind `check` does), and count."""
    reader = service_of(request).galleries.get(gallery).reader
    found = reader.check()
    return GalleryHealth(
        request_id=request_id_of(request),
        sound=not found,
        problems=[Finding(**asdict(one)) for one in found],
        stats={"schema_version": SCHEMA_VERSION, **asdict(reader.stats())},
    )


@router.get(
    "/metrics",
    openapi_extra=access("any"),
    responses=problems(),
    response_class=Response,
    summary="Numbers for Prometheus",
)
def prometheus(request: Request) -> Response:
    """Return counts of requests, faces and decisions, in Prometheus's text format."""
    return Response(service_of(request).metrics.text(), media_type=metrics.CONTENT_TYPE)


def _facts(request: Request, name: str) -> GalleryFacts:
    reader = service_of(request).galleries.get(name).reader
    return GalleryFacts(
        name=name,
        role=request.state.caller.role_for(name),
        people=reader.size,
        revision=reader.revision,
        model=reader.model.name,
        model_digest=reader.model.digest,
        fusion=reader.fusion,
        decided_on=reader.decided_on,
    )
