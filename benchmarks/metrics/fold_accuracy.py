"""Verification accuracy over folds, the threshold of each chosen on the others, by the conventions in use.

The published figures of LFW and its like differ in how they choose the threshold, so each convention has its function
and its name: `exact` (every score is a candidate), `sphereface`, `insightface`, and `opensphere`, which is optimistic.
A pair without a score (a photo without a face) is -inf and counts as not accepted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.bootstrap import Ints, rate_interval
from benchmarks.metrics.rates import rate
from benchmarks.results.results import MeanAccuracy
from indexer.records import FloatMatrix

Scores = NDArray[np.floating]
Folds = NDArray[np.int64]
Same = NDArray[np.bool_]
Identities = tuple[Ints, Ints]

CLUSTERED = "accuracy: bootstrap over the identities of both sides, the folds' thresholds held"
"""How the clustered interval of the pairs decided rightly comes about, for the conventions of results."""

EXACT = "exact: the best threshold of all on the other folds, the middle one of several; accepts at >="
SPHEREFACE = (
    "SphereFace: mean feature of the other folds subtracted, 20,001 thresholds in [-1, 1], mean of the best ones;"
    " a score that equals the threshold is wrong"
)
INSIGHTFACE = "insightface: 400 thresholds of the squared distance, 0 to 4, the first of the best ones"
OPENSPHERE = "opensphere: one threshold, the best for all pairs, test pairs included: optimistic"

SPHEREFACE_STEPS = 10_000  # thresholds from -1 to 1 in steps of 1 / 10,000 (wy1iu/sphereface, evaluation.m)
INSIGHTFACE_DISTANCES = np.arange(0, 4, 0.01)  # insightface, verification.py


@dataclass(frozen=True, eq=False)
class FoldAccuracy:
    """Which pairs were decided rightly, bool [n], the `fold` int [n] of each, and the threshold used for each fold.

    `convention` says how the thresholds were chosen.
    """

    right: Same
    fold: Folds
    thresholds: tuple[float, ...]
    convention: str

    @property
    def folds(self) -> tuple[float, ...]:
        """The accuracy of each fold, 0..1."""
        return tuple(float(self.right[self.fold == one].mean()) for one in np.unique(self.fold))

    @property
    def accuracy(self) -> float:
        """The mean over the folds, 0..1."""
        return float(np.mean(self.folds))

    @property
    def standard_error(self) -> float:
        """The standard error of the mean over the folds: sample standard deviation / sqrt(folds)."""
        return float(np.std(self.folds, ddof=1) / np.sqrt(len(self.folds)))

    def record(self, identities: Identities | None) -> MeanAccuracy:
        """Return the same as a record of the results; `identities` of both sides, int64 [n] each, if they are known."""
        interval = None if identities is None else rate_interval(self.right, *identities)
        counted = rate(int(self.right.sum()), len(self.right), interval)
        return MeanAccuracy(self.accuracy, self.standard_error, self.folds, self.convention, counted)


def by_every_convention(
    first: FloatMatrix,
    second: FloatMatrix,
    scores: Scores,
    same: Same,
    fold: Folds,
    identities: Identities | None,
) -> tuple[MeanAccuracy, ...]:
    """Return the accuracy by each convention, `exact` first; arguments as of the functions below, and of `record`."""
    found = exact(scores, same, fold), sphereface(first, second, same, fold), insightface(scores, same, fold)
    return tuple(one.record(identities) for one in (*found, opensphere(scores, same, fold)))


def exact(scores: Scores, same: Same, fold: Folds) -> FoldAccuracy:
    """Return the accuracy at score >= threshold; `scores` [n], `same` bool [n], `fold` int [n].

    The threshold is the one that is right most often on the other folds, in the middle of the best gap between scores;
    of several equally good ones the middle one.
    """
    return _by_fold(scores, same, fold, best_threshold, lambda test, threshold: test >= threshold, EXACT)


def insightface(scores: Scores, same: Same, fold: Folds) -> FoldAccuracy:
    """Return the accuracy as insightface's verification.py: `scores` are cosines of unit vectors, |a - b|^2 = 2 - 2 s.

    The thresholds are reported as cosines.
    """

    def choose(train: Scores, train_same: Same) -> float:
        distances = 2 - 2 * train.astype(np.float64)
        right = _count_below(distances[train_same]) + np.sum(~train_same) - _count_below(distances[~train_same])
        return float(INSIGHTFACE_DISTANCES[np.argmax(right)])

    def accept(test: Scores, distance: float) -> Same:
        closer: Same = 2 - 2 * test.astype(np.float64) < distance
        return closer

    result = _by_fold(scores, same, fold, choose, accept, INSIGHTFACE)
    return replace(result, thresholds=tuple(1 - distance / 2 for distance in result.thresholds))


def sphereface(first: FloatMatrix, second: FloatMatrix, same: Same, fold: Folds) -> FoldAccuracy:
    """Return the accuracy as SphereFace's evaluation.m; `first` and `second` [n, D] are features, NaN where none is.

    Each fold is scored with the mean feature of the other folds subtracted. Theirs is the mean of raw features; where
    these are of unit length, so is what is averaged.
    """
    right, thresholds = np.zeros(len(same), np.bool_), []
    for held_out in np.unique(fold):
        test = fold == held_out
        mean = np.nanmean(np.concatenate([first[~test], second[~test]]), axis=0, dtype=np.float64)
        scores = np.nan_to_num(_cosines(first - mean, second - mean), nan=-np.inf)
        threshold = _sphereface_threshold(scores[~test], same[~test])
        right[test] = np.where(same[test], scores[test] > threshold, scores[test] < threshold)
        thresholds.append(threshold)
    return FoldAccuracy(right, fold, tuple(thresholds), SPHEREFACE)


def opensphere(scores: Scores, same: Same, fold: Folds) -> FoldAccuracy:
    """Return the accuracy at the one threshold that is best for all pairs: nothing is held out, so it flatters."""
    threshold = best_threshold(scores, same)
    return FoldAccuracy((scores >= threshold) == same, fold, (threshold,) * len(np.unique(fold)), OPENSPHERE)


def best_threshold(scores: Scores, same: Same) -> float:
    """Return the threshold of the highest accuracy at score >= threshold, the middle one where several tie.

    Not their mean: between two of the best it may be one of the worst.
    """
    finite = np.unique(scores[np.isfinite(scores)].astype(np.float64))
    if not len(finite):
        return 0.0
    # Between any two neighbouring scores all thresholds are equally good: their middle stands for them.
    candidates = np.concatenate([[finite[0] - 1e-6], (finite[:-1] + finite[1:]) / 2, [finite[-1] + 1e-6]])
    mated, other = np.sort(scores[same]), np.sort(scores[~same])
    right = len(mated) - np.searchsorted(mated, candidates) + np.searchsorted(other, candidates)
    best = candidates[right == right.max()]
    return float(best[len(best) // 2])


def _by_fold(
    scores: Scores,
    same: Same,
    fold: Folds,
    choose: Callable[[Scores, Same], float],
    accept: Callable[[Scores, float], Same],
    convention: str,
) -> FoldAccuracy:
    right, thresholds = np.zeros(len(same), np.bool_), []
    for held_out in np.unique(fold):
        test = fold == held_out
        threshold = choose(scores[~test], same[~test])
        right[test] = accept(scores[test], threshold) == same[test]
        thresholds.append(threshold)
    return FoldAccuracy(right, fold, tuple(thresholds), convention)


def _count_below(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many distances are below each of insightface's thresholds."""
    return np.searchsorted(np.sort(distances), INSIGHTFACE_DISTANCES, side="left")


def _cosines(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    with np.errstate(invalid="ignore"):  # a zero vector has no cosine: NaN
        cosines: NDArray[np.float64] = np.einsum("ij,ij->i", first, second) / lengths
    return cosines


def _sphereface_threshold(scores: Scores, same: Same) -> float:
    candidates = np.arange(-SPHEREFACE_STEPS, SPHEREFACE_STEPS + 1) / SPHEREFACE_STEPS
    mated, other = np.sort(scores[same]), np.sort(scores[~same])
    right = len(mated) - np.searchsorted(mated, candidates, side="right") + np.searchsorted(other, candidates)
    return float(candidates[right == right.max()].mean())
