"""One pass of all probes over all distractors in blocks: ranks, best and highest scores, counts; no score matrix.

Every figure is as if each score were canonical (indexer.search.scores.canonical_scores), whatever the blocks,
threads or library. Memory is O(mated pairs + kept scores + probes x block).
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexer.errors import FaceIdError
from indexer.records import FloatMatrix, FloatVector, Ids
from indexer.search.scores import canonical_scores, check_vectors

if TYPE_CHECKING:
    from benchmarks.distractors.distractor_kernels import MateScores, PassCounts

BLOCK = 1024  # distractors at a time
_RESCORE_VALUES = 1 << 22  # float64 values held at once while scoring mated pairs

Fold = Callable[[FloatMatrix, Ids, "PassCounts"], None]
"""Counts a block of distractors, vectors float32 [B, D] and numbers int64 [B], into a tally."""


class DistractorError(FaceIdError):
    """A pass that cannot be made: sizes, order or vectors do not fit."""


@dataclass(frozen=True, eq=False)
class MatedPairs:
    """All ordered pairs of two photos of one identity, sum n_i (n_i - 1), by probe and there by rising score.

    Those of probe p are `offsets[p]:offsets[p + 1]`, offsets int64 [P + 1]; `probe` and `mate` int64 [Q] are rows of
    the probes, `scores` float32 [Q] canonical.
    """

    offsets: Ids
    probe: Ids
    mate: Ids
    scores: FloatVector


@dataclass(frozen=True, eq=False)
class Prefix:
    """What the first `distractors` of an order did to the probes.

    `above`, `ties` int64 [Q]: of each mated pair, the distractors strictly above it and equal to it, as the probe sees
    them. `best` float32 [P] and `best_at` int64 [P]: each probe's highest score (-inf and -1: none) and the distractor,
    the lowest number of equals. The highest scores of all probes, largest first, then by probe and distractor:
    `top_scores` float32 [K], `top_probes` int32 [K], `top_at` int64 [K]. `accepted` int64 [65536]: scores at or above
    -1 + k / 32768 (None: not counted). `trials`: probes x distractors; a masked distractor's scores are -inf, and in
    none of the above.
    """

    distractors: int
    above: Ids
    ties: Ids
    best: FloatVector
    best_at: Ids
    top_scores: FloatVector
    top_probes: NDArray[np.int32]
    top_at: Ids
    accepted: Ids | None
    trials: int


def mated_pairs(features: FloatMatrix, identities: Ids) -> MatedPairs:
    """Return the mated pairs of probes: features float32 [P, D], identities int64 [P]."""
    order = np.argsort(identities, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(identities[order])) + 1) if len(order) else []
    mates: list[Ids] = [np.empty(0, np.int64)] * len(identities)
    scores: list[FloatVector] = [np.empty(0, np.float32)] * len(identities)
    for group in groups:
        step = max(1, _RESCORE_VALUES // (len(group) * features.shape[1]))
        vectors = features[group]
        for start in range(0, len(group), step):
            block = canonical_scores(vectors[start : start + step, None], vectors[None])
            for probe, row in zip(group[start : start + step].tolist(), block, strict=True):
                others = group != probe
                rising = np.lexsort((group[others], row[others]))
                mates[probe], scores[probe] = group[others][rising], row[others][rising]
    lengths = np.array([len(one) for one in mates], np.int64)
    return MatedPairs(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.repeat(np.arange(len(identities), dtype=np.int64), lengths),
        np.concatenate(mates) if mates else np.empty(0, np.int64),
        np.concatenate(scores) if scores else np.empty(0, np.float32),
    )


def distractor_pass(
    probes: FloatMatrix,
    pairs: MatedPairs,
    distractors: FloatMatrix,
    sizes: Sequence[int],
    kept: int,
    order: Ids | None = None,
    masked: NDArray[np.bool_] | None = None,
    fold: Callable[[FloatMatrix, "MateScores", int], Fold] | None = None,
    block: int = BLOCK,
    threads: int | None = None,
) -> tuple[Prefix, ...]:
    """Search all probes among the first N distractors, for each N of `sizes`, in one pass.

    `probes` float32 [P, D], `distractors` float32 [M, D], unit rows (may be memory-mapped). `order` int64
    [>= max(sizes)] says which distractors come first (None: as they lie); each prefix holds the ones before it. `kept`:
    how many of the highest scores to keep at each N. `masked` bool [M]: distractors that count in N and never
    score. `fold` makes the function that scores a block: exact_fold (None), or
    benchmarks.distractors.bfloat16_fold, which finds the same and counts nothing at the fixed thresholds. Raises
    DistractorError for sizes that the distractors cannot fill,
    VectorError for vectors that are not of unit length.
    """
    from benchmarks.distractors.distractor_kernels import MateScores

    available = len(distractors) if order is None else len(order)
    sizes = sorted(set(sizes))
    if not sizes or sizes[0] < 1 or sizes[-1] > available:
        raise DistractorError(
            f"{available:,} distractors cannot make galleries of {', '.join(map(str, sizes)) or 'no size'}"
        )
    check_vectors(probes, probes.shape[1])
    threads = threads or max(1, min(len(os.sched_getaffinity(0)), 64))
    mated = MateScores(pairs.offsets, pairs.scores)
    score = (fold or exact_fold)(np.ascontiguousarray(probes), mated, kept)
    room = 2 * kept + len(probes) + 16 * block
    tallies = [_empty_tally(len(probes), len(pairs.scores), room) for _ in range(threads)]
    prefixes = []
    with _one_thread_each() as alone, ThreadPoolExecutor(threads, initializer=alone) as pool:
        for first, size in itertools.pairwise([0, *sizes]):
            blocks = iter(list(_blocks(order, masked, first, size, block)))
            futures = [pool.submit(_work, blocks, distractors, score, tally, tallies, kept) for tally in tallies]
            for future in futures:
                future.result()
            prefixes.append(_prefix(tallies, pairs, size, kept, counted=fold is None or bool(_counts(tallies).any())))
    return tuple(prefixes)


def exact_fold(probes: FloatMatrix, mated: "MateScores", kept: int) -> Fold:
    """Score by a float64 matrix product, and every score against the ROC's fixed thresholds too."""
    import torch

    from benchmarks.distractors.distractor_kernels import fold_scores, sum_error

    wide = torch.from_numpy(probes.astype(np.float64))
    error = sum_error(probes.shape[1])

    def fold(vectors: FloatMatrix, numbers: Ids, tally: "PassCounts") -> None:
        near = torch.mm(wide, torch.from_numpy(vectors.astype(np.float64)).T).numpy()
        done = 0
        while (done := fold_scores(near, probes, vectors, numbers, mated, tally, error, done)) < len(probes):
            drop_lowest(tally, kept)

    return fold


