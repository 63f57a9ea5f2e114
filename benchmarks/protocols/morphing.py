"""Morphing attacks on a comparison of a document's photo with a live one: how many open for both of their people.

Words of ISO/IEC 20059 and Scherhag et al. 2017 (BIOSIG, "Biometric Systems under Morphing Attacks"). A morph is made of
two people's photos, and succeeds where live photos of both reach the threshold. MMPMR is the share of morphs that
succeed with one live photo each; MAP[r, c] the share that succeed with at least r live photos of each person in at
least c of the systems. BSCER is the share of genuine documents that are suspected: below the morph threshold.
Intervals are clustered by person: a morph has two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.bootstrap import Interval, rate_interval
from benchmarks.metrics.rates import rate
from benchmarks.protocols.errors import ProtocolError
from benchmarks.results.results import Rate
from indexer.decision.decision import threshold_at
from indexer.decision.morph import look_alikes, midpoints
from indexer.records import FloatMatrix, FloatVector, Ids
from indexer.search.scores import canonical_scores

REPLICATES = 1000
NOBODY = -2.0  # the score of an attempt that there is no photo for


@dataclass(frozen=True, eq=False)
class People:
    """For each of P people a document's vector [P, D], and the vectors of live photos [P, A, D], missing ones zero."""

    names: tuple[str, ...]
    documents: FloatMatrix
    live: NDArray[np.float32]
    attempts: Ids
    """How many live photos each has, 1 to A."""


@dataclass(frozen=True, eq=False)
class Morphs:
    """Vectors [M, D] of morphs, and the two people of each, places int64 [M] in `People`."""

    vectors: FloatMatrix
    first: Ids
    second: Ids


@dataclass(frozen=True)
class MorphRow:
    """What one threshold does: genuine documents suspected (BSCER), and morphs of one kind accepted (MMPMR)."""

    kind: str
    threshold: float
    fmr: float
    bscer: Rate
    mmpmr: Rate


@dataclass(frozen=True)
class AskedRow:
    """A threshold for an MMPMR that was asked of half of the people, and what it got on the other half."""

    kind: str
    asked: float
    threshold: float
    got: Rate
    bscer: Rate


def random_partners(count: int, seed: int) -> Ids:
    """Return for each of `count` people another one, drawn: everybody is somebody's partner once."""
    order = np.random.default_rng(seed).permutation(count)
    partner = np.empty(count, np.int64)
    partner[order] = np.roll(order, 1)
    return partner


def people_of(features: FloatMatrix, labels: Sequence[str], names: Sequence[str], attempts: int) -> People:
    """Collect people by name: the first photo is the document, up to `attempts` others are live.

    Raises ProtocolError for somebody with fewer than two photos.
    """
    labels_ = np.asarray(labels)
    order = np.argsort(labels_, kind="stable")
    starts = np.searchsorted(labels_[order], names)
    ends = np.searchsorted(labels_[order], names, side="right")
    live = np.zeros((len(names), attempts, features.shape[1]), np.float32)
    counts = np.minimum(ends - starts - 1, attempts).astype(np.int64)
    if (counts < 1).any():
        raise ProtocolError(f"{names[int(np.argmin(counts))]} has no live photo beside the document")
    for place, (start, count) in enumerate(zip(starts.tolist(), counts.tolist(), strict=True)):
        live[place, :count] = features[order[start + 1 : start + 1 + count]]
    return People(tuple(names), np.asarray(features[order[starts]]), live, counts)


def worst_cases(people: People, partner: Ids) -> Morphs:
    """Return the vectors that nobody can better who knows the documents alone: the midpoints of two."""
    first = np.arange(len(partner), dtype=np.int64)
    return Morphs(midpoints(people.documents, people.documents[partner]), first, partner)


def contributor_scores(people: People, morphs: Morphs) -> NDArray[np.float32]:
    """Return the scores [M, 2, A] of each morph against the live photos of both people; NOBODY where there is none."""
    scores = np.full((len(morphs.vectors), 2, people.live.shape[1]), NOBODY, np.float32)
    for side, who in enumerate((morphs.first, morphs.second)):
        for attempt in range(people.live.shape[1]):
            there = people.attempts[who] > attempt
            scores[there, side, attempt] = canonical_scores(morphs.vectors[there], people.live[who[there], attempt])
    return scores


