"""The engine: photos of people in, names (or nobody) out; everything the command line does, as Python.

engine = FaceEngine()
with Gallery.open("staff", create=engine.binding) as gallery:
    for enrollment in engine.enroll(gallery, photos_of_people("people")):
        print(enrollment.source, enrollment.status)
    threshold = identification_threshold(engine.model, gallery, fpir=0.01)
    for answer in engine.identify(gallery, "visitor.jpg", threshold):
        print(answer.source, answer.decision, answer.identity)
"""

import hashlib
import math
import operator
import platform
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from PIL import Image as Pillow

from faceid.explanations import explanation
from faceid.forks import require_own_threads
from faceid.model_binding import require_same_model, search_with
from faceid.models import model_zoo
from faceid.models.embedding import Backend, Embedder, Precision
from faceid.pipeline import BATCH_PHOTOS, FoundFace, PictureFaces, Pipeline
from faceid.probability import probability_law
from faceid.records import EnrollmentStatus
from faceid.results import Answer, Enrollment, Verification
from faceid.vision.detection import FACE_POLICIES, Detector, FacePolicy
from faceid.vision.detectors import make_detector
from faceid.vision.face_picture import face_picture
from faceid.vision.images import ImageError, file_named, is_file
from faceid.vision.photo_list import PersonPhoto
from faceid.vision.picture import Content, Picture, ReadPicture, as_picture, as_pictures, is_one_photo
from faceid.vision.quality import Limits
from faceid.workers.crew import Crew
from indexer.decision.context import decision_score, people_needed
from indexer.decision.decision import Threshold, decide
from indexer.decision.match_probability import CONTEXT, MatchProbability, context_of, match_probability
from indexer.decision.morph import MorphThreshold, document_decision
from indexer.errors import InvalidName, ModelMismatch
from indexer.gallery import Gallery
from indexer.records import (
    Candidate,
    Enrolled,
    FloatMatrix,
    FloatVector,
    ModelBinding,
    NewTemplate,
    SearchResult,
    clean_name,
)
from indexer.search.scores import canonical_scores
from indexer.text import printable

Item = TypeVar("Item")
Photos = Picture | Content | Iterable[Picture | Content]
People = PersonPhoto | Iterable[PersonPhoto]
DEFAULT_LIMITS = Limits()
_SIMILAR = 0.1
"""Difference of two scores within which a photo may be a morph of the two: half a morph each scores alike for both."""
_LOOK = 1
"""Raised whenever reading, turning or measuring photos changes what is rejected: then all are looked at once more."""


@dataclass(frozen=True, eq=False)
class Features:
    """Unit vectors `vectors` [n, D] float32, and for each the photo it came from and the person ('' if unknown).

    `digests` are the SHA-256 of the photos (32 bytes), where they are known.
    """

    vectors: FloatMatrix
    labels: tuple[str, ...]
    paths: tuple[str, ...]
    failures: tuple[PictureFaces, ...]
    digests: tuple[bytes | None, ...] = ()


