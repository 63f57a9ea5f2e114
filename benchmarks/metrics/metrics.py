"""The figures of biometric tests as pure functions over arrays of scores: CMC, ROC, TAR, DET, EER, FNIR, FPIR, DIR.

Scores are float32, higher is more similar, and accepted at >= threshold; -inf is a trial that has no score (a photo
without a face) and is never accepted. A mated search is given as the rank (from 1) and the score of its mate, a
non-mated one as its best score.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.rates import rate, require_support
from benchmarks.results.results import Rate
from indexer.decision.decision import threshold_at
from indexer.records import FloatVector

Ints = NDArray[np.int64]
Points = NDArray[np.float64]

Rule = Literal["conservative", "nearest", "interp"]
"""How a threshold follows from a target rate.

conservative: indexer.decision.decision.threshold_at, never above the target. Compatibility modes: nearest takes the
point of
the ROC whose FAR lies nearest to the target, above it or below (insightface's IJB script); interp reads TAR off the
line between the two points beside the target (opensphere).
"""

POINTS_A_DECADE = 100
"""Points of a thinned curve in each decade of errors, beyond the first hundred errors, which are all kept."""


@dataclass(frozen=True)
class OperatingPoint:
    """What is found at the threshold for a target FAR or FPIR.

    `value` is the rate in question (TAR, FNIR or DIR), `achieved` the FAR or FPIR that the threshold really has. By the
    rule interp, `value.rate` lies between two points of the curve, its hits are the nearest whole number, and the
    threshold is read off between the same two points.
    """

    target: float
    threshold: float
    achieved: Rate
    value: Rate


@dataclass(frozen=True)
class EqualErrorRate:
    """The rate, 0..1, at which FAR and FNMR cross, and both as counted at `threshold`, where they lie nearest."""

    rate: float
    threshold: float
    far: Rate
    fnmr: Rate


@dataclass(frozen=True, eq=False)
class Roc:
    """Exact points of a ROC by falling threshold: thresholds float32 [P], accepts int64 [P] of all trials."""

    thresholds: FloatVector
    false_accepts: Ints
    true_accepts: Ints
    non_mated: int
    mated: int

    @property
    def far(self) -> Points:
        """False accept rate at each threshold, float64 [P]."""
        return self.false_accepts / self.non_mated

    @property
    def tar(self) -> Points:
        """True accept rate at each threshold, float64 [P]."""
        return self.true_accepts / self.mated

    @property
    def fnmr(self) -> Points:
        """False non-match rate at each threshold, 1 - TAR without its rounding, float64 [P]."""
        return (self.mated - self.true_accepts) / self.mated


def cmc(ranks: Ints, max_rank: int) -> Points:
    """Cumulative match characteristic: the share of mated searches whose mate is at rank r or better, r = 1..max_rank.

    `ranks` int64 [n] counts from 1 (ISO/IEC 19795-1). Returns float64 [max_rank].
    """
    counts = np.bincount(np.minimum(ranks, max_rank + 1), minlength=max_rank + 2)
    shares: Points = np.cumsum(counts[1 : max_rank + 1]) / len(ranks)
    return shares


def rank_rate(ranks: Ints, rank: int = 1) -> Rate:
    """Share of mated searches whose mate is at this rank or better: one point of the CMC, with its counts."""
    return rate(int((ranks <= rank).sum()), len(ranks))


def roc(mated: FloatVector, non_mated: FloatVector, trials: int | None = None) -> Roc:
    """Receiver operating characteristic as exact points, thinned so that it can be drawn on log axes.

    Every point is a threshold with its true counts; none is interpolated. Kept are the thresholds for 0, 1, 2 ... 100
    false accepts and then for POINTS_A_DECADE a decade, spaced evenly in the logarithm, and the same of false rejects,
    so both ends are whole on log axes. `non_mated` may be only the upper tail of `trials` scores: the curve then ends
    where the tail does.
    """
    genuine, others = np.sort(_checked(mated)), np.sort(_checked(non_mated))
    trials = _trials(others, trials)
    by_accepts = np.nextafter(others[::-1][_counts_to_keep(len(others))], np.float32(np.inf))
    by_rejects = genuine[_counts_to_keep(len(genuine))]
    thresholds = np.unique(np.concatenate([by_accepts, by_rejects, others[:1]]))[::-1]
    # Below a tail nothing is known, and at its lowest score not all; no score is accepted at -inf.
    known = thresholds > others[0] if len(others) < trials else np.isfinite(thresholds)
    thresholds = thresholds[known]
    return Roc(thresholds, _accepted(others, thresholds), _accepted(genuine, thresholds), trials, len(genuine))


def det(mated: FloatVector, non_mated: FloatVector, trials: int | None = None) -> tuple[Points, Points]:
    """Return the detection error trade-off: (FAR, FNMR), float64 [P] each, at the thresholds of `roc`."""
    curve = roc(mated, non_mated, trials)
    return curve.far, curve.fnmr


def tar_at_far(
    mated: FloatVector, non_mated: FloatVector, far: float, trials: int | None = None, rule: Rule = "conservative"
) -> OperatingPoint:
    """Return the true accept rate at a false accept rate: the share of mated pairs at or above the threshold for `far`.

    `non_mated` [m] are all scores of non-mated pairs, or the largest of `trials` (as many as the rule needs), in any
    order. Raises UnsupportedRate for fewer than 3 / far trials, CalibrationError where the tail is too short.
    """
    others = _checked(non_mated)
    trials = _trials(others, trials)
    require_support(far, trials, "non-mated pairs")
    if rule != "conservative":
        return _compatible(np.sort(_checked(mated)), np.sort(others), far, trials, rule)
    threshold = threshold_at(_largest(others, far, trials), trials, far)
    return _point(far, threshold, others, trials, (_checked(mated) >= threshold))


def eer(mated: FloatVector, non_mated: FloatVector) -> EqualErrorRate:
    """Equal error rate: where FAR and FNMR cross, linear between the two neighbouring points of the full ROC.

    All scores are candidates for the threshold, as are scores above all of them (FAR 0, FNMR 1).
    """
    genuine, others = np.sort(_checked(mated)), np.sort(_checked(non_mated))
    scores = np.unique(np.concatenate([genuine, others]))
    scores = scores[np.isfinite(scores)]
    top = np.nextafter(scores[-1], np.float32(np.inf)) if len(scores) else np.float32(0)
    thresholds = np.append(scores, top)[::-1]
    far, fnmr = _accepted(others, thresholds) / len(others), 1 - _accepted(genuine, thresholds) / len(genuine)
    gap = far - fnmr  # rises from -1 as the threshold falls
    after = int(np.searchsorted(gap, 0.0))
    if after == len(gap):  # they never cross: too many mated pairs have no score
        crossing = float(fnmr[-1])
    else:
        share = -gap[after - 1] / (gap[after] - gap[after - 1])
        crossing = float(far[after - 1] + share * (far[after] - far[after - 1]))
    nearest = int(np.argmin(np.abs(gap)))
    threshold = thresholds[nearest]
    return EqualErrorRate(
        crossing,
        float(threshold),
        rate(int((others >= threshold).sum()), len(others)),
        rate(int((genuine < threshold).sum()), len(genuine)),
    )


def fpir(best_non_mated: FloatVector, threshold: float) -> Rate:
    """FPIR(N, T): share of non-mated searches that return a candidate at or above T (ISO/IEC 19795-1, NIST FRTE).

    `best_non_mated` [n] is the best score of each non-mated search of a gallery of N identities.
    """
    return rate(int((_checked(best_non_mated) >= threshold).sum()), len(best_non_mated))


def fnir(mate_ranks: Ints, mate_scores: FloatVector, threshold: float, max_rank: int = 1) -> Rate:
    """FNIR(N, R, T): share of mated searches whose mate is below rank R or scores under T (ISO/IEC 19795-1, NIST FRTE).

    `mate_ranks` [n] from 1, `mate_scores` [n]; 1 - FNIR is TPIR.
    """
    missed = (mate_ranks > max_rank) | (_checked(mate_scores) < threshold)
    return rate(int(missed.sum()), len(missed))


def fnir_at_fpir(
    mate_ranks: Ints, mate_scores: FloatVector, best_non_mated: FloatVector, target: float, max_rank: int = 1
) -> OperatingPoint:
    """FNIR(N, R, T) at the threshold for FPIR(N, T) = `target`, from the best scores of all non-mated searches.

    Raises UnsupportedRate for fewer than 3 / target non-mated searches.
    """
    require_support(target, len(best_non_mated), "non-mated searches")
    others = _checked(best_non_mated)
    threshold = threshold_at(_largest(others, target, len(others)), len(others), target)
    missed = (mate_ranks > max_rank) | (_checked(mate_scores) < threshold)
    return _point(target, threshold, others, len(others), missed)


def dir_at_far(
    mate_ranks: Ints, mate_scores: FloatVector, best_non_mated: FloatVector, far: float, max_rank: int = 1
) -> OperatingPoint:
    """Return the detection and identification rate at a false alarm rate: 1 - FNIR(N, R, T) at FPIR(N, T) = far.

    BLUFR's DIR@FAR: FAR there is a share of impostor probes, what ISO calls FPIR. Raises as fnir_at_fpir.
    """
    point = fnir_at_fpir(mate_ranks, mate_scores, best_non_mated, far, max_rank)
    found = rate(point.value.trials - point.value.hits, point.value.trials)
    return OperatingPoint(point.target, point.threshold, point.achieved, found)


def _checked(scores: FloatVector) -> FloatVector:
    """Scores are float32, as thresholds are: a float64 score beside its own rounding would miss its threshold."""
    if scores.dtype != np.float32 or scores.ndim != 1 or not len(scores):
        raise ValueError(f"scores must be float32 [n], n >= 1, not {scores.dtype} {list(scores.shape)}")
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    return scores


def _trials(non_mated: FloatVector, trials: int | None) -> int:
    if trials is not None and trials < len(non_mated):
        raise ValueError(f"{len(non_mated)} scores of {trials} trials")
    return len(non_mated) if trials is None else trials


def _largest(scores: FloatVector, target: float, trials: int) -> FloatVector:
    """Return the scores that threshold_at needs, largest first."""
    keep = min(len(scores), math.floor(target * trials) + 2)
    return np.sort(np.partition(scores, len(scores) - keep)[-keep:])[::-1]


def _point(
    target: float, threshold: float, others: FloatVector, trials: int, hits: NDArray[np.bool_]
) -> OperatingPoint:
    alarms = int((others >= threshold).sum())
    return OperatingPoint(target, threshold, rate(alarms, trials), rate(int(hits.sum()), len(hits)))


def _accepted(rising: FloatVector, thresholds: FloatVector) -> Ints:
    """How many of the sorted scores are at or above each threshold; a finite threshold accepts no -inf."""
    counts: Ints = (len(rising) - np.searchsorted(rising, thresholds, side="left")).astype(np.int64)
    return counts


def _counts_to_keep(trials: int) -> Ints:
    """0..100 and then POINTS_A_DECADE a decade, below `trials`."""
    beyond = max(0, math.ceil(math.log10(max(trials, 1) / 100) * POINTS_A_DECADE))
    spaced = np.round(100 * 10 ** (np.arange(beyond + 1) / POINTS_A_DECADE)).astype(np.int64)
    counts = np.unique(np.concatenate([np.arange(101), spaced, [trials - 1]]))
    return counts[counts < trials]


def _compatible(
    genuine: FloatVector, others: FloatVector, far: float, trials: int, rule: Literal["nearest", "interp"]
) -> OperatingPoint:
    """Read the full ROC, both corners of each step, in one of the compatibility modes (both inputs rising)."""
    if len(others) < min(trials, math.ceil(far * trials) + 1):
        raise ValueError(f"{len(others)} of {trials} scores are too few to read off a rate of {far:g}")
    corners = np.unique(others[np.isfinite(others)])[::-1]
    thresholds = np.stack([np.nextafter(corners, np.float32(np.inf)), corners], axis=1).ravel()
    rates = _accepted(others, thresholds) / trials
    if rule == "nearest":
        # Of several points the one of the most accepts, as min() finds it on a curve turned round (insightface).
        threshold = float(thresholds[::-1][np.argmin(np.abs(rates[::-1] - far))])
        return _point(far, threshold, others, trials, genuine >= threshold)
    tar = float(np.interp(far, rates, _accepted(genuine, thresholds) / len(genuine)))
    threshold = float(np.interp(far, rates, thresholds.astype(np.float64)))
    counted = rate(round(tar * len(genuine)), len(genuine))
    value = Rate(counted.hits, counted.trials, tar, counted.ci95, None)
    return OperatingPoint(far, threshold, rate(int((others >= threshold).sum()), trials), value)