def genuine_scores(people: People) -> FloatVector:
    """Return each document's score [P] against its person's first live photo."""
    scores: FloatVector = canonical_scores(people.documents, people.live[:, 0])
    return scores


def impostor_scores(people: People) -> FloatVector:
    """Return the scores of each document against everybody else's first live photo, largest first."""
    products = people.documents @ people.live[:, 0].T
    off = ~np.eye(len(products), dtype=np.bool_)
    ordered: FloatVector = np.sort(products[off])[::-1]
    return ordered


def mmpmr(scores: NDArray[np.float32], morphs: Morphs, threshold: float) -> Rate:
    """Return the share of morphs whose first live photo of both people reaches the threshold. `scores` [M, 2, A]."""
    accepted = scores[:, :, 0].min(axis=1) >= threshold
    return rate(int(accepted.sum()), len(accepted), _clustered(accepted, morphs.first, morphs.second))


def bscer(genuine: FloatVector, threshold: float) -> Rate:
    """Return the share of genuine documents below the threshold; one of a person."""
    below = genuine < threshold
    return rate(int(below.sum()), len(below), _clustered(below, np.arange(len(below), dtype=np.int64), None))


def curve(
    kinds: dict[str, tuple[Morphs, NDArray[np.float32]]], people: People, thresholds: Sequence[float]
) -> list[MorphRow]:
    """Return a row for each kind of morph and threshold; `kinds` holds morphs with their contributors' scores."""
    genuine, impostors = genuine_scores(people), impostor_scores(people)
    rows = []
    for threshold in thresholds:
        fmr = float((impostors >= threshold).mean())
        suspected = bscer(genuine, threshold)
        rows += [
            MorphRow(kind, threshold, fmr, suspected, mmpmr(scores, morphs, threshold))
            for kind, (morphs, scores) in kinds.items()
        ]
    return rows


def map_matrix(accepted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return MAP[r, c] as [A, C] from what C systems accepted, bool [C, M, 2, A]: row r - 1, column c - 1.

    A system counts where at least r live photos of each of the two people are accepted.
    """
    systems, _, _, attempts = accepted.shape
    fooled = accepted.sum(axis=3).min(axis=2)  # [C, M]: accepted photos of the less lucky person
    table = np.empty((attempts, systems))
    for least in range(1, attempts + 1):
        how_many = (fooled >= least).sum(axis=0)
        table[least - 1] = [(how_many >= needed).mean() for needed in range(1, systems + 1)]
    return table


def asked_and_got(kind: str, people: People, morphs: Morphs, asked: Sequence[float], seed: int) -> list[AskedRow]:
    """Set thresholds on the worst cases of half of the people, and count this kind of morph on the other half.

    Both of a morph's people must be in that half.
    """
    half = np.random.default_rng(seed).permutation(len(people.names)) % 2 == 0
    setting = _subset(people, half)
    worst = worst_cases(setting, look_alikes(setting.documents))
    worst_scores = np.sort(contributor_scores(setting, worst)[:, :, 0].min(axis=1))[::-1]
    counted = ~half[morphs.first] & ~half[morphs.second]
    others = Morphs(morphs.vectors[counted], morphs.first[counted], morphs.second[counted])
    scores, genuine = contributor_scores(people, others), genuine_scores(_subset(people, ~half))
    rows = []
    for target in asked:
        threshold = threshold_at(worst_scores, len(worst_scores), target)
        got, suspected = mmpmr(scores, others, threshold), bscer(genuine, threshold)
        rows.append(AskedRow(kind, target, threshold, got, suspected))
    return rows


def _subset(people: People, chosen: NDArray[np.bool_]) -> People:
    names = tuple(name for name, there in zip(people.names, chosen.tolist(), strict=True) if there)
    return People(names, people.documents[chosen], people.live[chosen], people.attempts[chosen])


def _clustered(hits: NDArray[np.bool_], first: Ids, second: Ids | None) -> Interval | None:
    return rate_interval(hits, first, second, REPLICATES)
