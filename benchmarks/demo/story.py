"""The demo's story, told with the engine as users have it: enrol, calibrate, identify, and a small distractor test."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo.cast import Cast
from benchmarks.metrics.rates import rate
from benchmarks.results.results import Rate
from faceid.annotate import annotated
from faceid.engine import FaceEngine, Features
from faceid.results import Answer
from faceid.thresholds import circumstances_of, identification_threshold
from faceid.vision.detection import FacePolicy
from faceid.vision.photo_list import PersonPhoto
from indexer.calibration.calibration import calibrate_from_strangers
from indexer.decision.decision import RULE_OF_THREE, Threshold
from indexer.errors import FaceIdError
from indexer.gallery import Gallery
from indexer.records import FloatMatrix, FloatVector

FPIR = 0.05
DISTRACTORS = (10, 100, 1000)

Say = Callable[[str], None]


class NothingToShowError(FaceIdError):
    """No photo of the cast gave what the story needs."""


@dataclass(frozen=True)
class Shown:
    """An answer on the page: whose photo it is (None: a stranger), and the annotated picture."""

    answer: Answer
    truth: str | None
    picture: Path | None

    @property
    def right(self) -> bool:
        """Whether the engine said what is true: this person, or nobody for a stranger."""
        named = self.answer.identity.name if self.answer.identity else None
        return named == self.truth


@dataclass(frozen=True, eq=False)
class Story:
    """All that the page shows."""

    cast: Cast
    model: str
    digest: str
    gallery: Path
    people: int
    templates: int
    not_enrolled: dict[str, int]  # reason code -> photos
    threshold: Threshold
    known: tuple[Shown, ...]
    strangers: tuple[Shown, ...]
    rank1: Rate
    fnir: Rate
    fpir: Rate
    genuine: FloatVector  # similarities of all pairs of photos of one person
    impostor: FloatVector  # and of two
    distractors: tuple[
        tuple[int, Rate], ...
    ]  # (N, rank-1 of each mated probe among one photo of its person and N others)
    seconds: float


def tell(engine: FaceEngine, cast: Cast, folder: Path, say: Say = lambda _: None) -> Story:
    """Run the whole line on a cast; the gallery and the annotated photos go below `folder`.

    Raises NothingToShowError if too few photos give a face; CalibrationError if no threshold can be had.
    """
    start = time.perf_counter()
    with Gallery.create(folder / "gallery", engine.binding) as gallery:
        say(f"enrolling {len(cast.enrolled)} photos of {len({photo.name for photo in cast.enrolled})} people")
        enrolments = engine.enroll(gallery, cast.enrolled, faces=cast.faces)
        refused = Counter(code for enrolment in enrolments for code in enrolment.reason_codes)
        say(f"embedding {len(cast.distractors)} other people, of whom {cast.calibration} set the threshold")
        others = _embed(engine, cast.distractors, cast)
        threshold = _calibrate(engine, gallery, others.vectors[: cast.calibration], cast.faces)
        say(f"identifying {len(cast.probes)} photos of enrolled people and {len(cast.strangers)} of strangers")
        known = _identify(engine, gallery, cast.probes, threshold, cast, folder / "known", strangers=False)
        strangers = _identify(
            engine, gallery, cast.strangers, threshold, cast, folder / "strangers-seen", strangers=True
        )
        probes = _embed(engine, cast.probes, cast)
        enrolled, labels = _enrolled(gallery)
        stats = gallery.stats()
    genuine, impostor = pair_similarities(
        np.concatenate([enrolled, probes.vectors]), np.array([*labels, *probes.labels])
    )
    return Story(
        cast=cast,
        model=engine.model.spec.name,
        digest=engine.model.digest,
        gallery=folder / "gallery",
        people=stats.identities,
        templates=stats.templates,
        not_enrolled=dict(refused),
        threshold=threshold,
        known=known,
        strangers=strangers,
        rank1=rate(sum(_first_is_right(shown) for shown in known), len(known)),
        fnir=rate(sum(not shown.right for shown in known), len(known)),
        fpir=rate(sum(shown.answer.decision == "identified" for shown in strangers), len(strangers)),
        genuine=genuine,
        impostor=impostor,
        distractors=_distractor_test(enrolled, labels, probes, others.vectors, cast),
        seconds=time.perf_counter() - start,
    )


def pair_similarities(vectors: FloatMatrix, labels: NDArray[np.str_]) -> tuple[FloatVector, FloatVector]:
    """Return the similarities of all pairs of unit vectors [n, D]: of one label, and of two."""
    first, second = np.triu_indices(len(vectors), 1)
    similarity = (vectors @ vectors.T)[first, second]
    same = labels[first] == labels[second]
    return similarity[same], similarity[~same]


def rank1_among(probes: FloatMatrix, mates: FloatMatrix, distractors: FloatMatrix) -> Rate:
    """Rank-1 of MegaFace: each probe [n, D] against its mate [n, D] and all distractors [N, D]; a tie is a miss."""
    mated = np.einsum("nd,nd->n", probes, mates)
    best = (probes @ distractors.T).max(axis=1)
    return rate(int((mated > best).sum()), len(probes))


def _embed(engine: FaceEngine, photos: Sequence[PersonPhoto], cast: Cast) -> Features:
    features = engine.embed(photos, faces=cast.faces)
    if not len(features.vectors):
        raise NothingToShowError(f"none of {len(photos)} photos of {cast.origin} shows a usable face")
    return features


def _calibrate(engine: FaceEngine, gallery: Gallery, strangers: FloatMatrix, faces: FacePolicy) -> Threshold:
    """Measure the gallery's non-mated scores, and take the threshold for FPIR 0.05 or the least these can support."""
    calibration = calibrate_from_strangers(
        gallery,
        strangers,
        data=f"{len(strangers)} faces of strangers",
        precision=engine.pipeline.embedder.precision,
    )
    gallery.save_calibrations([replace(calibration, circumstances=circumstances_of(engine, gallery, faces))])
    return identification_threshold(engine.model, gallery, max(FPIR, RULE_OF_THREE / len(strangers)))