class FaceEngine:
    """Detector, network and the steps between. Many threads may use one engine at once.

    `model` is a name known to the model zoo or a path to a model file (None: the default model); `device` 'cpu' or
    'cuda'; `backend` and `precision` as in `Embedder`; `min_face_size` in pixels; `detector` a name (`mtcnn`, `yunet`,
    or one that a package plugs in as `faceid.detectors`) or a `Detector`, `detector_weights` the file of one that does
    not bring its own. Raises ModelError and DetectorError for what is not there or not sound, ValueError for a
    setting out of its range, ForkedProcess in a child of a process that made an engine.

    A photo, wherever one is taken, is a path, the bytes of a file, an RGB array uint8 [H, W, 3], a Pillow image or a
    `Picture`; one of them or several. Arguments are checked when a method is called, also by those that stream.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        device: str = "cpu",
        backend: Literal["auto"] | Backend = "auto",
        precision: Literal["auto"] | Precision = "float32",
        min_face_size: int = 20,
        detector: str | Detector = "mtcnn",
        detector_weights: str | Path | None = None,
    ) -> None:
        self._made_with: dict[str, Any] = {
            # Files are found by a twin in another folder, too.
            "model": Path(model).absolute() if model and model_zoo.is_a_file(model) else model,
            "device": device,
            "backend": backend,
            "precision": precision,
            "min_face_size": min_face_size,
            "detector": detector,
            "detector_weights": detector_weights and Path(detector_weights).absolute(),
        }
        _check_choice("backend", backend, ("auto", *get_args(Backend)))
        _check_choice("precision", precision, ("auto", *get_args(Precision)))
        require_own_threads()
        self.model = model_zoo.find_model(model)
        embedder = Embedder(self.model, device=device, backend=backend, precision=precision)
        if isinstance(detector, str):
            weights = None if detector_weights is None else Path(detector_weights)
            detector = make_detector(detector, device=device, min_face_size=min_face_size, weights=weights)
        self.pipeline = Pipeline(detector, embedder)
        self._min_face_size = min_face_size

    @property
    def binding(self) -> ModelBinding:
        """What ties a gallery to this engine's model: name, digest and dimension."""
        return ModelBinding(self.model.spec.name, self.model.digest, self.pipeline.embedder.dimension)

    @property
    def detector_digest(self) -> str:
        """What tells this engine's detector from another: hex SHA-256 of its kind and weights."""
        return self.pipeline.detector.digest

    @property
    def device(self) -> str:
        """Where the networks run: cpu, cuda or cuda:N."""
        return str(self._made_with["device"])

    @property
    def circumstances(self) -> dict[str, str | int]:
        """All that decides about the vectors of a photo: model, detector, and how they run."""
        embedder = self.pipeline.embedder
        return {
            "model": self.model.digest,
            "detector": self.detector_digest,
            "min_face_size": self._min_face_size,
            "backend": embedder.backend,
            "precision": embedder.precision,
            "look": _LOOK,
        }

    @property
    def twin(self) -> "Callable[[], FaceEngine]":
        """What makes an engine like this one in another process, as `faceid.workers` starts them.

        There it raises ModelMismatch where the same names lead to another model or detector.
        """
        return partial(_make_twin, self._made_with, self.model.digest, self.detector_digest)

    def analyse(self, pictures: Photos, faces: FacePolicy = "all") -> list[PictureFaces]:
        """Find the faces that the policy keeps: boxes, landmarks, quality and vectors, without a gallery.

        One result per picture, in order; one without a face says why.
        """
        _check_policy(faces)
        return [found for batch in _batches(as_pictures(pictures)) for found in self._find_faces(batch, faces)]

    def enroll(
        self,
        gallery: Gallery,
        people: People,
        *,
        faces: FacePolicy = "exactly-one",
        limits: Limits | None = DEFAULT_LIMITS,
        restore: bool = False,
        again: bool = False,
        keep_crops: bool = False,
        document_check: Threshold | None = None,
        crew: Crew | None = None,
    ) -> list[Enrollment]:
        """Enrol photos of named people: one result per photo, in order; all is safely stored when it returns.

        Photos whose bytes are in the gallery already are not looked at again, so that a run that was interrupted goes
        on where it stopped. `limits` None takes faces of any quality; `restore` brings back removed people and
        templates whose photos appear again. A photo that was rejected under the same settings is not looked at again
        either (`remembered` is among its reason codes) unless `again`. With `keep_crops` the gallery also keeps a small
        picture of each face that it takes, for people to see. With `document_check` a photo that passes this threshold
        for two people, at similar scores, gets the remark `near_two_people`. With a `crew` of workers whose tools are
        `twin`s of this engine the photos are read and looked at by them, ahead; templates, ids and order are the same,
        and this process alone writes. Raises ModelMismatch for a gallery of
        another model, ValueError for the policy `all`: which of a photo's faces is the named person?
        """
        results = self.enroll_stream(
            gallery,
            people,
            faces=faces,
            limits=limits,
            restore=restore,
            again=again,
            keep_crops=keep_crops,
            document_check=document_check,
            crew=crew,
        )
        return list(results)

    def enroll_stream(
        self,
        gallery: Gallery,
        people: People,
        *,
        faces: FacePolicy = "exactly-one",
        limits: Limits | None = DEFAULT_LIMITS,
        restore: bool = False,
        again: bool = False,
        keep_crops: bool = False,
        document_check: Threshold | None = None,
        crew: Crew | None = None,
    ) -> Iterator[Enrollment]:
        """Enrol as `enroll` does while the results are taken: each comes after it is safely stored."""
        _check_policy(faces)
        if faces == "all":
            raise ValueError("enrolment takes one face a photo: exactly-one, largest or centre")
        _check_limits(limits)
        self.require_same_model(gallery)
        policy = self._rejection_policy(faces, limits)
        wishes = _Enrolling(faces, limits, bool(restore), bool(again), policy, bool(keep_crops), document_check)
        batches = _batches(_person_photos(people))
        if crew is not None:
            return self._enroll_by_crew(gallery, batches, wishes, crew)
        return (result for batch in batches for result in self._enroll_batch(gallery, batch, wishes))

    def identify(
        self,
        gallery: Gallery,
        photos: Photos,
        threshold: Threshold,
        *,
        faces: FacePolicy = "all",
        limits: Limits | None = None,
        top_k: int = 5,
        fast: bool = False,
        vectors: bool = False,
    ) -> list[Answer]:
        """Say who is on each photo: one answer per face, and one for a photo without a usable face.

        With `limits`, faces of poorer quality get `rejected_quality`; with `fast`, a large gallery is only sampled, and
        the answers say what is not proved (`Gallery.search`); with `vectors`, each answer carries its face's vector.
        Raises ModelMismatch for a gallery of another model.
        """
        answers = self.identify_stream(
            gallery, photos, threshold, faces=faces, limits=limits, top_k=top_k, fast=fast, vectors=vectors
        )
        return list(answers)

    def identify_stream(
        self,
        gallery: Gallery,
        photos: Photos,
        threshold: Threshold,
        *,
        faces: FacePolicy = "all",
        limits: Limits | None = None,
        top_k: int = 5,
        fast: bool = False,
        vectors: bool = False,
    ) -> Iterator[Answer]:
        """Identify as `identify` does while the answers are taken, some photos at a time, however many there are."""
        _check_policy(faces)
        _check_limits(limits)
        _check_threshold(threshold)
        _check_top_k(top_k)
        self.require_same_model(gallery)
        law = probability_law(self.model, gallery, self.detector_digest)
        asking = _Asking(threshold, limits, top_k, fast, vectors, law)
        return (
            answer
            for batch in _batches(as_pictures(photos))
            for answer in self._answers(gallery, self._find_faces(batch, faces), asking)
        )

    def identify_together(
        self,
        gallery: Gallery,
        photos: Photos,
        threshold_for: Callable[[int], Threshold],
        *,
        faces: FacePolicy = "largest",
        limits: Limits | None = None,
        top_k: int = 5,
    ) -> Answer:
        """Say who the one person on several photos is: one decision, on the direction of the mean of their vectors.

        Each photo gives the first face that the policy keeps; photos without one, or with a face poorer than `limits`,
        are left out, as copies of a photo are, and their reasons are among the answer's. `threshold_for(n)` gives the
        threshold for n photos, `identification_threshold(..., photos=n)` or a fixed one. Without any usable face the
        answer is that of a photo without. Raises ValueError for no photos, ModelMismatch.
        """
        _check_policy(faces)
        _check_limits(limits)
        _check_top_k(top_k)
        self.require_same_model(gallery)
        seen: set[bytes] = set()
        found = [_once(one, seen) for one in self.analyse(photos, faces)]
        if not found:
            raise ValueError("no photos to identify")
        reasons = [one.reason_code for one in found if one.reason_code]
        reasons += [code for one in found for face in one.faces[:1] for code in _poor(face, limits)]
        usable = [(one, one.faces[0]) for one in found if one.faces and not _poor(one.faces[0], limits)]
        unique_reasons = tuple(dict.fromkeys(reasons))
        if not usable:
            poor = [one for one in found if one.faces]
            first = self._no_face((poor or found)[0], gallery.revision, threshold_for(1))
            return replace(first, decision="rejected_quality", reason_codes=unique_reasons) if poor else first
        law = probability_law(self.model, gallery, self.detector_digest, len(usable))
        mean = np.stack([face.vector for _, face in usable]).astype(np.float64).mean(axis=0)
        query = np.asarray(mean / np.linalg.norm(mean), np.float32)
        threshold = threshold_for(len(usable))
        _check_threshold(threshold)
        (result,) = search_with(self.model, gallery, query[None], max(top_k, 1 + CONTEXT), threshold)
        best = result.candidates[:top_k]
        judged = _judged(result.candidates, threshold)
        return Answer(
            usable[0][0].picture,
            decide(judged.score, threshold),
            self.model.spec.name,
            result.revision,
            threshold,
            candidates=best,
            reason_codes=unique_reasons,
            exact_decision=result.exact_decision,
            exact_candidates=result.exact_candidates,
            probability=_probability(law, result.candidates),
            photos=len(usable),
            context=judged.context,
            adjusted=judged.adjusted,
        )

    def verify(
        self,
        first: Picture | Content,
        second: Picture | Content,
        threshold: Threshold,
        *,
        faces: FacePolicy = "largest",
        morph: MorphThreshold | None = None,
    ) -> Verification:
        """Say whether two photos show the same person; of several faces kept by the policy the first counts.

        With `morph` the first is a document's photo, which may be made of two people: what passes the threshold and
        not that one is a `possible_morph`, to be looked at again, and not accepted.
        """
        _check_policy(faces)
        _check_threshold(threshold)
        found = self._find_faces(list(as_pictures([first, second])), faces)
        reasons = tuple(photo.reason_code for photo in found if photo.reason_code)
        if reasons:
            message = "; ".join(explain(photo) for photo in found if photo.reason_code)
            return Verification(None, None, threshold, reasons, message)
        a, b = (photo.faces[0].vector for photo in found)
        similarity = float(canonical_scores(a, b))
        if morph is None:
            return Verification(similarity, decide(similarity, threshold) == "identified", threshold)
        decision = document_decision(similarity, threshold.value, morph)
        return Verification(similarity, decision == "same", threshold, decision=decision, morph=morph)

    def embed(
        self,
        photos: Photos | People | Iterable[PersonPhoto | Picture | Content],
        *,
        faces: FacePolicy = "largest",
        each_once: bool = False,
        crew: Crew | None = None,
    ) -> Features:
        """Embed photos: one vector per face that the policy keeps; photos without one are in `failures`.

        With `each_once` so are copies of a photo, byte for byte, that came before. The label of a `PersonPhoto` is the
        person's name, that of another photo is empty. A `crew` works as in `enroll`.
        """
        _check_policy(faces)
        rows: list[tuple[FloatVector, str, str, bytes | None]] = []
        failures: list[PictureFaces] = []
        seen: set[bytes] = set()
        batches = _batches(labelled(photos))
        for batch, results in self._looked_at(batches, faces, crew):
            for (picture, label), found in zip(batch, results, strict=True):
                result = _once(found, seen) if each_once else found
                rows += [(face.vector, label, picture.source, result.digest) for face in result.faces]
                failures += [replace(result, picture=picture)] if result.reason_code else []
        vectors = np.stack([row[0] for row in rows]) if rows else np.empty((0, self.binding.dimension), np.float32)
        labels, paths = tuple(row[1] for row in rows), tuple(row[2] for row in rows)
        return Features(vectors, labels, paths, tuple(failures), tuple(row[3] for row in rows))

    def require_same_model(self, gallery: Gallery) -> None:
        """Raise ModelMismatch for a gallery of another model, TypeError for what is no gallery."""
        if not isinstance(gallery, Gallery):
            raise TypeError(f"gallery must be a Gallery, as Gallery.open gives one, not {type(gallery).__name__}")
        require_same_model(self.model, gallery)

    def _looked_at(
        self, batches: Iterable[list[tuple[Picture, str]]], faces: FacePolicy, crew: Crew | None
    ) -> Iterator[tuple[list[tuple[Picture, str]], list[PictureFaces]]]:
        """Yield each batch with what was found on its pictures, here or by the crew."""
        if crew is not None:
            items = ((batch, [sent(picture) for picture, _ in batch]) for batch in batches)
            return crew.map(partial(_read_and_find, faces), items)
        return ((batch, self._find_faces([picture for picture, _ in batch], faces)) for batch in batches)

    def _find_faces(self, pictures: Sequence[Picture], policy: FacePolicy) -> list[PictureFaces]:
        return self.pipeline.find_faces(self.pipeline.read(pictures), policy)

    def _enroll_batch(self, gallery: Gallery, photos: Sequence[PersonPhoto], wishes: "_Enrolling") -> list[Enrollment]:
        """Settle the photos step by step: what needs no look, what has no usable face, and what the store says."""
        readable = _readable(photos)
        batch = _Batch(photos, readable, self.pipeline.read(photos[i].picture for i in readable))
        results, unseen = self._settled(gallery, batch, wishes)
        found = self.pipeline.find_faces(list(unseen.values()), wishes.faces, crops=wishes.keep_crops)
        return self._stored(gallery, photos, results, unseen, dict(zip(unseen, found, strict=True)), wishes)

    def _enroll_by_crew(
        self, gallery: Gallery, batches: Iterable[Sequence[PersonPhoto]], wishes: "_Enrolling", crew: Crew
    ) -> Iterator[Enrollment]:
        """Enrol as `_enroll_batch` does, once workers have read the photos and found the faces of those not known yet.

        What the gallery knows is asked once more when a batch's turn to be written has come: those before it may hold
        the same photos.
        """
        listed = ((photos, _readable(photos)) for photos in batches)
        asked_for = ((_Batch(photos, its, []), [sent(photos[i].picture) for i in its]) for photos, its in listed)
        read = (replace(batch, files=files) for batch, files in crew.map(_read, asked_for))
        unknown = ((batch, self._unseen(gallery, batch, wishes)) for batch in read)
        for batch, found in crew.map(partial(_find, wishes.faces, wishes.keep_crops), unknown):
            results, unseen = self._settled(gallery, batch, wishes)
            left = [i for i in unseen if i not in found]  # known a moment ago, and not any more
            looked_at = self.pipeline.find_faces([unseen[i] for i in left], wishes.faces, crops=wishes.keep_crops)
            found |= zip(left, looked_at, strict=True)
            yield from self._stored(gallery, batch.photos, results, unseen, found, wishes)

    def _unseen(self, gallery: Gallery, batch: "_Batch", wishes: "_Enrolling") -> dict[int, ReadPicture]:
        """Return the photos, by their places, that must be looked at, as far as the gallery can tell now."""
        files = {i: file for i, file in batch.read() if isinstance(file, ReadPicture)}
        known = gallery.enrolled([file.digest for file in files.values()])
        whose = _whose(gallery, batch.photos, [i for i, file in files.items() if file.digest in known])
        remembered = _remembered(gallery, files, wishes)
        return {
            i: file
            for i, file in files.items()
            if file.digest not in remembered
            and not _already_known(batch.photos[i], whose.get(i), known.get(file.digest, []), wishes.restore)
        }

    def _settled(
        self, gallery: Gallery, batch: "_Batch", wishes: "_Enrolling"
    ) -> tuple[dict[int, Enrollment], dict[int, ReadPicture]]:
        """Return, by their places, the results of photos that need no look, and the photos that do."""
        photos = batch.photos
        results = {
            i: _enrollment(photos[i], "failed", (photos[i].reason_code or "invalid_name",))
            for i in set(range(len(photos))) - set(batch.readable)
        }
        files: dict[int, ReadPicture] = {}
        for i, file in batch.read():
            if isinstance(file, PictureFaces):
                results[i] = _enrollment(photos[i], "failed", (file.reason_code or "",), message=explain(file))
            else:
                files[i] = file

        known = gallery.enrolled([file.digest for file in files.values()])
        whose = _whose(gallery, photos, [i for i, file in files.items() if file.digest in known])
        moved: dict[int, str] = {}
        for i, file in files.items():
            entries = known.get(file.digest, [])
            if settled := _already_known(photos[i], whose.get(i), entries, wishes.restore):
                results[i] = settled
                moved |= {
                    one.template_id: photos[i].picture.address
                    for one in entries
                    if _has_moved(one, settled, photos[i].picture)
                }
        if moved:
            gallery.note_places(moved)

        unseen = {i: file for i, file in files.items() if i not in results}
        remembered = _remembered(gallery, unseen, wishes)
        for i, file in list(unseen.items()):
            if file.digest in remembered:
                results[i] = _enrollment(photos[i], "rejected", (*remembered[file.digest], "remembered"))
                del unseen[i]
        return results, unseen

    def _stored(
        self,
        gallery: Gallery,
        photos: Sequence[PersonPhoto],
        results: dict[int, Enrollment],
        unseen: dict[int, ReadPicture],
        found_faces: dict[int, PictureFaces],
        wishes: "_Enrolling",
    ) -> list[Enrollment]:
        """Store what was found on the unseen photos; return the results of all, in order."""
        templates: dict[int, NewTemplate] = {}
        remarks: dict[int, tuple[str, ...]] = {}
        rejections: dict[bytes, tuple[str, ...]] = {}
        for i, file in unseen.items():
            found = found_faces[i]
            rejected = _rejected(photos[i], found, wishes.limits)
            if rejected:
                results[i] = rejected
                if rejected.status == "rejected":  # what failed may succeed elsewhere, or with more memory
                    rejections[file.digest] = rejected.reason_codes
            else:
                templates[i] = self._template(photos[i], found)
                remarks[i] = found.remarks

        if wishes.document_check and templates:
            for i, remark in zip(
                templates, _near_two(gallery, list(templates.values()), wishes.document_check), strict=True
            ):
                remarks[i] += remark

        with self.pipeline.timed("store"):
            if rejections:
                gallery.remember_rejected(rejections, wishes.policy)
            added = gallery.add(list(templates.values()), restore=wishes.restore)
        for i, outcome in zip(templates, added, strict=True):
            codes = outcome.reason_codes + remarks[i]
            results[i] = _enrollment(photos[i], outcome.status, codes, outcome.template_id, kept_name=outcome.name)
        return [results[i] for i in range(len(photos))]

    def _rejection_policy(self, faces: FacePolicy, limits: Limits | None) -> str:
        """Return what stands for all that decides whether a photo is rejected: hex SHA-256."""
        least = limits and sorted(asdict(limits).items())
        decides = (_LOOK, self.model.digest, self.detector_digest, self._min_face_size, faces, least)
        return hashlib.sha256(repr(decides).encode()).hexdigest()

    def _template(self, photo: PersonPhoto, found: PictureFaces) -> NewTemplate:
        (face,) = found.faces
        assert found.digest is not None
        return NewTemplate(
            name=photo.name,
            external_id=photo.external_id,
            vector=face.vector,
            source=photo.picture.address,
            source_digest=found.digest,
            box=face.box,
            detection_score=face.detection_score,
            quality=face.quality.overall,
            precision=self.pipeline.embedder.precision,
            crop=None if face.crop is None else face_picture(face.crop),
        )

    def _answers(self, gallery: Gallery, found: Sequence[PictureFaces], asking: "_Asking") -> Iterator[Answer]:
        """Search for all the faces of some pictures at once; yield the answers in the pictures' order."""
        faces = [face for picture in found for face in picture.faces]
        results: Iterator[SearchResult] = iter(())
        if not faces:
            revision = gallery.revision
        else:
            with self.pipeline.timed("search"):
                needed = 1 + CONTEXT if asking.law else people_needed(asking.threshold.on)
                asked = max(asking.top_k, needed)
                queries = np.stack([face.vector for face in faces])
                answers = search_with(self.model, gallery, queries, asked, asking.threshold, fast=asking.fast)
            results, revision = iter(answers), answers[0].revision
        for picture in found:
            if picture.reason_code:
                yield self._no_face(picture, revision, asking.threshold)
            for index, face in enumerate(picture.faces):
                yield self._answer(picture, index, face, next(results), asking)

    def _no_face(self, found: PictureFaces, revision: int, threshold: Threshold) -> Answer:
        return Answer(
            found.picture,
            "error" if found.error else "no_face",
            self.model.spec.name,
            revision,
            threshold,
            reason_codes=(found.reason_code or "",),
            message=explain(found),
        )

    def _answer(
        self,
        found: PictureFaces,
        index: int,
        face: FoundFace,
        result: SearchResult,
        asking: "_Asking",
    ) -> Answer:
        best = result.candidates[: asking.top_k]
        poor = face.quality.reason_codes(asking.limits) if asking.limits else ()
        judged = _judged(result.candidates, asking.threshold)
        return Answer(
            found.picture,
            "rejected_quality" if poor else decide(judged.score, asking.threshold),
            self.model.spec.name,
            result.revision,  # the one that was searched, whatever a writer has done since
            asking.threshold,
            face_index=index,
            box=face.box,
            landmarks=face.landmarks,
            detection_score=face.detection_score,
            quality=face.quality.overall,
            candidates=best,
            reason_codes=poor + found.remarks,
            exact_decision=result.exact_decision,
            exact_candidates=result.exact_candidates,
            probability=_probability(asking.law, result.candidates),
            vector=face.vector if asking.vectors else None,
            context=judged.context,
            adjusted=judged.adjusted,
        )


