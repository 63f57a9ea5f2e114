"""Strangers and the gallery's own people, searched for now: who is taken for somebody, is the probability kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceid.models import model_zoo
from faceid.service.galleries import OpenGallery
from faceid.service.problems import Problem
from indexer.calibration.held_out import HeldOut, held_out
from indexer.calibration.known_searches import both, mated_searches, stranger_searches
from indexer.gallery import Gallery
from indexer.records import FloatMatrix, Identity, Ids

_MOST_LISTED = 20
_MOST_PEOPLE = 2000  # whose doubles are looked for: one search each


@dataclass(frozen=True)
class Mistaken:
    """A person for whom `strangers` of those tried would be taken, and the highest similarity among them."""

    person: Identity
    strangers: int
    similarity: float


@dataclass(frozen=True)
class Alike:
    """Two people of the gallery: a photo of the first is accepted as the second when the first is not enrolled."""

    first: Identity
    second: Identity
    similarity: float


@dataclass(frozen=True)
class Trial:
    """What was found at `threshold`: of `strangers` tried, `alarms` were taken for somebody; `own` are this gallery's.

    `checked` is the check on held-out searches; the lists are longest similarity first, and cut off.
    """

    threshold: float
    fpir: float
    strangers: int
    own: bool
    alarms: int
    mistaken: tuple[Mistaken, ...]
    alike: tuple[Alike, ...]
    looked_at: int
    checked: HeldOut


def tried(opened: OpenGallery, fpir: float, fpirs: Sequence[float]) -> Trial:
    """Search for the strangers that the gallery keeps, else its model's; raises CalibrationError, Problem for none."""
    threshold = opened.threshold("fpir", fpir).value
    place = f"trial {fpir} {threshold}"
    return opened.reader.remember(place, lambda: _try(opened, threshold, fpir, fpirs))


def _try(opened: OpenGallery, threshold: float, fpir: float, fpirs: Sequence[float]) -> Trial:
    reader = opened.reader
    vectors, persons, own = _strangers(opened)
    people = {one.id: one for one in opened.people()}
    found = reader.search(vectors, 1)
    best = [result.candidates[0] for result in found if result.candidates]
    taken: dict[int, list[float]] = {}
    for one in best:
        if one.similarity >= threshold:
            taken.setdefault(one.id, []).append(one.similarity)
    mistaken = [Mistaken(people[who], len(scores), max(scores)) for who, scores in taken.items() if who in people]
    alike, looked_at = _alike(reader, people, threshold)
    checked = held_out(
        both(mated_searches(reader), stranger_searches(reader, vectors, persons)), reader.size, fpirs, reader.decided_on
    )
    return Trial(
        threshold,
        fpir,
        len(vectors),
        own,
        sum(len(scores) for scores in taken.values()),
        tuple(sorted(mistaken, key=lambda one: (-one.strangers, -one.similarity))[:_MOST_LISTED]),
        alike,
        looked_at,
        checked,
    )


def _strangers(opened: OpenGallery) -> tuple[FloatMatrix, Ids, bool]:
    kept = opened.reader.kept_strangers()
    if len(kept.vectors):
        return kept.vectors, kept.persons, True
    cohort = model_zoo.load_cohort(opened.engine.model)
    if cohort is None:
        raise Problem("calibration_missing", "neither the gallery nor its model has strangers to try with")
    return cohort.strangers, np.arange(len(cohort.strangers), dtype=np.int64), False


def _alike(reader: Gallery, people: dict[int, Identity], threshold: float) -> tuple[tuple[Alike, ...], int]:
    """Return pairs of people who pass for each other, and whose photos were looked at."""
    sample = reader.sample(_MOST_PEOPLE)
    found: dict[tuple[int, int], float] = {}
    for own, result in zip(sample.identity_ids.tolist(), reader.search(sample.vectors, 2), strict=True):
        for one in result.candidates:
            if one.id != own and one.similarity >= threshold:
                pair = (min(own, one.id), max(own, one.id))
                found[pair] = max(found.get(pair, -1.0), one.similarity)
    pairs = sorted(found.items(), key=lambda item: -item[1])[:_MOST_LISTED]
    alike = [Alike(people[a], people[b], score) for (a, b), score in pairs if a in people and b in people]
    return tuple(alike), len(sample.vectors)
