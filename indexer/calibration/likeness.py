"""How much more than a cohort strangers of the enrolled people's own kind score: what the gallery itself tells of them.

Strangers mostly are of the kind of the people they meet: of one town, one profession, one source of photos; and faces
of one kind are more alike than faces of two. Everybody enrolled is a stranger to all the others, so what they reach
among each other shows by how much. Few people say little: what is known of galleries at large then counts more, and the
error that remains widens the interval of every rate.

All of it in normal scores of the cohort's best scores: there strangers of another kind are shifted and have nearly the
same spread (docs/results/decisions.md). Beyond the cohort's highest score the law is that of maxima, exponential in the
similarity (Gumbel 1958, Statistics of Extremes); a normal law there makes strangers of an odd kind alarm twice as often
as it says. The prior has two parts, because sources of photos are of two sorts: most are near the cohort (KINDS,
KINDS_DEVIATION), and some are odd, as grey or blurred photos and children are to a network that saw few of them
(ODD_SOURCES, ODD_DEVIATION). What a gallery says then decides to which of them it belongs.
"""

import math
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

ODD_SOURCES = 1 / 3
"""The share of sources that are odd: one of the three that chose this (half A of LFW and of the validation people, a
thousand photos of FairFace that are reported nowhere)."""

ODD_DEVIATION = 1.5
"""The standard deviation of their shift: that one's is 1.5."""

SPREAD_DEVIATION = 0.05
"""Over sources, the standard deviation of the spread of strangers' normal scores about 1; the more a source is shifted,
the less is known of it, in proportion to 1 + shift, and what its people show counts the more."""

_OUTLYING = 2.0  # normal scores from the median: whoever is further may be enrolled twice
_CLIPPED = 0.96  # what is left of a normal variable's spread, clipped there
_LEAST_SPREAD = 0.7  # of people's scores: eight of them may agree by chance
_SHARED = 1.5  # everybody meets the same people, so that means vary by so much more than those of independent searches
_TAIL = 0.05  # share of a cohort's scores by which what is beyond all of them is judged
_RAREST = 1e-300  # share of strangers: a score beyond it is as good as one there
_NO_RATE = 1e-9  # what stands for none

_NORMAL = NormalDist()  # scipy's takes a second to import

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Likeness:
    """Where strangers of the enrolled people lie in a cohort's normal scores: `shift` and `spread`, with errors."""

    shift: float = KINDS
    error: float = float(np.sqrt((1 - ODD_SOURCES) * KINDS_DEVIATION**2 + ODD_SOURCES * ODD_DEVIATION**2))
    spread: float = 1.0
    spread_error: float = SPREAD_DEVIATION * (1 + KINDS)


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
    within = np.clip(scores, middle - _OUTLYING, middle + _OUTLYING)
    means = np.bincount(person, within) / np.bincount(person)
    people = len(means)
    between = float(means.std(ddof=1)) if people > 1 else 0.0
    shift, error = _shift(float(means.mean()), _SHARED * max(_LEAST_SPREAD, between) / math.sqrt(people))
    squares = np.bincount(person, (within - means.mean()) ** 2) / np.bincount(person)
    found = math.sqrt(float(squares.sum()) / max(1, people - 1)) / _CLIPPED
    return Likeness(shift, error, *_spread(found, _SHARED / math.sqrt(2 * people), shift))


def _shift(found: float, error: float) -> tuple[float, float]:
    """Return what a shift that was found with a standard error says, beside what is known of sources of both sorts."""
    deviations = np.array([KINDS_DEVIATION, ODD_DEVIATION])
    total = deviations**2 + error**2
    weights = np.array([1 - ODD_SOURCES, ODD_SOURCES]) / np.sqrt(total) * np.exp(-((found - KINDS) ** 2) / (2 * total))
    weights = weights / weights.sum() if weights.sum() > 0 else np.array([0.0, 1.0])
    trust = deviations**2 / total
    means = KINDS + trust * (found - KINDS)
    shift = float(weights @ means)
    variance = float(weights @ (trust * error**2 + (means - shift) ** 2))
    return max(0.0, shift), math.sqrt(variance)


def _spread(found: float, error: float, shift: float) -> tuple[float, float]:
    """Return what a spread that was found with a standard error says of a source that is shifted so far."""
    deviation = SPREAD_DEVIATION * (1 + shift)
    trust = deviation**2 / (deviation**2 + error**2)
    return 1 + trust * (found - 1), math.sqrt(trust) * error


def normal_scores(values: Reals, cohort: FloatVector) -> Reals:
    """Return each value's [m] normal score among a cohort's best scores [n]: by the tail's law above the highest.

    What is below the lowest counts as the lowest.
    """
    known = np.sort(cohort).astype(np.float64)
    result = _normal(np.interp(values, known, _shares(len(known))))
    above = np.flatnonzero(values > known[-1])
    start, scale, share = _tail(known)
    rarities = (values[above] - start) / scale - math.log(share)
    result[above] = [max(_normal_of_rarity(one), result[above].max()) for one in rarities]
    return result


def of_their_kind(cohort: FloatVector, likeness: Likeness) -> FloatVector:
    """Return a cohort's best scores [n], ascending, as strangers of this likeness reach them."""
    known = np.sort(cohort).astype(np.float64)
    places = _normal(_shares(len(known)))
    theirs = likeness.shift + likeness.spread * places
    moved = np.interp(theirs, places, known)
    above = np.flatnonzero(theirs > places[-1])
    start, scale, share = _tail(known)
    rarities = np.array([_rarity(one) for one in theirs[above]])
    moved[above] = np.maximum(start + scale * (rarities + math.log(share)), known[-1])
    return np.asarray(moved, np.float32)


def with_their_error(rates: tuple[float, float], asked: float, likeness: Likeness) -> tuple[float, float]:
    """Return the interval of a rate, `rates` as counted, that also counts how surely the strangers' kind is known.

    The distances from the rate asked, in normal scores, are added as independent errors are.
    """
    middle = _NORMAL.inv_cdf(asked)
    error = 1.96 * float(np.hypot(likeness.error, likeness.spread_error * middle))
    low, high = (float(np.hypot(_NORMAL.inv_cdf(max(rate, _NO_RATE)) - middle, error)) for rate in rates)
    return _NORMAL.cdf(middle - low), _NORMAL.cdf(middle + high)


def _shares(count: int) -> Reals:
    """Return the share of a sample that lies below each of its values in ascending order, itself by half."""
    return (np.arange(count) + 0.5) / count


def _normal(shares: Iterable[float]) -> Reals:
    """Return the score below which a normal variable lies with each probability."""
    return np.array([_NORMAL.inv_cdf(share) for share in shares])


def _tail(known: Reals) -> tuple[float, float, float]:
    """Return where the tail of scores in ascending order starts, its mean excess, and its share of them.

    Not the highest score is what the law leans on: it is one, and by chance.
    """
    count = max(1, round(_TAIL * len(known)))
    start = float(known[max(0, len(known) - count - 1)])
    return start, max(float(known[-count:].mean()) - start, 1e-6), count / len(known)


def _rarity(score: float) -> float:
    """Return minus the logarithm of the share of a normal variable above a score."""
    return -math.log(max(math.erfc(score / math.sqrt(2)) / 2, _RAREST))


def _normal_of_rarity(rarity: float) -> float:
    return -_NORMAL.inv_cdf(max(math.exp(-rarity), _RAREST))