@dataclass(frozen=True)
class _Enrolling:
    """How a call of `enroll` wants it; `policy` stands for all that decides whether a photo is rejected."""

    faces: FacePolicy
    limits: Limits | None
    restore: bool
    again: bool
    policy: str
    keep_crops: bool
    document_check: Threshold | None


@dataclass(frozen=True, eq=False)
class _Batch:
    """Photos to be enrolled; `files` are those in the places `readable`, as they were read."""

    photos: Sequence[PersonPhoto]
    readable: Sequence[int]
    files: Sequence[ReadPicture | PictureFaces]

    def read(self) -> Iterator[tuple[int, ReadPicture | PictureFaces]]:
        """Yield each file that was read, or why it was not, with its place."""
        yield from zip(self.readable, self.files, strict=True)


@dataclass(frozen=True)
class _Judged:
    """What is held against a threshold; context and adjusted similarity where the threshold is on context."""

    score: float | None
    context: float | None = None
    adjusted: float | None = None


def _judged(candidates: Sequence[Candidate], threshold: Threshold) -> _Judged:
    if threshold.on == "similarity" or not candidates:
        return _Judged(candidates[0].similarity if candidates else None)
    similarities = [one.similarity for one in candidates]
    adjusted = decision_score(similarities, threshold.on)
    return _Judged(adjusted, context_of(similarities), adjusted)


