"""Compiled inner loops of the 8-bit scan: a bound for every row and query, and the lists of those above the cuts.

All kernels do the same: rows `first` to `end` of the codes against the queries; where a row's upper bound is above a
query's cut, it goes on the query's list: `uppers` float32 [Q, size], `rows` int64 [Q, size], `counts` of them int64
[Q], `cuts` float32 [Q], all kept from call to call. A bound is

    upper = <c, d> scales[row] query_scales[query] + residuals[row] grow[query] + add[query]        (`int8_scan`)
"""

import numpy as np
from numpy.typing import NDArray

from indexer.compiled import compiled
from indexer.records import FloatMatrix, FloatVector
from indexer.search.byte_products import GROUPS, LANES, QUERIES, ROWS, row_product, tile_bounds

OUT_OF_REACH = -4.0
"""A residual that puts a row below every other one: scores lie within -1.01 .. 1.01."""

_compiled = compiled(nogil=True, fastmath={"reassoc", "contract", "arcp", "nsz"})
"""No GIL; sums in any order, but NaN and infinity as IEEE 754 has them."""


@_compiled
def scan_plainly(
    codes: NDArray[np.int8],
    scales: FloatVector,
    residuals: FloatVector,
    integers: NDArray[np.int16],
    query_scales: FloatVector,
    grow: FloatVector,
    add: FloatVector,
    first: int,
    end: int,
    uppers: FloatMatrix,
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
    cuts: FloatVector,
) -> None:
    """Any processor, any dimension: the compiler's own vectors."""
    for row in range(first, end):
        for query in range(len(integers)):
            total = np.int32(0)
            for d in range(codes.shape[1]):
                total += np.int32(codes[row, d]) * np.int32(integers[query, d])
            upper = np.float32(total) * scales[row] * query_scales[query] + residuals[row] * grow[query] + add[query]
            if upper > cuts[query]:
                counts[query], cuts[query] = keep(uppers[query], rows[query], counts[query], cuts[query], upper, row)


@_compiled
def scan_one(
    codes: NDArray[np.int8],
    scales: FloatVector,
    residuals: FloatVector,
    high: NDArray[np.int8],
    low: NDArray[np.int8],
    shift: int,
    query_scales: FloatVector,
    grow: FloatVector,
    add: FloatVector,
    first: int,
    end: int,
    uppers: FloatMatrix,
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
    cuts: FloatVector,
) -> None:
    """One query of 16 bits, as two of 8 over the same codes."""
    flat = codes.reshape(-1)
    dimension = codes.shape[1]
    count, cut = counts[0], cuts[0]
    scale, a, b = query_scales[0], grow[0], add[0]
    for row in range(first, end):
        total = row_product(flat, row * dimension, high, low) - shift
        upper = np.float32(total) * scales[row] * scale + residuals[row] * a + b
        if upper > cut:
            count, cut = keep(uppers[0], rows[0], count, cut, upper, row)
    counts[0], cuts[0] = count, cut


@_compiled
def scan_many(
    codes: NDArray[np.int8],
    scales: FloatVector,
    residuals: FloatVector,
    packed: NDArray[np.int8],
    limits: FloatMatrix,
    query_scales: FloatVector,
    grow: FloatVector,
    add: FloatVector,
    first: int,
    end: int,
    uppers: FloatMatrix,
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
    cuts: FloatVector,
) -> None:
    """Batches: tiles of 8 rows by 32 queries; sums stay in registers, only the bounds of a tile reach memory."""
    dimension = codes.shape[1]
    queries = len(cuts)
    tile = np.zeros(ROWS * dimension, np.uint8)
    factors = np.zeros(2 * ROWS, np.float32)  # the scales of the tile's rows, then their residuals
    bounds = np.empty(ROWS * QUERIES, np.float32)
    hits = np.empty(ROWS * GROUPS, np.uint16)  # a bit for each query whose cut the row is above
    queries_flat, words, lines = packed.reshape(-1), tile.view(np.int32), limits.reshape(-1)
    for start in range(first, end, ROWS):
        there = min(ROWS, end - start)
        _shift_codes(tile, codes[start : start + there].reshape(-1))
        for i in range(ROWS):
            factors[i] = scales[start + i] if i < there else np.float32(0)
            factors[ROWS + i] = residuals[start + i] if i < there else np.float32(OUT_OF_REACH)
        for group in range(0, queries, QUERIES):
            if not tile_bounds(words, queries_flat, lines, factors, group, dimension // 4, bounds, hits):
                continue
            for i in range(ROWS):
                for side in range(GROUPS):
                    mask = hits[i * GROUPS + side]
                    lane = 0
                    while mask:
                        if mask & 1:
                            query = group + side * LANES + lane
                            upper = bounds[i * QUERIES + side * LANES + lane]
                            counts[query], cut = keep(
                                uppers[query], rows[query], counts[query], cuts[query], upper, start + i
                            )
                            if cut != cuts[query]:
                                cuts[query] = cut
                                lines[(group // LANES + side) * 5 * LANES + 4 * LANES + lane] = cut
                        mask >>= 1
                        lane += 1


@_compiled
def _shift_codes(tile: NDArray[np.uint8], codes: NDArray[np.int8]) -> None:
    for d in range(len(codes)):
        tile[d] = np.uint8(codes[d]) ^ np.uint8(128)


@_compiled
def keep(
    uppers: FloatVector, rows: NDArray[np.int64], count: int, cut: float, upper: float, row: int
) -> tuple[int, float]:
    """Put a row on a query's list; a full list drops its lower half, and `cut` becomes the best that was dropped."""
    size = len(uppers)
    if count == size:
        half = size // 2
        cut = _order_statistic(uppers, half - 1)
        count = 0
        for i in range(size):
            if uppers[i] > cut:
                uppers[count], rows[count] = uppers[i], rows[i]
                count += 1
        for i in range(count, size):
            uppers[i], rows[i] = OUT_OF_REACH, -1
        if upper <= cut:
            return count, cut
    uppers[count], rows[count] = upper, row
    return count + 1, cut


@_compiled
def _order_statistic(values: FloatVector, k: int) -> float:
    """Return the value that has k smaller ones before it: Hoare's FIND (1961). numba's np.partition compiles 8 s."""
    work = values.copy()
    low, high = 0, len(work) - 1
    while low < high:
        pivot = work[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while work[i] < pivot:
                i += 1
            while work[j] > pivot:
                j -= 1
            if i <= j:
                work[i], work[j] = work[j], work[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return float(work[k])
