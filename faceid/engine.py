"""The engine: photos of people in, names (or nobody) out; everything the command line does, as Python.

engine = FaceEngine()
with Gallery.create("staff", engine.binding) as gallery:
    for enrollment in engine.enroll(gallery, photos_of_people(Path("people"))):
        print(enrollment.source, enrollment.status)
    threshold = identification_threshold(engine.model, gallery, fpir=0.01)
    for answer in engine.identify(gallery, photos_in([Path("visitor.jpg")]), threshold):
        print(answer.source, answer.decision, answer.identity)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from faceid.models import model_zoo
from faceid.models.embedding import Backend, Embedder, Precision
from faceid.pipeline import BATCH_PHOTOS, PhotoFaces, PhotoFile, Pipeline
from faceid.results import Answer, Enrollment, EnrollmentStatus, Verification
from faceid.vision.detection import FacePolicy
from faceid.vision.images import ImageError
from faceid.vision.mtcnn import MtcnnDetector
from faceid.vision.photo_list import PersonPhoto
from faceid.vision.quality import Limits
from indexer.decision.decision import Threshold, choose_probability, decide
from indexer.decision.match_probability import CONTEXT, MatchProbability, context_of, match_probability
from indexer.errors import InvalidName, ModelMismatch
from indexer.gallery import Gallery
from indexer.records import Candidate, Enrolled, FloatMatrix, FloatVector, ModelBinding, NewTemplate, clean_name
from indexer.text import printable

Item = TypeVar("Item")
DEFAULT_LIMITS = Limits()

# What a reason code means, for people; docs/records.md lists them all.
EXPLANATIONS = {
    "no_face": "no face was found",
    "several_faces": "several faces; say which counts with --faces largest or centre",
    "face_too_small": "the face is too small",
    "low_detection_score": "the detector is not sure that this is a face",
    "blurred": "the face is blurred",
    "extreme_pose": "the face is turned too far away",
    "invalid_name": "not a usable name: 1 to 255 bytes of UTF-8 without control characters",
    "removed": "this person or photo was removed; --restore brings it back",
    "restored": "it was removed, and is back",
    "enrolled_as_someone_else": "this very photo is enrolled under another identity",
    "linked_folder": "a link to a folder; links to folders are not followed",
    "not_in_a_persons_folder": "not in a person's folder",
    "incomplete_row": "the manifest's row lacks the path or the name",
    "unreadable": "cannot be read",
}


@dataclass(frozen=True)
class Features:
    """Unit vectors `vectors` [n, D] float32, and for each the photo it came from and the person ('' if unknown)."""

    vectors: FloatMatrix
    labels: tuple[str, ...]
    paths: tuple[str, ...]
    failures: tuple[PhotoFaces, ...]


class FaceEngine:
    """Detector, network and the steps between.

    `model` is a name known to the model zoo or a path to a model file (None: the default model); `device` 'cpu' or
    'cuda'; `backend` and `precision` as in `Embedder`; `min_face_size` in pixels. Raises ModelError for a model that
    is not there or not sound, FaceIdError for a device that is not there.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        device: str = "cpu",
        backend: Literal["auto"] | Backend = "auto",
        precision: Literal["auto"] | Precision = "float32",
        min_face_size: int = 20,
    ) -> None:
        self.model = model_zoo.find_model(model)
        embedder = Embedder(self.model, device=device, backend=backend, precision=precision)
        self.pipeline = Pipeline(MtcnnDetector(min_face_size=min_face_size, device=device), embedder)

    @property
    def binding(self) -> ModelBinding:
        """What ties a gallery to this engine's model: name, digest and dimension."""
        return ModelBinding(self.model.spec.name, self.model.digest, self.pipeline.embedder.dimension)

    def enroll(
        self,
        gallery: Gallery,
        photos: Iterable[PersonPhoto],
        *,
        faces: FacePolicy = "exactly-one",
        limits: Limits | None = DEFAULT_LIMITS,
        restore: bool = False,
    ) -> Iterator[Enrollment]:
        """Enrol photos of named people; yields one result per photo, in order, each after it is safely stored.

        Photos whose bytes are in the gallery already are not looked at again, so that a run that was interrupted goes
        on where it stopped. `limits` None takes faces of any quality; `restore` brings back removed people and
        templates whose photos appear again. Raises ModelMismatch for a gallery of another model, ValueError for the
        policy `all`: which of a photo's faces is the named person?
        """
        if faces == "all":
            raise ValueError("enrolment takes one face a photo: exactly-one, largest or centre")
        self._require_same_model(gallery)
        for batch in _batches(photos):
            yield from self._enroll_batch(gallery, batch, faces, limits, restore)

    def identify(
        self,
        gallery: Gallery,
        photos: Iterable[tuple[Path, str | None]],
        threshold: Threshold,
        *,
        faces: FacePolicy = "all",
        limits: Limits | None = None,
        top_k: int = 5,
        fast: bool = False,
    ) -> Iterator[Answer]:
        """Say who is on each photo: one answer per face, and one for a photo without a usable face.

        `photos` as `photos_in` lists them; with `limits`, faces of poorer quality get `rejected_quality`; with `fast`,
        a large gallery is only sampled, and the answers say what is not proved (`Gallery.search`). Raises
        ModelMismatch for a gallery of another model.
        """
        self._require_same_model(gallery)
        law = choose_probability(gallery.calibrations(), gallery.size)
        for batch in _batches(photos):
            for found in self._find_faces(batch, faces):
                yield from self._answers(gallery, found, threshold, limits, top_k, fast, law)

    def verify(self, first: Path, second: Path, threshold: Threshold, *, faces: FacePolicy = "largest") -> Verification:
        """Say whether two photos show the same person; of several faces kept by the policy the first counts."""
        found = self._find_faces([(first, None), (second, None)], faces)
        reasons = tuple(photo.reason_code for photo in found if photo.reason_code)
        if reasons:
            message = "; ".join(explain(photo) for photo in found if photo.reason_code)
            return Verification(None, None, threshold, reasons, message)
        a, b = (photo.faces[0].vector.astype(np.float64) for photo in found)
        similarity = float(np.float32(a @ b))
        return Verification(similarity, similarity >= threshold.value, threshold)

    def embed(self, photos: Iterable[PersonPhoto], *, faces: FacePolicy = "largest") -> Features:
        """Embed photos: one vector per face that the policy keeps; photos without one are in `failures`."""
        rows: list[tuple[FloatVector, str, str]] = []
        failures: list[PhotoFaces] = []
        for batch in _batches(photos):
            found = self._find_faces([(photo.path, photo.reason_code) for photo in batch], faces)
            for photo, result in zip(batch, found, strict=True):
                rows += [(face.vector, photo.name, printable(photo.path)) for face in result.faces]
                failures += [result] if result.reason_code else []
        vectors = np.stack([row[0] for row in rows]) if rows else np.empty((0, self.binding.dimension), np.float32)
        return Features(vectors, tuple(row[1] for row in rows), tuple(row[2] for row in rows), tuple(failures))

    def _require_same_model(self, gallery: Gallery) -> None:
        if gallery.model.digest != self.model.digest:
            raise ModelMismatch(
                f"{printable(gallery.path)} is bound to the model {gallery.model.name!r} ({gallery.model.digest}), "
                f"not with {self.model.spec.name!r} ({self.model.digest}); name the first with --model, "
                "or bring the gallery over with `faceid gallery reembed`"
            )

    def _find_faces(self, photos: Sequence[tuple[Path, str | None]], policy: FacePolicy) -> list[PhotoFaces]:
        """Find the faces of the photos; those that came with a reason already keep it."""
        files = iter(self.pipeline.read(path for path, reason in photos if reason is None))
        offered = [
            next(files) if reason is None else ImageError(path, reason, EXPLANATIONS[reason]) for path, reason in photos
        ]
        return self.pipeline.find_faces(offered, policy)

    def _enroll_batch(
        self,
        gallery: Gallery,
        photos: Sequence[PersonPhoto],
        policy: FacePolicy,
        limits: Limits | None,
        restore: bool,
    ) -> list[Enrollment]:
        """Settle the photos step by step: what needs no look, what has no usable face, and what the store says."""
        results: dict[int, Enrollment] = {}
        files: dict[int, PhotoFile] = {}
        for i, file in self._read_people(photos):
            if isinstance(file, Enrollment):
                results[i] = file
            else:
                files[i] = file

        known = gallery.enrolled([file.digest for file in files.values()])
        for i, file in files.items():
            if settled := _already_known(photos[i], known.get(file.digest, []), restore):
                results[i] = settled

        unseen = {i: file for i, file in files.items() if i not in results}
        templates: dict[int, NewTemplate] = {}
        found_faces = self.pipeline.find_faces(list(unseen.values()), policy)
        for i, found in zip(unseen, found_faces, strict=True):
            rejected = _rejected(photos[i], found, limits)
            if rejected:
                results[i] = rejected
            else:
                templates[i] = self._template(photos[i], found)

        with self.pipeline.timed("store"):
            added = gallery.add(list(templates.values()), restore=restore)
        for i, outcome in zip(templates, added, strict=True):
            results[i] = _enrollment(photos[i], outcome.status, outcome.reason_codes, outcome.template_id)
        return [results[i] for i in range(len(photos))]

    def _read_people(self, photos: Sequence[PersonPhoto]) -> Iterator[tuple[int, PhotoFile | Enrollment]]:
        """Yield each photo's file, or its result if there is nothing to read or nobody to enrol."""
        usable = [i for i, photo in enumerate(photos) if photo.reason_code is None and _is_name(photo)]
        for i in set(range(len(photos))) - set(usable):
            yield i, _enrollment(photos[i], "failed", (photos[i].reason_code or "invalid_name",))
        for i, file in zip(usable, self.pipeline.read(photos[i].path for i in usable), strict=True):
            if isinstance(file, ImageError):
                yield i, _enrollment(photos[i], "failed", (file.reason_code,), message=str(file))
            else:
                yield i, file

    def _template(self, photo: PersonPhoto, found: PhotoFaces) -> NewTemplate:
        (face,) = found.faces
        assert found.digest is not None
        return NewTemplate(
            name=photo.name,
            external_id=photo.external_id,
            vector=face.vector,
            source=printable(photo.path.absolute()),
            source_digest=found.digest,
            box=face.box,
            detection_score=face.detection_score,
            quality=face.quality.overall,
            precision=self.pipeline.embedder.precision,
        )

    def _answers(
        self,
        gallery: Gallery,
        found: PhotoFaces,
        threshold: Threshold,
        limits: Limits | None,
        top_k: int,
        fast: bool,
        law: MatchProbability | None,
    ) -> Iterator[Answer]:
        model = self.model.spec.name
        if found.reason_code:
            yield Answer(
                found.path,
                "error" if found.error else "no_face",
                model,
                gallery.revision,
                threshold,
                reason_codes=(found.reason_code,),
                message=explain(found),
            )
            return
        with self.pipeline.timed("search"):
            vectors = np.stack([face.vector for face in found.faces])
            asked = max(top_k, 1 + CONTEXT) if law else top_k
            results = gallery.search(vectors, asked, threshold=threshold.value, fast=fast)
        for index, (face, result) in enumerate(zip(found.faces, results, strict=True)):
            best = result.candidates[:top_k]
            poor = face.quality.reason_codes(limits) if limits else ()
            yield Answer(
                found.path,
                "rejected_quality" if poor else decide(best[0].similarity if best else None, threshold),
                model,
                gallery.revision,
                threshold,
                index,
                face.box,
                face.detection_score,
                face.quality.overall,
                best,
                poor,
                exact_decision=result.exact_decision,
                exact_candidates=result.exact_candidates,
                probability=_probability(law, result.candidates),
            )