def drop_lowest(tally: "PassCounts", kept: int) -> None:
    """Keep the `kept` highest scores of a tally, and raise its floor to the last of them."""
    filled = int(tally.filled[0])
    if filled < kept:
        return
    scores, probes, at = tally.top_scores[:filled], tally.top_probes[:filled], tally.top_at[:filled]
    cut = np.partition(scores, filled - kept)[filled - kept]
    equal = np.flatnonzero(scores == cut)
    equal = equal[np.lexsort((at[equal], probes[equal]))]
    chosen = np.concatenate([np.flatnonzero(scores > cut), equal])[:kept]
    if cut >= tally.floor[0]:  # all workers together may be further
        last = chosen[-1]  # an equal one: fewer than `kept` are above the cut
        tally.floor[0], tally.floor_at[:] = cut, (probes[last], at[last])
    _fill(tally, scores[chosen], probes[chosen], at[chosen])


def _fill(tally: "PassCounts", scores: FloatVector, probes: NDArray[np.int32], at: Ids) -> None:
    filled = len(scores)
    tally.top_scores[:filled], tally.top_probes[:filled], tally.top_at[:filled] = scores, probes, at
    tally.filled[0] = filled


def _empty_tally(probes: int, pairs: int, room: int) -> "PassCounts":
    from benchmarks.distractors.distractor_kernels import THRESHOLDS, PassCounts

    return PassCounts(
        above=np.zeros(pairs, np.int64),
        ties=np.zeros(pairs, np.int64),
        best=np.full(probes, -np.inf, np.float32),
        best_at=np.full(probes, -1, np.int64),
        counts=np.zeros(THRESHOLDS + 1, np.int64),
        top_scores=np.empty(room, np.float32),
        top_probes=np.empty(room, np.int32),
        top_at=np.empty(room, np.int64),
        filled=np.zeros(1, np.int64),
        floor=np.full(1, -np.inf, np.float32),
        floor_at=np.full(2, -1, np.int64),
        taken=np.zeros(THRESHOLDS + 1, np.int64),
    )


def _blocks(
    order: Ids | None, masked: NDArray[np.bool_] | None, first: int, end: int, block: int
) -> Iterator[slice | Ids]:
    """Yield the distractors at first..end of the order without masked ones; within a prefix as they lie on the disk."""
    numbers = np.arange(first, end) if order is None else np.sort(order[first:end])
    if masked is not None:
        numbers = numbers[~masked[numbers]]
    for start in range(0, len(numbers), block):
        one = numbers[start : start + block]
        together = one[-1] - one[0] == len(one) - 1
        yield slice(int(one[0]), int(one[-1]) + 1) if together else one


