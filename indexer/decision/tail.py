"""The upper tail of non-mated scores as a law, so that rates beyond what was counted can be foretold, with intervals.

Scores above a high start follow a generalized Pareto law (Balkema & de Haan 1974; Pickands 1975). Cosines are bounded,
so its shape is below zero as a rule: tails end. The law is fitted by L-moments, which for the few hundred scores that
there are is more precise than maximum likelihood and always has a solution (Hosking & Wallis 1987, Technometrics 29).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.errors import CalibrationError

MIN_EXCEEDANCES = 30
"""Scores that a fit needs: below it the shape's standard deviation, about (1 - shape) / sqrt(k), is near 0.2."""

REPLICATES = 200
"""Bootstrap replicates of an interval: the 2.5 % points then rest on five of them."""

SHARE = 0.1
"""Share of a sample that counts as its tail where the caller does not say: large enough for a shape, and for the
best scores of searches already far beyond the bulk of single pairs."""

_NO_SHAPE = 1e-9  # nearer to zero the law is exponential to all digits

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class UpperTail:
    """P(S >= t) = share * (1 + shape * (t - start) / scale) ** (-1 / shape) for t >= start.

    `share` in 0..1 is the part of all trials at or above `start`; `scale` > 0 in units of score; with `shape` < 0 no
    score is above start - scale / shape, with 0 the law is exponential.
    """

    start: float
    shape: float
    scale: float
    share: float


def fit_tail(scores: NDArray[np.floating], trials: int, exceedances: int | None = None) -> UpperTail:
    """Fit the law to the `exceedances` largest of `trials` scores, a SHARE of them where it is None.

    `scores` [m] holds at least the exceedances + 1 largest, in any order; the next one below is where the tail starts.
    With l1, l2 the first two L-moments of what is above it: shape = 2 - l1 / l2, scale = l1 (1 - shape).
    Raises CalibrationError for fewer than MIN_EXCEEDANCES, for scores that end too early, and for copies of one or two.
    """
    count = round(SHARE * trials) if exceedances is None else exceedances
    if count < MIN_EXCEEDANCES:
        raise CalibrationError(
            f"a tail of {count} scores says too little about what lies beyond them: it needs {MIN_EXCEEDANCES}"
        )
    if count >= len(scores) or count > trials:
        raise CalibrationError(f"a tail of {count} scores needs one more below it, here are {len(scores)} of {trials}")
    largest = np.sort(np.partition(scores, len(scores) - count - 1)[len(scores) - count - 1 :]).astype(np.float64)
    above = largest[largest > largest[0]]  # copies may tie with the start, and of a few no sample can be drawn
    if len(above) < MIN_EXCEEDANCES // 2 or above[0] == above[-1]:
        raise CalibrationError("the largest scores are all the same, or nearly all: no tail can be fitted to them")
    return _fit(largest[1:] - largest[0], float(largest[0]), count / trials)


def tail_probability(tail: UpperTail, thresholds: NDArray[np.floating] | float) -> Reals:
    """P(S >= t) for each threshold [...], 0..share; below the start, where the law says nothing, `share`."""
    excess = np.maximum(np.asarray(thresholds, np.float64) - tail.start, 0) / tail.scale
    if abs(tail.shape) < _NO_SHAPE:
        return np.asarray(tail.share * np.exp(-excess))
    with np.errstate(divide="ignore"):  # beyond the end of the tail: log(0), probability 0
        return np.asarray(tail.share * np.exp(-np.log(np.maximum(1 + tail.shape * excess, 0)) / tail.shape))


def tail_quantile(tail: UpperTail, probability: float) -> float:
    """Return the score that is reached with this probability; raises CalibrationError unless 0 < it <= share."""
    if not 0 < probability <= tail.share:
        raise CalibrationError(f"the tail holds probabilities in (0, {tail.share:g}], not {probability:g}")
    times = np.log(probability / tail.share)
    if abs(tail.shape) < _NO_SHAPE:
        return float(tail.start - tail.scale * times)
    return float(tail.start + tail.scale * np.expm1(-tail.shape * times) / tail.shape)


def maximum_probability(tail: UpperTail, thresholds: NDArray[np.floating] | float, count: int) -> Reals:
    """P(the largest of `count` independent scores >= t) = 1 - (1 - p)^count, p as in `tail_probability`."""
    return any_of(tail_probability(tail, thresholds), count)


def maximum_threshold(tail: UpperTail, probability: float, count: int) -> float:
    """Return the threshold that the largest of `count` independent scores reaches with this probability.

    For the scores of one probe against `count` other people that is the threshold of this FPIR. Raises CalibrationError
    where it lies below the start of the tail.
    """
    return tail_quantile(tail, float(any_of(np.float64(probability), 1 / count)))


def any_of(probability: Reals | np.float64, count: float) -> Reals:
    """1 - (1 - p)^count: at least one of `count` independent events, without losing small probabilities."""
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(count * np.log1p(-np.asarray(probability, np.float64))))


def resample_tail(
    scores: NDArray[np.floating], tail: UpperTail, groups: NDArray[np.int64] | None = None, seed: int = 0
) -> list[UpperTail]:
    """Return REPLICATES tails fitted to bootstrap samples of the scores at or above the tail's start.

    `groups` [m] names the person behind each score [m]: persons are drawn, not scores, where one stands behind several
    (None: each score for itself). Each is drawn Poisson(1) times, which is the bootstrap of a sample that is known in
    its tail only.
    """
    above = np.asarray(scores) > tail.start
    excess = np.asarray(scores, np.float64)[above] - tail.start
    order = np.argsort(excess, kind="stable")
    excess = excess[order]
    _, owner = np.unique(np.arange(len(excess)) if groups is None else groups[above][order], return_inverse=True)
    random = np.random.default_rng(seed)
    replicates: list[UpperTail] = []
    while len(replicates) < REPLICATES:
        times = random.poisson(1, owner.max() + 1)[owner]
        drawn = np.repeat(excess, times)
        if len(drawn) >= MIN_EXCEEDANCES // 2 and drawn[-1] > drawn[0]:
            replicates.append(_fit(drawn, tail.start, min(1.0, tail.share * len(drawn) / len(excess))))
    return replicates


def tail_interval(
    replicates: Sequence[UpperTail], quantity: Callable[[UpperTail], float], confidence: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of a quantity over bootstrap replicates (Efron 1979): (low, high)."""
    return percentile_interval((quantity(tail) for tail in replicates), confidence)


def percentile_interval(values: Iterable[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the values' percentiles that leave half of 1 - confidence on either side."""
    low, high = np.quantile(np.fromiter(values, np.float64), (0.5 - confidence / 2, 0.5 + confidence / 2))
    return float(low), float(high)


def _fit(excess: Reals, start: float, share: float) -> UpperTail:
    """Fit to excesses [k] in ascending order: unbiased sample L-moments l1 = b0, l2 = 2 b1 - b0 (Hosking 1990)."""
    mean = float(excess.mean())
    half_gap = float(2 * (excess * np.arange(len(excess))).mean() / (len(excess) - 1) - mean)
    if not half_gap > 0:
        raise CalibrationError("the largest scores are all the same: no tail can be fitted to them")
    shape = 2 - mean / half_gap
    return UpperTail(start, shape, mean * (1 - shape), share)
