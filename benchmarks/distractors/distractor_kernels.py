"""Compiled inner loops of the distractor pass: what becomes of each score once a matrix product has come near it.

A score arrives as `near`, a float64 sum of the products of two float32 vectors in some order. The canonical score is
the float64 sum in NumPy's order, rounded to float32. Both sums lie within sum_error(D) of each other, so where
`near - error` and `near + error` round to the same float32, that is the canonical score; elsewhere it is computed.
Thus nothing here depends on the order, the blocks or the library of the product.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.compiled import compiled
from indexer.records import FloatMatrix, FloatVector, Ids

THRESHOLDS = 65_536
"""Fixed thresholds of the ROC: -1 + k / 32768, k = 0 .. 65535; each is a float32."""

_PER_UNIT = 32_768.0  # thresholds in a similarity of 1
CHUNK = 64  # scores that are passed over together

Points = NDArray[np.float64]

exactly = compiled(nogil=True, error_model="numpy")
"""Compiled without the GIL, every operation as IEEE 754 and the source's order have it."""


class MateScores(NamedTuple):
    """The mated pairs, by probe: those of probe p are `offsets[p]:offsets[p + 1]`, by rising canonical score.

    `offsets` int64 [P + 1], `scores` float32 [Q].
    """

    offsets: Ids
    scores: FloatVector


class PassCounts(NamedTuple):
    """What one worker has found so far.

    `above` int64 [Q]: distractors strictly above this mated pair and no higher one of the same probe; `ties` int64 [Q]:
    distractors that equal it. `best` float32 [P] (-inf: none yet) and `best_at` int64 [P]: each probe's highest score
    and the distractor of it. `counts` int64 [THRESHOLDS + 1]: scores between the fixed thresholds, below the first one
    at index 0. The highest scores of all, in no order: `top_scores` float32 [C], `top_probes` int32 [C], `top_at` int64
    [C], of which `filled[0]` are in use; only what beats the floor (score, then the lower probe, then the lower
    distractor) is taken in. `taken` int64 [THRESHOLDS + 1] counts all that ever were, as `counts` does.
    """

    above: Ids
    ties: Ids
    best: FloatVector
    best_at: Ids
    counts: Ids
    top_scores: FloatVector
    top_probes: NDArray[np.int32]
    top_at: Ids
    filled: Ids
    floor: FloatVector
    floor_at: Ids
    taken: Ids


def sum_error(dimension: int) -> float:
    """How far two float64 sums of the same D exact products may lie apart, in whatever order each was added.

    Each is within gamma_D |x|.|y| of the truth (Higham 2002, eq. 3.5), |x|.|y| <= 1.01 by Cauchy-Schwarz and
    NORM_TOLERANCE. A product of two float32 is exact in float64; fused or not is the same.
    """
    nu = dimension * 2.0**-53
    return 2 * 1.01 * nu / (1 - nu)


@exactly
def _sum_of_products(x: FloatVector, y: FloatVector, start: int, n: int) -> float:
    """Add up to 128 products as numpy.add.reduce does: eight interleaved sums."""
    total = 0.0
    whole = n - n % 8
    if whole:
        r0 = r1 = r2 = r3 = r4 = r5 = r6 = r7 = 0.0
        for i in range(start, start + whole, 8):
            r0 += np.float64(x[i]) * np.float64(y[i])
            r1 += np.float64(x[i + 1]) * np.float64(y[i + 1])
            r2 += np.float64(x[i + 2]) * np.float64(y[i + 2])
            r3 += np.float64(x[i + 3]) * np.float64(y[i + 3])
            r4 += np.float64(x[i + 4]) * np.float64(y[i + 4])
            r5 += np.float64(x[i + 5]) * np.float64(y[i + 5])
            r6 += np.float64(x[i + 6]) * np.float64(y[i + 6])
            r7 += np.float64(x[i + 7]) * np.float64(y[i + 7])
        total = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7))
    for i in range(start + whole, start + n):
        total += np.float64(x[i]) * np.float64(y[i])
    return total


@exactly
def _pairwise_sum(x: FloatVector, y: FloatVector) -> float:
    """Add all products as numpy.add.reduce does, halves above 128 numbers (numba cannot cache a recursion)."""
    starts, sizes = np.zeros(64, np.int64), np.zeros(64, np.int64)  # what is left to add, and additions (size -1)
    sums = np.zeros(64, np.float64)
    left, have = 1, 0
    sizes[0] = len(x)
    while left:
        left -= 1
        start, n = starts[left], sizes[left]
        if n < 0:
            have -= 1
            sums[have - 1] += sums[have]
        elif n <= 128:
            sums[have] = _sum_of_products(x, y, start, n)
            have += 1
        else:
            half = n // 2
            half -= half % 8
            sizes[left] = -1
            starts[left + 1], sizes[left + 1] = start + half, n - half
            starts[left + 2], sizes[left + 2] = start, half
            left += 3
    return float(sums[0])


@exactly
def canonical_score(x: FloatVector, y: FloatVector) -> np.float32:
    """indexer.search.scores.canonical_scores of two vectors float32 [D], to the bit."""
    return np.float32(_pairwise_sum(x, y))


@exactly
def settled(near: float, error: float, x: FloatVector, y: FloatVector) -> np.float32:
    """Return the canonical score of x and y, float32 [D], of which `near` lies within `error` before its rounding."""
    score = np.float32(near - error)
    if score != np.float32(near + error):
        score = canonical_score(x, y)
    return score