@dataclass(frozen=True)
class _Asking:
    """How a call of `identify` wants its answers."""

    threshold: Threshold
    limits: Limits | None
    top_k: int
    fast: bool
    vectors: bool
    law: MatchProbability | None


def _make_twin(made_with: dict[str, Any], model_digest: str, detector_digest: str) -> FaceEngine:
    """Make an engine in a worker; it must be the one that it is a twin of."""
    engine = FaceEngine(**made_with)
    if (engine.model.digest, engine.detector_digest) != (model_digest, detector_digest):
        raise ModelMismatch(
            f"{platform.node()} has another model {engine.model.spec.name!r} (SHA-256 {engine.model.digest}) or another"
            f" detector than the machine that the work comes from ({model_digest}); bring the same files there"
        )
    return engine


def sent(picture: Picture) -> Picture:
    """Return the picture as a worker can find it, under the same name; a Pillow image is decoded here, as it is."""
    content, reason = picture.content, picture.reason_code
    if isinstance(content, Path):
        content = content.absolute()
    elif isinstance(content, Pillow.Image):
        try:
            content = picture.pixels()
        except ImageError as error:
            content, reason = b"", reason or error.reason_code
    return Picture(content, picture.source, picture.time, reason_code=reason)


def _read(engine: FaceEngine, pictures: Sequence[Picture]) -> list[ReadPicture | PictureFaces]:
    """Read pictures in a worker; bytes that are in a file are not sent back."""
    return [
        replace(file, data=None) if isinstance(file, ReadPicture) and file.picture.path else file
        for file in engine.pipeline.read(pictures)
    ]


