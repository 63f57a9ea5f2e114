"""One pass over 8-bit codes: for each query the rows whose scores may be largest, and a bound on all the others.

Let x = s c + r with an integer code c (`indexer.search.codes`) and q = t d + e with an integer query d. Then

    <q, x>  =  s t <c, d>  +  <e, s c>  +  <q, r>  <=  s t <c, d>  +  |e| (|x| + |r|)  +  |q| |r|

(Cauchy-Schwarz). The right side is the row's upper bound: <c, d> is exact in integers, the rest is known beforehand.
A pass keeps the rows with the largest upper bounds; no row that it drops can score above the largest bound dropped.
The pass is bound by memory: it reads each code once, with the processor's 8-bit dot product (AVX-512 VNNI) where
there is one, and asks for the bytes well before they are needed.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numba import config
from numpy.typing import NDArray

from indexer.records import FloatMatrix, FloatVector
from indexer.search.byte_products import HAS_VNNI, LANES, QUERIES
from indexer.search.codes import Codes, encode
from indexer.search.int8_kernels import OUT_OF_REACH, scan_many, scan_one, scan_plainly
from indexer.search.scores import NORM_TOLERANCE
from indexer.search.shortlist import Segment, Shortlist, Vectors

_NOTHING_YET = -2.0  # below every upper bound of a live row, above that of one out of reach
_LENGTH = 1 + 2 * NORM_TOLERANCE  # no vector is longer
_ROUNDING = 1e-6  # of float32 in the bound itself: seven roundings of numbers below 1.1, 2**-24 each
_LEAST = 128  # rows of a list
_ROWS_AT_ONCE = 16_384  # half a millisecond's work, many times what it costs to hand out
_PIECE = 65_536  # vectors encoded at a time
_SPREAD = 1 << 30  # what an integer score may reach: half of int32
_NUMBA: Any = config  # says how many threads the user wants; asking Numba itself would start its own
_FINE, _COARSE = 127 * 256 + 127, 127  # the largest integer in a query: two signed bytes, or one


class Int8Scan:
    """The codes of a segment: those it brings, or made here."""

    proves: ClassVar[bool] = True

    @classmethod
    def check_machine(cls) -> None:
        """Every machine can; without AVX-512 VNNI the compiler's own loops serve."""

    def __init__(self, segment: Segment) -> None:
        self._codes = segment.codes or encode_all(segment.vectors)
        self._masked: tuple[NDArray[np.bool_] | None, FloatVector] = (None, self._codes.residuals)

    def shortlist(self, queries: FloatMatrix, width: int, live: NDArray[np.bool_] | None) -> Shortlist:
        """See `Shortlister`. A list is never shorter than _LEAST: more rows cost nothing here, another pass does."""
        seen, residuals = self._masked
        if live is None:
            return scan(self._codes, queries, max(width, _LEAST))
        if seen is not live:
            residuals = np.where(live, self._codes.residuals, np.float32(OUT_OF_REACH))
            self._masked = live, residuals  # tombstones stay the same from search to search
        return scan(replace(self._codes, residuals=residuals), queries, max(width, _LEAST))


def encode_all(vectors: Vectors) -> Codes:
    """Encode vectors that may lie in a file, piece by piece."""
    pieces = [encode(vectors[start : start + _PIECE]) for start in range(0, len(vectors), _PIECE)]
    return Codes(
        *(
            np.concatenate(side)
            for side in zip(*((one.codes, one.scales, one.residuals) for one in pieces), strict=True)
        )
    )


