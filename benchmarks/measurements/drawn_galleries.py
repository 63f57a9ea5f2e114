"""Galleries drawn from embeddings, and what strangers and enrolled people score in them, by fusion.

Pure matrix products on cached unit vectors: a cell of a table takes a second where the product itself would take
minutes. `tests/benchmarks/measurements/test_drawn_galleries.py` holds it against the gallery's own searches.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceid.feature_set import FeatureSet
from indexer.records import FloatMatrix

Reals = NDArray[np.float64]
Rows = NDArray[np.int64]

PROBES_EACH = 5
"""Photos of a person searched for at most, so that nobody is most of a rate."""

_QUERIES = 512


@dataclass(frozen=True, eq=False)
class Pool:
    """Labelled photos of one source: unit vectors [n, D], the rows of each person, and weights [n] if known.

    `refused` bool [n] are photos that enrolment refuses, where that is known: nobody's templates, but searched.
    """

    name: str
    vectors: FloatMatrix
    people: tuple[Rows, ...]
    weights: Reals | None = None
    refused: NDArray[np.bool_] | None = None

    def templates(self, one: int) -> Rows:
        """Return the rows of a person that can be enrolled."""
        rows = self.people[one]
        return rows if self.refused is None else rows[~self.refused[rows]]


@dataclass(frozen=True, eq=False)
class DrawnGallery:
    """A gallery: enrolled rows with a start for each of N people; mated probes and whose they are; strangers' rows.

    `stranger_of` [S] numbers the stranger on each row of `strangers`.
    """

    pool: Pool
    enrolled: Rows
    starts: Rows
    probes: Rows
    probe_of: Rows
    strangers: Rows
    stranger_of: Rows


def make_pool(
    name: str,
    features: FeatureSet,
    keep: Callable[[str], bool],
    weights: Reals | None = None,
    refused: Collection[str] = (),
) -> Pool:
    """Return the people whose label `keep` accepts; each person's photos in the order of the file.

    `refused` are paths of photos that enrolment refuses.
    """
    labels = features.labels
    chosen = np.array([keep(label) for label in labels.tolist()])
    rows = np.flatnonzero(chosen)
    order = rows[np.argsort(labels[rows], kind="stable")]
    changes = np.flatnonzero(labels[order][1:] != labels[order][:-1]) + 1
    poor = np.isin(features.paths, list(refused)) if refused else None
    return Pool(name, np.asarray(features.features), tuple(np.split(order, changes)), weights, poor)


def draw(pool: Pool, people: int, templates: int | None, random: np.random.Generator) -> DrawnGallery | None:
    """Enrol `people` of the pool with so many templates each; None where the pool has too few.

    With `templates` None everybody is enrolled with half of the photos, the odd one included, at most 20. Everybody
    else is a stranger, with PROBES_EACH photos at most; so are the probes of the enrolled.
    """
    order = random.permutation(len(pool.people))
    fit = [one for one in order if len(pool.templates(one)) >= (templates or 1)]
    if len(fit) < people:
        return None
    chosen = [random.permutation(pool.templates(one)) for one in fit[:people]]
    counts = [min(20, (len(rows) + 1) // 2) if templates is None else templates for rows in chosen]
    probes = [rows[count : count + PROBES_EACH] for rows, count in zip(chosen, counts, strict=True)]
    # Who came to be enrolled and was refused is no stranger either: else strangers would be what enrolment refuses.
    came = order[: int(np.flatnonzero(order == fit[people - 1])[0])]
    taken = {*fit[:people], *(one for one in came.tolist() if not len(pool.templates(one)))}
    others = [random.permutation(pool.people[one])[:PROBES_EACH] for one in order if one not in taken]
    if not others:
        return None
    return DrawnGallery(
        pool,
        np.concatenate([rows[:count] for rows, count in zip(chosen, counts, strict=True)]),
        np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64),
        np.concatenate(probes),
        np.repeat(np.arange(people), [len(rows) for rows in probes]),
        np.concatenate(others),
        np.repeat(np.arange(len(others)), [len(rows) for rows in others]),
    )


def strangers_of(pool: Pool) -> tuple[FloatMatrix, Rows]:
    """Return PROBES_EACH photos at most of everybody of a pool, and who each shows: searches from another source."""
    rows = [photos[:PROBES_EACH] for photos in pool.people]
    return pool.vectors[np.concatenate(rows)], np.repeat(np.arange(len(rows)), [len(one) for one in rows])


def score(drawn: DrawnGallery, queries: FloatMatrix, fusion: str) -> FloatMatrix:
    """Return the similarity of queries [Q, D] to each of the N people by the fusion: float32 [Q, N]."""
    templates = drawn.pool.vectors[drawn.enrolled]
    count = np.diff(np.append(drawn.starts, len(templates)))
    if fusion in _DIRECTIONS:
        weights = np.ones(len(templates))
        if fusion == "weighted mean":
            if drawn.pool.weights is None:
                raise ValueError("nothing is known of the photos' quality")
            weights = drawn.pool.weights[drawn.enrolled]
        sums = np.add.reduceat(templates * weights[:, None], drawn.starts, axis=0)
        means = sums / np.add.reduceat(weights, drawn.starts)[:, None]
        length = np.linalg.norm(means, axis=1, keepdims=True)
        directed: FloatMatrix = queries @ (means / length ** _DIRECTIONS[fusion]).astype(np.float32).T
        return directed
    place = np.where(np.arange(count.max()) < count[:, None], drawn.starts[:, None] + np.arange(count.max()), -1)
    scores = np.empty((len(queries), len(count)), np.float32)
    for start in range(0, len(queries), _QUERIES):
        block = queries[start : start + _QUERIES] @ templates.T
        scores[start : start + len(block)] = _OF_TEMPLATES[fusion](block, place, drawn.starts)
    return scores


def best_scores(drawn: DrawnGallery, queries: FloatMatrix, fusion: str) -> FloatMatrix:
    """Return each query's best score [Q]."""
    best: FloatMatrix = score(drawn, queries, fusion).max(axis=1)
    return best


