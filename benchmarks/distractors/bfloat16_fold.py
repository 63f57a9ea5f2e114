"""The fast way through the distractors: a bfloat16 matrix product chooses which scores are computed canonically.

It finds what the exact pass finds, to the last count, but for the ROC's fixed thresholds, which would need every score.

Proof. Let x, y be a probe and a distractor, x', y' their values rounded to bfloat16, p the product that comes out. Then

* |<x, y> - <x', y'>| <= |x - x'| |y| + |x'| |y - y'|, by Cauchy-Schwarz, with residual norms measured for every vector;
* products of bfloat16 are exact in float32, and summing D of them in float32 in any order errs by at most
  gamma_D |x'| |y'| (Higham 2002, eq. 3.5), taken twice for units that round more than once;
* the sum is rounded to bfloat16 once, to the nearest: |sum - p| <= 2^-8 |p|, half a unit in the last of its 8 bits;
* the canonical score is <x, y> rounded to float32: 2^-24 of it.

The sum of the four bounds the distance of p from the canonical score. A score whose whole interval lies between two
neighbouring mates of its probe, below the probe's best and below the highest that are kept, is only counted; every
other one is computed canonically. The first block of each worker is held against float64, in case a processor's
bfloat16 product keeps to other rules than these.
"""

import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.distractors.distractor_kernels import (
    CHUNK,
    MateScores,
    PassCounts,
    exactly,
    first_at_least,
    interesting,
    settled,
    sum_error,
    take,
)
from benchmarks.distractors.distractor_pass import DistractorError, Fold, drop_lowest
from indexer.compiled import compiled
from indexer.records import FloatMatrix, FloatVector, Ids
from indexer.search.scores import NORM_TOLERANCE

if TYPE_CHECKING:
    from torch import Tensor

# Every bfloat16 by its 16 bits, which are the upper half of a float32's.
VALUES = (np.arange(65536, dtype=np.uint32) << 16).view(np.float32)
_POSITIVE = VALUES[:0x7F80]  # rising, up to the largest finite one
_ROUNDING = 2.0**-8  # of p to the sum it was rounded from, as a share of |p|
_CANONICAL = 2.0**-23


def bfloat16_fold(probes: FloatMatrix, mated: MateScores, kept: int) -> Fold:
    """Make the fold for probes float32 [P, D]; `kept` as in distractor_pass.

    Raises DistractorError at the first block if this processor's product of bfloat16 is less exact than the proof says.
    """
    import torch

    rounded = torch.from_numpy(probes).to(torch.bfloat16)
    residuals = _residuals(torch.from_numpy(probes), rounded)
    unit_roundoffs = probes.shape[1] * 2.0**-24
    longest = 1 + NORM_TOLERANCE
    summing = 2 * unit_roundoffs / (1 - unit_roundoffs) * (longest + 2.0**-8) ** 2 + _CANONICAL
    error = sum_error(probes.shape[1])
    seen = threading.local()

    def fold(vectors: FloatMatrix, numbers: Ids, tally: PassCounts) -> None:
        block = torch.from_numpy(vectors).to(torch.bfloat16)
        near = torch.mm(rounded, block.T)
        theirs = float(_residuals(torch.from_numpy(vectors), block).max())
        slack = residuals * longest + (longest + residuals) * theirs + summing
        if not hasattr(seen, "checked"):
            seen.checked = True
            _check(near.float().numpy(), probes, vectors, slack)
        bits = near.view(torch.int16).numpy()
        done = 0
        while (done := _fold(bits, probes, vectors, numbers, mated, tally, slack, error, done)) < len(probes):
            drop_lowest(tally, kept)

    return fold


def _residuals(vectors: "Tensor", rounded: "Tensor") -> NDArray[np.float64]:
    """Norms of what rounding took away, [n], a hair too long: float32 differences are exact, their squares are not."""
    norms = (vectors - rounded).norm(dim=1)
    residuals: NDArray[np.float64] = norms.numpy().astype(np.float64) * (1 + 1e-4)
    return residuals


def _check(near: FloatMatrix, probes: FloatMatrix, vectors: FloatMatrix, slack: NDArray[np.float64]) -> None:
    exact = probes.astype(np.float64) @ vectors.astype(np.float64).T
    if (np.abs(near - exact) > slack[:, None] + np.abs(near) * _ROUNDING).any():
        raise DistractorError("this processor's bfloat16 product errs by more than is proved; use the exact pass")


@exactly
def _cut(bound: float) -> int:
    """Return the smallest bits, as int16, of which a product may belong to a score of `bound` or more."""
    if not bound > 0.0:
        return -32768
    return int(np.searchsorted(_POSITIVE, np.float32(bound / (1.0 + 2.0**-8) * (1.0 - 1e-6))))


@compiled(nogil=True, fastmath={"reassoc", "contract"})
def _product(x: FloatVector, y: FloatVector) -> float:
    """Float64 sum of products in the order that is fastest: `settled` asks for no particular one."""
    total = 0.0
    for i in range(len(x)):
        total += np.float64(x[i]) * np.float64(y[i])
    return total


@exactly
def _fold(
    near: NDArray[np.int16],
    probes: FloatMatrix,
    vectors: FloatMatrix,
    distractors: Ids,
    mated: MateScores,
    tally: PassCounts,
    slack: NDArray[np.float64],
    error: float,
    start: int,
) -> int:
    """Count a block whose products' bits are `near` int16 [P, B], from probe `start` on, as fold_scores does."""
    size, counted, mates = near.shape[1], tally.above, mated.scores
    found, whose = np.empty(size, np.float32), np.empty(size, np.int64)
    for probe in range(start, len(near)):
        if tally.filled[0] + size > len(tally.top_scores):
            return probe
        row, x = near[probe], probes[probe]
        cut = np.int16(_cut(interesting(tally, mated, probe) - slack[probe]))
        first, last = mated.offsets[probe], mated.offsets[probe + 1]
        ceiling = min(tally.best[probe], tally.floor[0])
        some = 0
        for chunk in range(0, size, CHUNK):
            if chunk + CHUNK <= size:
                candidates = np.int16(0)
                for j in range(chunk, chunk + CHUNK):
                    candidates += np.int16(row[j] >= cut)
                if candidates == 0:
                    continue
            for j in range(chunk, min(chunk + CHUNK, size)):
                if row[j] < cut:
                    continue
                value = np.float64(VALUES[np.uint16(row[j])])
                doubt = slack[probe] + abs(value) * _ROUNDING
                high = value + doubt
                above = first_at_least(mates, first, last, value - doubt)
                if (above == last or mates[above] > high) and high < ceiling:
                    if above > first:
                        counted[above - 1] += 1
                else:
                    found[some] = settled(_product(x, vectors[j]), error, x, vectors[j])
                    whose[some] = distractors[j]
                    some += 1
        if some:
            take(tally, mated, probe, whose[:some], found[:some])
    return len(near)