def _find(
    policy: FacePolicy, crops: bool, engine: FaceEngine, unseen: dict[int, ReadPicture]
) -> dict[int, PictureFaces]:
    """Find and embed faces in a worker."""
    return dict(zip(unseen, engine.pipeline.find_faces(list(unseen.values()), policy, crops=crops), strict=True))


def _read_and_find(policy: FacePolicy, engine: FaceEngine, pictures: Sequence[Picture]) -> list[PictureFaces]:
    """Read pictures, find and embed their faces, in a worker."""
    return engine.pipeline.find_faces(engine.pipeline.read(pictures), policy)


def _readable(photos: Sequence[PersonPhoto]) -> list[int]:
    """Return the places of photos that there is something to read of, and somebody to enrol."""
    return [i for i, photo in enumerate(photos) if photo.reason_code is None and _is_name(photo)]


def _remembered(gallery: Gallery, files: dict[int, ReadPicture], wishes: _Enrolling) -> dict[bytes, tuple[str, ...]]:
    """Return why photos were rejected before, by digest; none where all are to be looked at again."""
    return {} if wishes.again else gallery.rejected([file.digest for file in files.values()], wishes.policy)


def _near_two(gallery: Gallery, templates: Sequence[NewTemplate], threshold: Threshold) -> Iterator[tuple[str, ...]]:
    """Yield a remark for each photo that passes for two people at similar scores (NISTIR 8430: a hint, no proof)."""
    for found in gallery.search(np.stack([one.vector for one in templates]), 2):
        scores = [one.similarity for one in found.candidates]
        both = len(scores) == 2 and scores[1] >= threshold.value and scores[0] - scores[1] <= _SIMILAR
        yield ("near_two_people",) if both else ()