def _identify(
    engine: FaceEngine,
    gallery: Gallery,
    photos: Sequence[PersonPhoto],
    threshold: Threshold,
    cast: Cast,
    folder: Path,
    *,
    strangers: bool,
) -> tuple[Shown, ...]:
    """Identify photos and draw the answers; the cast's policy leaves one answer a photo."""
    listed = [photo.picture for photo in photos]
    answers = list(annotated(engine.identify(gallery, listed, threshold, faces=cast.faces), folder))
    pictures = {int(picture.name[:4]): picture for picture in folder.iterdir()}
    return tuple(
        Shown(answer, None if strangers else photo.name, pictures.get(number))
        for number, (answer, photo) in enumerate(zip(answers, photos, strict=True), start=1)
    )


def _enrolled(gallery: Gallery) -> tuple[FloatMatrix, list[str]]:
    """Return the gallery's vectors [n, D] and whose they are."""
    embeddings = gallery.embeddings()
    names = {identity.id: identity.name for identity in gallery.identities()}
    return embeddings.vectors, [names[identity] for identity in embeddings.identity_ids.tolist()]


def _first_is_right(shown: Shown) -> bool:
    return bool(shown.answer.candidates) and shown.answer.candidates[0].name == shown.truth


def _distractor_test(
    enrolled: FloatMatrix, labels: Sequence[str], probes: Features, others: FloatMatrix, cast: Cast
) -> tuple[tuple[int, Rate], ...]:
    """Return rank-1 at each number of distractors that the cast has; the mate is the person's first enrolled photo."""
    mates = {name: row for row, name in reversed(list(enumerate(labels)))}
    rows = [row for row, name in enumerate(probes.labels) if name in mates]
    if not rows:
        raise NothingToShowError(f"no enrolled person of {cast.origin} has a second photo with a usable face")
    mated = enrolled[[mates[probes.labels[row]] for row in rows]]
    sizes = [size for size in DISTRACTORS if size <= len(others)]
    return tuple((size, rank1_among(probes.vectors[rows], mated, others[:size])) for size in sizes)