def _max(block: FloatMatrix, place: Rows, starts: Rows) -> FloatMatrix:
    best: FloatMatrix = np.maximum.reduceat(block, starts, axis=1)
    return best


def _mean_of_two(block: FloatMatrix, place: Rows, starts: Rows) -> FloatMatrix:
    best = np.maximum.reduceat(block, starts, axis=1)
    if place.shape[1] == 1:
        return best
    padded = np.concatenate([block, np.full((len(block), 1), -2, np.float32)], axis=1)[:, place]
    second = np.partition(padded, -2, axis=2)[:, :, -2]
    return np.where(second > -2, (best + second) / 2, best)


# How far the length of a person's mean is divided out: a mean is the shorter, the more the photos differ.
_DIRECTIONS: Mapping[str, float] = {"mean": 1.0, "weighted mean": 1.0, "spread": 0.5, "mean of scores": 0.0}
_OF_TEMPLATES: Mapping[str, Callable[[FloatMatrix, Rows, Rows], FloatMatrix]] = {
    "max": _max,
    "best two": _mean_of_two,
}
FUSIONS: Sequence[str] = ("max", "mean", "weighted mean", "best two", "spread", "mean of scores")


def clustered(events: NDArray[np.bool_], persons: Rows) -> tuple[float, tuple[float, float], float]:
    """Return the share of events [n], its 95 % interval with persons as clusters, and the effective number of trials.

    Wilson's interval of as many independent trials as have the variance of the ratio estimate over persons (Kish 1965).
    """
    hits = np.bincount(persons, events)
    trials = np.bincount(persons)
    hits, trials = hits[trials > 0], trials[trials > 0]
    share, people = hits.sum() / trials.sum(), len(trials)
    variance = np.square(hits - share * trials).sum() * people / max(people - 1, 1) / trials.sum() ** 2
    effective = share * (1 - share) / variance if variance > 0 else float(people)
    effective = float(min(trials.sum(), max(1.0, effective)))
    return float(share), _wilson(float(share), effective), effective


def _wilson(share: float, trials: float) -> tuple[float, float]:
    z2 = 1.959964**2
    centre = (share * trials + z2 / 2) / (trials + z2)
    half = np.sqrt(z2 * (share * (1 - share) * trials + z2 / 4)) / (trials + z2)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