def _work(
    blocks: Iterator[slice | Ids],
    distractors: FloatMatrix,
    fold: Fold,
    tally: "PassCounts",
    tallies: Sequence["PassCounts"],
    kept: int,
) -> None:
    """Take blocks until there are none left (`next` of a list's iterator is one step: no two workers get the same)."""
    for rows in blocks:
        vectors = np.array(distractors[rows], np.float32, order="C")
        check_vectors(vectors, distractors.shape[1])
        numbers = np.arange(rows.start, rows.stop, dtype=np.int64) if isinstance(rows, slice) else rows
        _raise_floor(tally, tallies, kept)
        fold(vectors, numbers, tally)


def _raise_floor(tally: "PassCounts", tallies: Sequence["PassCounts"], kept: int) -> None:
    """Raise a worker's floor to the highest fixed threshold at or above which all workers together found `kept` scores.

    The others may be counting meanwhile: what is read of them is at most too low, and so is the floor.
    """
    reached = np.cumsum(np.sum([one.taken for one in tallies], axis=0)[::-1])[::-1]
    index = int(np.searchsorted(-reached, -kept, side="right")) - 1
    if index < 1:  # below all thresholds, or not yet so many
        return
    below = np.nextafter(np.float32(index - 1) / np.float32(32768) - np.float32(1), np.float32(-2))
    if below > tally.floor[0]:
        tally.floor[0], tally.floor_at[:] = below, -1


def _prefix(tallies: Sequence["PassCounts"], pairs: MatedPairs, size: int, kept: int, *, counted: bool) -> Prefix:
    """Put the workers' findings together; their highest scores become one worker's, so that all know the floor.

    `counted`: scores were held against the fixed thresholds, too.
    """
    probes = len(tallies[0].best)
    above = np.sum([tally.above for tally in tallies], axis=0)
    best, best_at = tallies[0].best.copy(), tallies[0].best_at.copy()
    for tally in tallies[1:]:
        better = (tally.best > best) | ((tally.best == best) & (tally.best_at < best_at))
        best[better], best_at[better] = tally.best[better], tally.best_at[better]
    used = [slice(0, int(tally.filled[0])) for tally in tallies]
    scores = np.concatenate([tally.top_scores[one] for tally, one in zip(tallies, used, strict=True)])
    top_probes = np.concatenate([tally.top_probes[one] for tally, one in zip(tallies, used, strict=True)])
    at = np.concatenate([tally.top_at[one] for tally, one in zip(tallies, used, strict=True)])
    chosen = best_first(scores, top_probes, at)[:kept]
    scores, top_probes, at = scores[chosen], top_probes[chosen], at[chosen]
    for tally in tallies:
        tally.best[:], tally.best_at[:] = best, best_at
        tally.filled[0] = 0
        if len(scores) == kept:
            tally.floor[0], tally.floor_at[:] = scores[-1], (top_probes[-1], at[-1])
    _fill(tallies[0], scores, top_probes, at)
    counts = _counts(tallies)
    return Prefix(
        size,
        _above_each(above, pairs.offsets),
        np.sum([tally.ties for tally in tallies], axis=0),
        best,
        best_at,
        scores,
        top_probes,
        at,
        np.cumsum(counts[::-1])[::-1][1:] if counted else None,
        probes * size,
    )


def _counts(tallies: Sequence["PassCounts"]) -> Ids:
    counts: Ids = np.sum([tally.counts for tally in tallies], axis=0)
    return counts


def best_first(scores: FloatVector, probes: NDArray[np.int32], at: Ids) -> Ids:
    """Return the order by falling score, then probe, then distractor: one sort of integers, equal ones put right."""
    bits = scores.view(np.int32)
    falling = ~np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int64)  # floats order as their bits do
    keys = (falling << 32) + probes
    order: Ids = np.argsort(keys)
    keys = keys[order]
    equal = np.flatnonzero(keys[1:] == keys[:-1])
    places = np.union1d(equal, equal + 1)  # runs of equal keys stay in their places, each ordered by the distractor
    order[places] = order[places][np.lexsort((at[order[places]], keys[places]))]
    return order


def _above_each(cells: Ids, offsets: Ids) -> Ids:
    """From distractors above just so many mates to those above each: sums from each pair to the last of its probe."""
    sums = np.concatenate([np.cumsum(cells[::-1])[::-1], [0]])
    above: Ids = sums[:-1] - np.repeat(sums[offsets[1:]], np.diff(offsets))
    return above


@contextlib.contextmanager
def _one_thread_each() -> Iterator[Callable[[], None]]:
    """Let each worker's matrix product run on the worker's own thread: two pools would fight over the processors."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield lambda: torch.set_num_threads(1)  # a new thread may start with the default again
    finally:
        torch.set_num_threads(before)