@exactly
def threshold_index(score: np.float32) -> int:
    """How many of the fixed thresholds are at or below a canonical score: 0 .. THRESHOLDS."""
    position = (np.float64(score) + 1.0) * _PER_UNIT
    if position < 0.0:
        return 0
    if position >= THRESHOLDS - 1:
        return THRESHOLDS
    index = int(position)
    if np.float64(score) < index / _PER_UNIT - 1.0:  # a score just below 0 may have been rounded up to it
        index -= 1
    return index + 1


@exactly
def first_at_least(rising: FloatVector, first: int, last: int, value: float) -> int:
    """Return the first place in `first..last` whose score is `value` or more; `last` where there is none."""
    while first < last:
        middle = (first + last) // 2
        if rising[middle] < value:
            first = middle + 1
        else:
            last = middle
    return first


@exactly
def take(tally: PassCounts, mated: MateScores, probe: int, distractors: Ids, scores: FloatVector) -> None:
    """Let canonical scores of a probe, float32 [n], count for the ranks, its best and the highest of all.

    Not for the histogram. `distractors` int64 [n] says whose they are.
    """
    # All of a probe's at once: to take a tally apart costs more than to count a score.
    above, ties, mates = tally.above, tally.ties, mated.scores
    top_scores, top_probes, top_at, taken = tally.top_scores, tally.top_probes, tally.top_at, tally.taken
    low, high = mated.offsets[probe], mated.offsets[probe + 1]
    best, best_at, filled = tally.best[probe], tally.best_at[probe], tally.filled[0]
    floor, floor_probe, floor_at = tally.floor[0], tally.floor_at[0], tally.floor_at[1]
    for i in range(len(scores)):
        score, distractor = scores[i], distractors[i]
        if low < high and score >= mates[low]:
            first = first_at_least(mates, low, high, np.float64(score))
            if first > low:
                above[first - 1] += 1
            while first < high and mates[first] == score:
                ties[first] += 1
                first += 1
        if score > best or (score == best and distractor < best_at):
            best, best_at = score, distractor
        if score > floor or (
            score == floor and (probe < floor_probe or (probe == floor_probe and distractor < floor_at))
        ):
            top_scores[filled], top_probes[filled], top_at[filled] = score, probe, distractor
            taken[threshold_index(score)] += 1
            filled += 1
    tally.best[probe], tally.best_at[probe], tally.filled[0] = best, best_at, filled


@exactly
def interesting(tally: PassCounts, mated: MateScores, probe: int) -> float:
    """Below this no score of the probe can change the ranks, its best or the highest of all."""
    bound = min(np.float64(tally.best[probe]), np.float64(tally.floor[0]))
    low = mated.offsets[probe]
    if low < mated.offsets[probe + 1]:
        bound = min(bound, np.float64(mated.scores[low]))
    return bound


@exactly
def fold_scores(
    near: Points,
    probes: FloatMatrix,
    vectors: FloatMatrix,
    distractors: Ids,
    mated: MateScores,
    tally: PassCounts,
    error: float,
    start: int,
) -> int:
    """Count a block of scores: near float64 [P, B] of probes float32 [P, D] and distractors' vectors float32 [B, D].

    `distractors` int64 [B] numbers the block's. Goes on from probe `start`; returns the probe before which the room for
    the highest scores ran short, P when all are done.
    """
    size, counts = near.shape[1], tally.counts
    places, found, whose = np.empty(size, np.int32), np.empty(size, np.float32), np.empty(size, np.int64)
    for probe in range(start, len(near)):
        if tally.filled[0] + len(distractors) > len(tally.top_scores):
            return probe
        row, x = near[probe], probes[probe]
        count_between_thresholds(row, x, vectors, counts, places, error)
        bound = interesting(tally, mated, probe) - 2e-7
        some = 0
        for chunk in range(0, size, CHUNK):
            if chunk + CHUNK <= size:
                candidates = 0  # counting a fixed number of scores takes a few instructions
                for j in range(chunk, chunk + CHUNK):
                    candidates += row[j] >= bound
                if candidates == 0:
                    continue
            for j in range(chunk, min(chunk + CHUNK, size)):
                if row[j] >= bound:
                    found[some], whose[some] = settled(row[j], error, x, vectors[j]), distractors[j]
                    some += 1
        if some:
            take(tally, mated, probe, whose[:some], found[:some])
    return len(near)


@exactly
def count_between_thresholds(
    row: Points, x: FloatVector, vectors: FloatMatrix, counts: Ids, places: NDArray[np.int32], error: float
) -> None:
    """Add a probe's scores `row` float64 [B] to the counts between the fixed thresholds; `places` is room for [B]."""
    # A score's rounding moves it by at most 2^-24 (it is below 2); a threshold further off than that is not in doubt.
    low_doubt, high_doubt = 1e-8, 1.0 - 0.0021
    for j in range(len(row)):
        position = min(max(row[j] * _PER_UNIT + _PER_UNIT, 0.0), THRESHOLDS - 0.999)  # beyond either end: in doubt
        place = np.int32(position)
        fraction = position - place
        sure = (fraction > low_doubt) & (fraction < high_doubt)
        places[j] = place if sure else -1
    for j in range(len(row)):
        if places[j] >= 0:
            counts[places[j] + 1] += 1
        else:
            counts[threshold_index(settled(row[j], error, x, vectors[j]))] += 1