def explain(found: PictureFaces) -> str:
    """Say in words why a photo gave no face."""
    return str(found.error) if found.error else f"{found.source}: {explanation(found.reason_code or 'no_face')}"


def _once(found: PictureFaces, seen: set[bytes]) -> PictureFaces:
    """Return what was found on a photo, without its faces where a copy of it was `seen`; note that it was."""
    if found.digest in seen:
        return replace(found, faces=(), reason_code="copy")
    if found.digest is not None:
        seen.add(found.digest)
    return found


def _poor(face: FoundFace, limits: Limits | None) -> tuple[str, ...]:
    return face.quality.reason_codes(limits) if limits else ()


def _check_policy(faces: str) -> None:
    _check_choice("faces", faces, FACE_POLICIES)


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def _check_limits(limits: object) -> None:
    if not isinstance(limits, Limits | None):
        raise TypeError(f"limits must be Limits(...) or None, not {type(limits).__name__}")


def _check_top_k(top_k: int) -> None:
    if operator.index(top_k) < 1:
        raise ValueError(f"top_k must be 1 or more, not {top_k}")


def _check_threshold(threshold: object) -> None:
    if not isinstance(threshold, Threshold):
        raise TypeError(
            "threshold must be a Threshold, as identification_threshold, verification_threshold and user_threshold "
            f"give one, not {type(threshold).__name__}"
        )
    if not math.isfinite(threshold.value):
        raise ValueError(f"the threshold must be a finite number, not {threshold.value}")


