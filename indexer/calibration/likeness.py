"""How much more than a cohort strangers of the enrolled people's own kind score: what the gallery itself tells of them.

Strangers mostly are of the kind of the people they meet: of one town, one profession, one source of photos; and faces
of one kind are more alike than faces of two. Everybody enrolled is a stranger to all the others, so what they reach
among each other shows by how much. Few people say little: what is known of galleries at large (KINDS, KINDS_DEVIATION)
then counts more, and the error that remains widens the interval of every rate.

All of it in normal scores of the cohort's best scores: there strangers of another kind are shifted and have nearly the
same spread (docs/results/decisions.md). A normal prior, with the limited translation of Efron & Morris 1972 (JASA 67):
what a gallery says of itself is never moved by more than its standard error, so that none is too odd to be believed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from indexer.records import FloatVector, Ids

KINDS = 0.1
"""Shift of strangers of a gallery's own kind against a cohort, over sources of photos, in normal scores: none where
they are the cohort's kind, 0.2 to 0.55 where they are another (half A of LFW and of the validation people)."""

KINDS_DEVIATION = 0.2
"""Its standard deviation over sources."""

SPREAD_DEVIATION = 0.05
"""Over sources, the standard deviation of the spread of strangers' normal scores about 1."""

_OUTLYING = 2.0  # normal scores from the median: whoever is further may be enrolled twice
_LEAST_SPREAD = 0.7  # of people's scores: eight of them may agree by chance
_SHARED = 1.3  # everybody meets the same people, so that means vary by so much more than those of independent searches
_STEEP = (0.5, 0.99)  # quantiles whose distance says how far a score beyond all others lies
_NO_RATE = 1e-9  # what stands for none

_NORMAL = NormalDist()  # scipy's takes a second to import

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Likeness:
    """Normal scores by which strangers of the enrolled people's kind exceed a cohort, and the standard error of it."""

    shift: float = KINDS
    error: float = KINDS_DEVIATION


def likeness(scores: Reals, persons: Ids) -> Likeness:
    """Return how alike the enrolled are.

    `scores` [m] are normal scores of what enrolled templates reach among all the others, `persons` [m] whose they are;
    a person counts once, whatever the number of templates. The shift is not below 0: the cohort's people are strangers,
    too.
    """
    if not len(scores):
        return Likeness()
    _, person = np.unique(persons, return_inverse=True)
    middle = float(np.median(scores))
    means = np.bincount(person, np.clip(scores, middle - _OUTLYING, middle + _OUTLYING)) / np.bincount(person)
    spread = float(means.std(ddof=1)) if len(means) > 1 else 0.0
    error = _SHARED * max(_LEAST_SPREAD, spread) / float(np.sqrt(len(means)))
    trust = KINDS_DEVIATION**2 / (KINDS_DEVIATION**2 + error**2)
    found = float(means.mean())
    shift = float(np.clip(KINDS + trust * (found - KINDS), found - error, found + error))
    return Likeness(max(0.0, shift), float(np.sqrt(trust)) * error)


def normal_scores(values: Reals, cohort: FloatVector) -> Reals:
    """Return each value's [m] normal score among a cohort's best scores [n], linear beyond the outermost of them."""
    known = np.sort(cohort).astype(np.float64)
    within = _normal(np.interp(values, known, _shares(len(known))))
    return within + _beyond(values, known) / _steepness(known)


def of_their_kind(cohort: FloatVector, shift: float) -> FloatVector:
    """Return a cohort's best scores [n], ascending, as strangers reach them whose normal scores are `shift` higher."""
    known = np.sort(cohort).astype(np.float64)
    places = _normal(_shares(len(known)))
    moved = np.interp(places + shift, places, known) + _beyond(places + shift, places) * _steepness(known)
    return np.asarray(moved, np.float32)


def with_their_error(rates: tuple[float, float], asked: float, likeness: Likeness) -> tuple[float, float]:
    """Return the interval of a rate, `rates` as counted, that also counts how surely the strangers' kind is known.

    The distances from the rate asked, in normal scores, are added as independent errors are.
    """
    middle = _NORMAL.inv_cdf(asked)
    error = 1.96 * float(np.hypot(likeness.error, SPREAD_DEVIATION * middle))
    low, high = (float(np.hypot(_NORMAL.inv_cdf(max(rate, _NO_RATE)) - middle, error)) for rate in rates)
    return _NORMAL.cdf(middle - low), _NORMAL.cdf(middle + high)


def _shares(count: int) -> Reals:
    """Return the share of a sample that lies below each of its values in ascending order, itself by half."""
    return (np.arange(count) + 0.5) / count


def _normal(shares: Iterable[float]) -> Reals:
    """Return the score below which a normal variable lies with each probability."""
    return np.array([_NORMAL.inv_cdf(share) for share in shares])


def _steepness(known: Reals) -> float:
    """Return how much of a score one normal score is in the upper half, and is taken to be beyond the ends."""
    low, high = np.quantile(known, _STEEP)
    return max(float(high - low), 1e-6) / (_NORMAL.inv_cdf(_STEEP[1]) - _NORMAL.inv_cdf(_STEEP[0]))


def _beyond(values: Reals, known: Reals) -> Reals:
    """Return how far each value lies above the highest, or below the lowest (then negative); 0 between them."""
    return np.asarray(np.maximum(values - known[-1], 0) + np.minimum(values - known[0], 0))