def explain(found: PhotoFaces) -> str:
    """Say in words why a photo gave no face."""
    if found.error:
        return str(found.error)
    return f"{printable(found.path)}: {EXPLANATIONS[found.reason_code or 'no_face']}"


def _probability(law: MatchProbability | None, candidates: Sequence[Candidate]) -> float | None:
    if law is None or not candidates:
        return None
    similarities = [candidate.similarity for candidate in candidates]
    return match_probability(law, similarities[0], context_of(similarities))


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH_PHOTOS)):
        yield batch


def _is_name(photo: PersonPhoto) -> bool:
    try:
        clean_name(photo.name)
        if photo.external_id:
            clean_name(photo.external_id)
    except InvalidName:
        return False
    return True


def _already_known(photo: PersonPhoto, known: Sequence[Enrolled], restore: bool) -> Enrollment | None:
    """Return the result for a photo whose bytes the gallery has seen; None if it must be (or may be) enrolled."""
    own = [entry for entry in known if _same_person(photo, entry)]
    if not known or (own and own[0].removed and restore):
        return None
    if not own:
        return _enrollment(photo, "rejected", ("enrolled_as_someone_else",), known[0].template_id)
    if own[0].removed:
        return _enrollment(photo, "rejected", ("removed",), own[0].template_id)
    return _enrollment(photo, "already_enrolled", (), own[0].template_id)


def _same_person(photo: PersonPhoto, entry: Enrolled) -> bool:
    if photo.external_id or entry.external_id:
        return photo.external_id == entry.external_id
    return clean_name(photo.name) == entry.name


def _rejected(photo: PersonPhoto, found: PhotoFaces, limits: Limits | None) -> Enrollment | None:
    """Return why the photo has no face to enrol; None if it has one."""
    if found.error:
        return _enrollment(photo, "failed", (found.error.reason_code,), message=str(found.error))
    if found.reason_code:
        return _enrollment(photo, "rejected", (found.reason_code,))
    poor = found.faces[0].quality.reason_codes(limits) if limits else ()
    return _enrollment(photo, "rejected", poor) if poor else None


def _enrollment(
    photo: PersonPhoto,
    status: EnrollmentStatus,
    reason_codes: tuple[str, ...],
    template_id: int | None = None,
    message: str | None = None,
) -> Enrollment:
    if reason_codes and message is None:
        message = f"{printable(photo.path)}: {', '.join(EXPLANATIONS.get(code, code) for code in reason_codes)}"
    return Enrollment(printable(photo.path), printable(photo.name), status, reason_codes, template_id, message)