def _person_photos(people: object) -> Iterator[PersonPhoto]:
    """Return the photos of one or several named people; TypeError for something else: of a list at once."""
    if isinstance(people, PersonPhoto):
        people = [people]
    if not isinstance(people, Iterable):
        raise TypeError(f"people must be one PersonPhoto or several, not {type(people).__name__}")
    checked = (_person_photo(photo) for photo in people)
    return iter(list(checked)) if isinstance(people, list | tuple) else checked


def _person_photo(photo: object) -> PersonPhoto:
    if not isinstance(photo, PersonPhoto):
        raise TypeError(f"enrolment takes PersonPhoto(photo, name), not {type(photo).__name__}")
    return photo


def labelled(photos: object) -> Iterator[tuple[Picture, str]]:
    """Yield the photos with whom they show: a PersonPhoto's name, nobody's otherwise."""
    if isinstance(photos, PersonPhoto) or is_one_photo(photos):
        photos = [photos]
    if not isinstance(photos, Iterable):
        raise TypeError(f"photos must be one photo or several, not {type(photos).__name__}")
    labelled = (
        (photo.picture, photo.name) if isinstance(photo, PersonPhoto) else (as_picture(photo, number), "")
        for number, photo in enumerate(photos, start=1)
    )
    return iter(list(labelled)) if isinstance(photos, list | tuple) else labelled


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