def scan(codes: Codes, queries: FloatMatrix, width: int) -> Shortlist:
    """Return a shortlist of at least `width` rows, or of all there are; ties at its end may fall out.

    A row whose residual is `OUT_OF_REACH` never is on it.
    """
    count, n = len(queries), len(codes)
    one = count == 1
    integers, scales, lengths, errors = _integer_queries(queries, _FINE if one or not HAS_VNNI else _COARSE)
    grow = (lengths + errors).astype(np.float32)  # what each unit of |r| adds to the bound
    add = (_LENGTH * errors + _ROUNDING).astype(np.float32)
    arrays = [_read_only(array) for array in (codes.codes, codes.scales, codes.residuals)]
    starts = iter(range(0, n, _ROWS_AT_ONCE))  # a thread takes the next rows when it is done: none waits for another
    threads = max(1, min(_NUMBA.NUMBA_NUM_THREADS, n // _ROWS_AT_ONCE))
    uppers = np.full((threads, count, 2 * width), OUT_OF_REACH, np.float32)
    rows = np.full((threads, count, 2 * width), -1, np.int64)
    cuts = np.full((threads, count), _NOTHING_YET, np.float32)

    def work(thread: int) -> None:
        kernel, prepared = _prepare(integers, scales, grow, add)
        lists = uppers[thread], rows[thread], np.zeros(count, np.int64), cuts[thread]
        for start in starts:
            kernel(*arrays, *prepared, scales, grow, add, start, min(start + _ROWS_AT_ONCE, n), *lists)

    if threads == 1:
        work(0)
    else:  # threads of our own: those of Numba may not be entered twice, nor after a fork
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
    return Shortlist(
        np.moveaxis(uppers, 0, 1).reshape(count, -1), np.moveaxis(rows, 0, 1).reshape(count, -1), cuts.max(axis=0)
    )


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """One type of array for the compiler, whether it lies in memory or in a file."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _integer_queries(
    queries: FloatMatrix, largest: int
) -> tuple[NDArray[np.int64], FloatVector, NDArray[np.float64], NDArray[np.float64]]:
    """Round queries to integers of at most `largest`: them, their scales, and float64 lengths |q| and |e|."""
    dimension = queries.shape[1]
    lengths = np.sqrt(np.einsum("qd,qd->q", queries, queries, dtype=np.float64))
    # By Cauchy-Schwarz no sum over a part of <c, d> exceeds 127 sqrt(D) |q| / t.
    scales = np.maximum(np.abs(queries).max(axis=1) / largest, 127 * dimension**0.5 * lengths / _SPREAD)
    scales = np.nextafter(scales.astype(np.float32), np.float32(2))
    integers = np.rint(queries.astype(np.float64) / scales[:, None])
    rest = queries - integers * scales[:, None].astype(np.float64)
    return integers.astype(np.int64), scales, lengths, np.sqrt(np.einsum("qd,qd->q", rest, rest))


def _prepare(
    integers: NDArray[np.int64], query_scales: FloatVector, grow: FloatVector, add: FloatVector
) -> tuple[Callable[..., None], tuple[Any, ...]]:
    """Choose the kernel, and lay the queries out as it reads them."""
    one, dimension = len(integers) == 1, integers.shape[1]
    if not HAS_VNNI or (one and dimension % 64) or dimension % 4:
        return scan_plainly, (integers.astype(np.int16),)
    shift = 128 * integers.sum(axis=1)  # codes are read as c + 128: the instruction takes one side unsigned
    if one:
        high = (integers[0] + 128) >> 8
        return scan_one, (high.astype(np.int8), (integers[0] - 256 * high).astype(np.int8), int(shift[0]))
    padding = -len(integers) % QUERIES
    padded = np.pad(integers, ((0, padding), (0, 0))).astype(np.int8)
    # [group, D / 4, lane, 4]: one register holds 4 numbers of each of 16 queries
    packed = padded.reshape(-1, LANES, dimension // 4, 4).transpose(0, 2, 1, 3)
    cuts = np.full(len(integers), _NOTHING_YET, np.float32)
    limits = [shift.astype(np.int32).view(np.float32), query_scales, grow, add, cuts]
    padded_limits = [np.pad(line, (0, padding)) for line in limits]
    padded_limits[-1][len(integers) :] = -OUT_OF_REACH  # what only fills up the registers keeps no row
    lines = np.stack(padded_limits).reshape(5, -1, LANES).swapaxes(0, 1)
    return scan_many, (np.ascontiguousarray(packed), np.ascontiguousarray(lines))
