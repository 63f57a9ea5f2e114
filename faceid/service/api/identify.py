"""Routes that ask who somebody is: identify, verify, embed."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, File, Form, Request, UploadFile
from pydantic import BaseModel

from faceid.records import AnswerRecord, Decision, VerificationRecord
from faceid.results import Answer
from faceid.service.api.examples import Message
from faceid.service.api.parts import (
    GalleryPath,
    GalleryQuery,
    RateField,
    SimilarityField,
    compute,
    compute_together,
    entry,
    note_search,
    problems,
    read_photos,
    request_id_of,
    service_of,
)
from faceid.service.galleries import OpenGallery
from faceid.service.gate import GuardedRoute, access
from faceid.service.problems import Problem
from faceid.service.service import Service
from faceid.vision.detection import FacePolicy
from faceid.vision.picture import Picture
from indexer.decision.decision import Target, Threshold, user_threshold

router = APIRouter(route_class=GuardedRoute, tags=["identify"])

Photos = Annotated[list[UploadFile], File(description="one photo or several")]
TopK = Annotated[int, Form(ge=1, le=1000, description="candidates to list", examples=[5])]
Faces = Annotated[FacePolicy, Form(description="which faces of a photo count", examples=["all"])]


class Identified(Message):
    """One answer for each face, and one for each photo without a usable face, in the order of the photos."""

    request_id: str
    batched: bool
    answers: list[AnswerRecord]


class Verified(Message):
    """Whether two photos show the same person."""

    request_id: str
    answer: VerificationRecord


class EmbeddedFace(BaseModel):
    """One face and its unit vector."""

    source: str
    box: list[float]
    landmarks: list[list[float]]
    detection_score: float
    quality: float
    vector: list[float]


class PhotoWithout(BaseModel):
    """A photo that gave no vector, and why."""

    source: str
    decision: Decision
    reason_code: str


class Embedded(Message):
    """The faces of the photos, and the photos without one."""

    request_id: str
    model: str
    model_digest: str
    faces: list[EmbeddedFace]
    without: list[PhotoWithout]


@router.post(
    "/v1/galleries/{gallery}/identify",
    openapi_extra=access("identify"),
    responses=problems("no_such_gallery", "too_large", "too_slow", "calibration_missing", "model_mismatch", "busy"),
    summary="Who is on these photos",
)
async def identify(
    request: Request,
    gallery: GalleryPath,
    photos: Photos,
    fpir: RateField = None,
    threshold: SimilarityField = None,
    top_k: TopK = 5,
    faces: Faces = "all",
) -> Identified:
    """Say who each face is, or that it is nobody in the gallery, at the share of false alarms that was asked for.

    The records are those of `faceid identify --json`.
    """
    if fpir is not None and threshold is not None:
        raise Problem("invalid_request", "give fpir or threshold, not both")
    service = service_of(request)
    opened = service.galleries.get(gallery)
    uploaded = await read_photos(request, photos)

    def work(pictures: list[Picture]) -> list[list[Answer]]:
        accept_at = _threshold(service, opened, "fpir", fpir, threshold)
        return _identify(opened, pictures, accept_at, faces, top_k)

    alike = (gallery, fpir, threshold, faces, top_k)
    found, together = await compute_together(request, alike, uploaded.pictures, work)
    answers = [answer for of_photo in found for answer in of_photo]
    accept_at = answers[0].threshold
    _count(service, gallery, answers)
    await note_search(
        request,
        entry(
            request,
            "identify",
            " ".join(f"{decision}:{count}" for decision, count in sorted(_decisions(answers).items())),
            gallery,
            about=tuple(sorted({answer.identity.id for answer in answers if answer.identity})),
            threshold=accept_at.value,
            threshold_way=accept_at.way or accept_at.kind,
            faces=sum(answer.face_index is not None for answer in answers),
        ),
    )
    return Identified(
        request_id=request_id_of(request),
        batched=together > len(photos),
        answers=[answer.record() for answer in answers],
    )


@router.post(
    "/v1/verify",
    openapi_extra=access("identify"),
    responses=problems("no_such_gallery", "too_large", "too_slow", "calibration_missing", "busy"),
    summary="Do two photos show the same person",
)
async def verify(
    request: Request,
    first: UploadFile,
    second: UploadFile,
    gallery: GalleryQuery = None,
    far: RateField = None,
    threshold: SimilarityField = None,
    faces: Annotated[FacePolicy, Form(description="which face of a photo counts", examples=["largest"])] = "largest",
) -> Verified:
    """Compare two photos. `same` is null where one has no usable face; the record is that of `faceid verify --json`."""
    if far is not None and threshold is not None:
        raise Problem("invalid_request", "give far or threshold, not both")
    service = service_of(request)
    opened = service.galleries.get(gallery or service.galleries.names[0])
    uploaded = await read_photos(request, [first, second])

    def work() -> VerificationRecord:
        accept_at = _threshold(service, opened, "far", far, threshold)
        one, other = uploaded.pictures
        return opened.engine.verify(one, other, accept_at, faces=faces).record()

    answer = await compute(request, work, uploaded.pictures)
    outcome = {True: "same", False: "different", None: "cannot say"}[answer["same"]]
    await note_search(request, entry(request, "verify", outcome, opened.name, threshold=answer["threshold"]))
    return Verified(request_id=request_id_of(request), answer=answer)


@router.post(
    "/v1/embed",
    openapi_extra=access("admin"),
    responses=problems("no_such_gallery", "embeddings_off", "too_large", "too_slow", "busy"),
    summary="The vectors of faces",
)
async def embed(request: Request, photos: Photos, gallery: GalleryQuery = None, faces: Faces = "largest") -> Embedded:
    """Give the unit vectors of faces away, where the server's settings allow it: they are biometric data."""
    service = service_of(request)
    if not service.settings.embeddings:
        raise Problem("embeddings_off", "`embeddings = true` in the server's settings would allow it")
    opened = service.galleries.get(gallery or service.galleries.names[0])
    uploaded = await read_photos(request, photos)
    engine = opened.engine
    found = await compute(request, lambda: engine.analyse(list(uploaded.pictures), faces), uploaded.pictures)
    count = sum(len(picture.faces) for picture in found)
    await note_search(request, entry(request, "embed", "done", opened.name, faces=count))
    return Embedded(
        request_id=request_id_of(request),
        model=engine.model.spec.name,
        model_digest=engine.model.digest,
        faces=[
            EmbeddedFace(
                source=picture.source,
                box=[round(side, 2) for side in face.box],
                landmarks=[[round(x, 2), round(y, 2)] for x, y in face.landmarks],
                detection_score=face.detection_score,
                quality=face.quality.overall,
                vector=face.vector.tolist(),
            )
            for picture in found
            for face in picture.faces
        ],
        without=[
            PhotoWithout(
                source=picture.source,
                decision="error" if picture.error else "no_face",
                reason_code=picture.reason_code,
            )
            for picture in found
            if picture.reason_code
        ],
    )


def _threshold(
    service: Service, opened: OpenGallery, target: Target, rate: float | None, given: float | None
) -> Threshold:
    if given is not None:
        return user_threshold(given)
    usual = service.settings.fpir if target == "fpir" else service.settings.far
    return opened.threshold(target, rate or usual)


def _identify(
    opened: OpenGallery, pictures: list[Picture], threshold: Threshold, faces: FacePolicy, top_k: int
) -> list[list[Answer]]:
    """Identify photos: the answers of each, in order."""
    answers = opened.engine.identify(opened.reader, pictures, threshold, faces=faces, top_k=top_k)
    return [[answer for answer in answers if answer.picture is picture] for picture in pictures]


def _decisions(answers: Sequence[Answer]) -> Counter[str]:
    return Counter(answer.decision for answer in answers)


def _count(service: Service, gallery: str, answers: Sequence[Answer]) -> None:
    service.metrics.faces.labels(gallery).inc(sum(answer.face_index is not None for answer in answers))
    for decision, count in _decisions(answers).items():
        service.metrics.decisions.labels(gallery, decision).inc(count)