def _whose(gallery: Gallery, photos: Sequence[PersonPhoto], places: Sequence[int]) -> dict[int, int | None]:
    """Return, by their places, whom the gallery takes some photos' names for: an id, None for somebody new."""
    meant = gallery.meant([(photos[i].name, photos[i].external_id) for i in places])
    return dict(zip(places, meant, strict=True))


def _already_known(
    photo: PersonPhoto, whose: int | None, known: Sequence[Enrolled], restore: bool
) -> Enrollment | None:
    """Return the result for a photo whose bytes the gallery has seen; None if it must be (or may be) enrolled."""
    own = [entry for entry in known if entry.identity_id == whose]
    shown = [entry for entry in known if not entry.removed]  # one that was taken from somebody is free for another
    if (own[0].removed and restore) if own else not shown:
        return None
    if not own:
        return _enrollment(photo, "rejected", ("enrolled_as_someone_else",), shown[0].template_id)
    if own[0].removed:
        return _enrollment(photo, "rejected", ("removed",), own[0].template_id)
    return _enrollment(photo, "already_enrolled", (), own[0].template_id, kept_name=own[0].name)


def _has_moved(entry: Enrolled, settled: Enrollment, picture: Picture) -> bool:
    """Whether this is the template of a photo that is no longer where it was enrolled from."""
    return (
        entry.template_id == settled.template_id
        and settled.status == "already_enrolled"
        and picture.path is not None
        and entry.source != picture.address
        and not is_file(file_named(entry.source))
    )


def _rejected(photo: PersonPhoto, found: PictureFaces, limits: Limits | None) -> Enrollment | None:
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
    kept_name: str | None = None,
) -> Enrollment:
    name = _cleaned(photo.name)
    if status in ("enrolled", "already_enrolled"):
        if name != unicodedata.normalize("NFC", photo.name):
            reason_codes = (*reason_codes, "name_normalised")
        if kept_name is not None and kept_name != name:
            name, reason_codes = kept_name, (*reason_codes, "known_by_another_name")
    if reason_codes and message is None:
        message = f"{photo.picture.source}: {', '.join(map(explanation, reason_codes))}"
    external_id = photo.external_id and _cleaned(photo.external_id)
    return Enrollment(photo.picture.source, name, status, reason_codes, template_id, message, external_id)


def _cleaned(name: str) -> str:
    """Return the name as the gallery keeps it; one that it does not keep as it can be shown."""
    try:
        return clean_name(name)
    except InvalidName:
        return printable(name)
