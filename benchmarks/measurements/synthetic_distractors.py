"""More distractors than there are: synthetic features mixed from real ones, to be searched like real ones.

A Gaussian, a mixture of Gaussians or a bootstrap with noise matches the bulk of the scores and misses the upper tail,
which alone counts: faces come in kinds, and the look-alikes of a probe are alike among each other. So a synthetic
distractor is mixed from a real one and near neighbours of it (as SMOTE does in two: Chawla et al. 2002): the parts of
the sphere where faces crowd stay crowded, and the spread of each probe's scores stays within 3 % of the real one.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import t

from benchmarks.metrics.extrapolation import (
    FPIRS,
    GROUPS,
    MIN_DISTRACTORS,
    ExtrapolationError,
    MatedSearches,
    mated_pairs,
    person_groups,
    question_names,
)
from benchmarks.results.results import Prediction
from faceid.feature_set import FeatureSet
from indexer.decision.decision import threshold_at
from indexer.records import FloatMatrix, FloatVector

PARENTS = 3
"""Faces that are mixed: two repeat themselves too soon, four fill the gaps between kinds (development set)."""

NEAR = 0.02
"""Share of the real distractors that counts as near (development set: the best of 0.01 .. 0.2, and 1 for anybody)."""
FEWEST_NEAR, MOST_NEAR = 5, 200

HALVES = 8
"""Random halves of the persons from which the spread of a prediction is measured."""

_BLOCK_ROWS = 8192
_BLOCK_SCORES = 2**23


def synthesize(
    probes: FeatureSet,
    distractors: FeatureSet,
    sizes: Sequence[int],
    fpirs: Sequence[float] = FPIRS,
    thresholds: Sequence[float] = (),
    seed: int = 0,
) -> tuple[Prediction, ...]:
    """Foretell what `extrapolation.extrapolate` does, by a search among the real and synthetic ones up to each size.

    The interval (95 %) is of HALVES runs, each from a random half of the distractors' and of the probes' people, about
    the prediction: the spread over halves estimates the standard error of the whole (Shao & Tu 1995, 5.2). `sizes`
    ascend. Raises ExtrapolationError as `extrapolate` does.
    """
    mated = mated_pairs(probes.features, probes.labels)
    groups, probe_groups = (
        person_groups(distractors.labels, "distractors"),
        person_groups(probes.labels, "probes"),
    )
    if len(distractors) < MIN_DISTRACTORS or min(sizes) < len(distractors):
        raise ExtrapolationError(
            f"{len(distractors):,} distractors cannot stand for {min(sizes):,}: give at least {MIN_DISTRACTORS}, "
            "and ask for more than there are"
        )
    everybody = np.ones(len(probes), bool)
    values = _run(probes.features, mated, everybody, distractors.features, sizes, fpirs, thresholds, seed)
    random = np.random.default_rng(seed)
    halves = []
    for _ in range(HALVES):
        some, kept = (random.permutation(GROUPS)[: GROUPS // 2] for _ in range(2))
        half = distractors.features[np.isin(groups, some)]
        halves.append(_run(probes.features, mated, np.isin(probe_groups, kept), half, sizes, fpirs, thresholds, seed))
    width = t.ppf(0.975, HALVES) * np.sqrt(np.mean(np.square(np.stack(halves) - values), axis=0))
    return tuple(
        Prediction(
            quantity=name,
            distractors=size,
            value=_rate(name, value),
            ci95=(_rate(name, value - half_width), _rate(name, value + half_width)),
            method="synthetic",
            fitted_on=len(distractors),
            measured=None,
        )
        for (name, size), value, half_width in zip(question_names(sizes, fpirs, thresholds), values, width, strict=True)
    )


def draw_distractors(real: FloatMatrix, count: int, seed: int = 0) -> Iterator[FloatMatrix]:
    """Yield blocks [b, D] of in all `count` synthetic unit features made from real ones [n, D].

    m + (x - m) + (x' - m) + (x'' - m), brought to unit length: x any of the real ones, x' and x'' of its NEAR nearest,
    m the mean of all; the sum is divided by the square root of PARENTS, so that the spread about the mean stays.
    """
    random = np.random.default_rng(seed)
    near = _nearest(real, min(max(FEWEST_NEAR, round(NEAR * len(real))), MOST_NEAR, len(real) - 1))
    mean = real.mean(axis=0, dtype=np.float64)
    for start in range(0, count, _BLOCK_ROWS):
        size = min(_BLOCK_ROWS, count - start)
        first = random.integers(len(real), size=size)
        others = near[first[:, None], random.integers(near.shape[1], size=(size, PARENTS - 1))]
        parents = real[np.column_stack([first, others])].sum(axis=1, dtype=np.float64) - PARENTS * mean
        mixed = mean + parents / np.sqrt(PARENTS)
        yield (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


def best_scores(
    probes: FloatMatrix, blocks: Iterator[FloatMatrix], sizes: Sequence[int], best: FloatVector
) -> list[FloatVector]:
    """Return each probe's best score [P] among the first so many distractors, for each size in ascending order.

    `best` [P] are the scores to beat. The blocks hold as many as the last size.
    """
    found, seen, wanted = [], 0, list(sizes)
    for block in blocks:
        while wanted and wanted[0] <= seen + len(block):
            end = wanted.pop(0) - seen
            best = _better(probes, block[:end], best)
            found.append(best)
        best = _better(probes, block, best)
        seen += len(block)
    return found + [best for _ in wanted]


def read_off(
    best: FloatVector,
    mated: MatedSearches,
    kept: NDArray[np.bool_],
    fpirs: Sequence[float],
    thresholds: Sequence[float],
) -> list[float]:
    """Return rank-1, the threshold of each FPIR and the FPIR at each threshold, of some probes [P] with best scores."""
    searches = kept[mated.rows]
    largest = np.sort(best[kept])[::-1]
    rank1 = float((mated.scores[searches] > best[mated.rows[searches]]).mean())
    asked = [threshold_at(largest, len(largest), fpir) for fpir in fpirs]
    return [rank1, *asked, *(float((largest >= np.float32(threshold)).mean()) for threshold in thresholds)]


def _run(
    probes: FloatMatrix,
    mated: MatedSearches,
    kept: NDArray[np.bool_],
    real: FloatMatrix,
    sizes: Sequence[int],
    fpirs: Sequence[float],
    thresholds: Sequence[float],
    seed: int,
) -> NDArray[np.float64]:
    """Search the kept probes among the real and the synthetic distractors, and read off; rates as log odds."""
    searched = probes[kept]
    best = _better(searched, real, np.full(len(searched), -1, np.float32))
    more = [size - len(real) for size in sizes]
    values = []
    for reached in best_scores(searched, draw_distractors(real, max(more), seed), more, best):
        everybody = np.ones(len(probes), np.float32)
        everybody[kept] = reached
        rank1, *rest = read_off(everybody, mated, kept, fpirs, thresholds)
        values += [_odds(rank1, len(searched)), *rest[: len(fpirs)]]
        values += [_odds(rate, len(searched)) for rate in rest[len(fpirs) :]]
    return np.array(values)


def _nearest(real: FloatMatrix, count: int) -> NDArray[np.int64]:
    """Return the `count` nearest others [n, count] of each row, in no order."""
    found = np.empty((len(real), count), np.int64)
    step = max(1, _BLOCK_SCORES // len(real))
    for start in range(0, len(real), step):
        scores = real[start : start + step] @ real.T
        rows = np.arange(len(scores))
        scores[rows, start + rows] = -np.inf
        found[start : start + step] = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    return found


def _better(probes: FloatMatrix, block: FloatMatrix, best: FloatVector) -> FloatVector:
    step = max(1, _BLOCK_SCORES // len(probes))
    for start in range(0, len(block), step):
        best = np.maximum(best, (probes @ block[start : start + step].T).max(axis=1))
    return best


def _odds(rate: float, trials: int) -> float:
    """Log odds; a rate of none or all as half an event."""
    return float(logit(np.clip(rate, 0.5 / trials, 1 - 0.5 / trials)))


def _rate(name: str, value: float) -> float:
    return float(value) if name.startswith("threshold") else float(expit(value))
