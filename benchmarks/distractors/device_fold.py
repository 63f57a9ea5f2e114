"""The exact pass on a GPU: products and counts in float64 there, and the few scores that matter computed here.

As everywhere in the pass a score is settled canonically wherever its distance from what it is compared with is within
the error of the product, so the figures are those of the processor, to the last count.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.distractors.distractor_kernels import (
    THRESHOLDS,
    MateScores,
    PassCounts,
    Points,
    canonical_score,
    exactly,
    settled,
    sum_error,
    take,
    threshold_index,
)
from benchmarks.distractors.distractor_pass import DistractorError, Fold, Prefix, distractor_pass, drop_lowest
from indexer.records import FloatMatrix, Ids

BLOCK = 8192  # distractors at a time: 230 MB of scores on the device for MegaFace's probes


def device_pass(device: str = "cuda") -> Callable[..., tuple[Prefix, ...]]:
    """Return distractor_pass as a device runs it: one worker, large blocks.

    Raises DistractorError where torch finds no such device.
    """
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DistractorError(
            f"torch {torch.__version__} finds no CUDA device; use the exact or the fast pass, on the processor"
        )
    return partial(distractor_pass, fold=partial(device_fold, device=device), block=BLOCK, threads=1)


def device_fold(probes: FloatMatrix, mated: MateScores, kept: int, device: str) -> Fold:
    """Make the fold for probes float32 [P, D] on a torch device that has float64; `kept` as in distractor_pass."""
    import torch

    wide = torch.tensor(probes, device=device, dtype=torch.float64)
    error = sum_error(probes.shape[1])
    # A score rounds to a fixed threshold or above from half way between it and the float32 before it.
    fixed = (np.arange(THRESHOLDS) / 32768 - 1).astype(np.float32)
    middles = (np.nextafter(fixed, np.float32(-2)).astype(np.float64) + fixed) / 2
    edges = torch.from_numpy(middles).to(device)
    guarded = torch.from_numpy(np.concatenate([[-np.inf], middles, [np.inf]])).to(device)
    lowest = np.full(len(probes), np.inf)
    some = mated.offsets[1:] > mated.offsets[:-1]
    lowest[some] = mated.scores[mated.offsets[:-1][some]]

    def fold(vectors: FloatMatrix, numbers: Ids, tally: PassCounts) -> None:
        near = wide @ torch.from_numpy(vectors).to(device, torch.float64).T
        places = torch.bucketize(near, edges, right=True)
        tally.counts[:] += torch.bincount(places.ravel(), minlength=THRESHOLDS + 1).cpu().numpy()
        doubtful = (near - guarded[places] <= error) | (guarded[places + 1] - near <= error)
        rows, columns = (one.cpu().numpy() for one in doubtful.nonzero(as_tuple=True))
        _recount(places[doubtful].cpu().numpy(), rows, columns, probes, vectors, tally.counts)
        bounds = np.minimum(np.minimum(tally.best, tally.floor[0]), lowest) - 2e-7
        candidates = near >= torch.from_numpy(bounds).to(device)[:, None]
        rows, columns = (one.cpu().numpy() for one in candidates.nonzero(as_tuple=True))
        values = near[candidates].cpu().numpy()
        done = 0
        while (done := _take_some(values, rows, columns, probes, vectors, numbers, mated, tally, error, done)) < len(
            rows
        ):
            drop_lowest(tally, kept)

    return fold


@exactly
def _recount(
    places: NDArray[np.int64], rows: Ids, columns: Ids, probes: FloatMatrix, vectors: FloatMatrix, counts: Ids
) -> None:
    """Put scores [n] that were counted in doubt, at `places`, where their canonical scores belong."""
    for i in range(len(places)):
        counts[places[i]] -= 1
        counts[threshold_index(canonical_score(probes[rows[i]], vectors[columns[i]]))] += 1


@exactly
def _take_some(
    values: Points,
    rows: Ids,
    columns: Ids,
    probes: FloatMatrix,
    vectors: FloatMatrix,
    distractors: Ids,
    mated: MateScores,
    tally: PassCounts,
    error: float,
    start: int,
) -> int:
    """Take in candidates float64 [n] of probes `rows` (rising) and distractors `columns`, from `start` on.

    Returns the one before which the room for the highest scores ran short, n when all are done.
    """
    first = start
    while first < len(rows):
        end = first
        while end < len(rows) and rows[end] == rows[first]:
            end += 1
        if tally.filled[0] + end - first > len(tally.top_scores):
            return first
        found, whose = np.empty(end - first, np.float32), np.empty(end - first, np.int64)
        for i in range(first, end):
            found[i - first] = settled(values[i], error, probes[rows[i]], vectors[columns[i]])
            whose[i - first] = distractors[columns[i]]
        take(tally, mated, rows[first], whose, found)
        first = end
    return len(rows)
