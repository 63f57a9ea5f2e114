"""LFW view 2: verification accuracy on 6,000 pairs in 10 folds, the threshold of each fold chosen on the other nine."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.errors import FaceIdError


class ProtocolError(FaceIdError):
    """A protocol's list is not what it should be."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of photos: `first` and `second` as NAME/NAME_0001, `same` bool [n], `fold` int [n] from 0."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]


@dataclass(frozen=True)
class TenFold:
    """Accuracy per fold (0..1), their mean and its standard error (sample standard deviation / sqrt(folds))."""

    folds: tuple[float, ...]
    thresholds: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """The mean over the folds, 0..1."""
        return float(np.mean(self.folds))

    @property
    def standard_error(self) -> float:
        """The standard error of the mean over the folds."""
        return float(np.std(self.folds, ddof=1) / np.sqrt(len(self.folds)))


def read_pairs(path: Path) -> Pairs:
    """Read LFW's pairs.txt: a line `folds pairs`, then per fold `pairs` mated lines and as many non-mated ones.

    A mated line is `name i j`, a non-mated one `name1 i name2 j`. Raises ProtocolError naming the line that is neither.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    folds, pairs = (int(number) for number in lines[0].split())
    if len(lines) - 1 != folds * pairs * 2:
        raise ProtocolError(f"{path}: {len(lines) - 1} pairs where {folds} folds of 2 x {pairs} are announced")
    first, second, same = [], [], []
    for number, line in enumerate(lines[1:], start=2):
        match line.split("\t"):
            case [name, i, j]:
                ends = (name, i), (name, j)
            case [name, i, other, j]:
                ends = (name, i), (other, j)
            case _:
                raise ProtocolError(f"{path}, line {number}: not a pair: {line!r}")
        first.append(_photo(*ends[0]))
        second.append(_photo(*ends[1]))
        same.append(ends[0][0] == ends[1][0])
    fold = np.repeat(np.arange(folds), pairs * 2)
    return Pairs(tuple(first), tuple(second), np.array(same), fold)


def ten_fold_accuracy(scores: NDArray[np.float64], same: NDArray[np.bool_], fold: NDArray[np.int64]) -> TenFold:
    """Return the accuracy of accepting at score >= threshold, per fold.

    `scores` [n] in [-1, 1]; a pair without a score (a photo without a face) is -inf and counts as not accepted. The
    threshold is the one that is right most often on the other folds, in the middle of the best gap between scores; of
    several equally good ones the mean, as SphereFace's evaluation does (wy1iu/sphereface).
    """
    accuracies, thresholds = [], []
    for held_out in np.unique(fold):
        test = fold == held_out
        threshold = best_threshold(scores[~test], same[~test])
        accuracies.append(float(np.mean((scores[test] >= threshold) == same[test])))
        thresholds.append(threshold)
    return TenFold(tuple(accuracies), tuple(thresholds))


def best_threshold(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """Return the threshold of the highest accuracy at score >= threshold; the mean of them where several tie."""
    finite = np.unique(scores[np.isfinite(scores)])
    if not len(finite):
        return 0.0
    # Between any two neighbouring scores all thresholds are equally good: their middle stands for them.
    candidates = np.concatenate([[finite[0] - 1e-6], (finite[:-1] + finite[1:]) / 2, [finite[-1] + 1e-6]])
    mated, other = np.sort(scores[same]), np.sort(scores[~same])
    right = len(mated) - np.searchsorted(mated, candidates) + np.searchsorted(other, candidates)
    return float(candidates[right == right.max()].mean())


def _photo(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}"
