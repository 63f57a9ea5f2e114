"""The kinds of index, and which one a gallery gets: each finds, for a query, the rows that may score highest.

A kind is told vectors once and never changes. It does not decide: its shortlist says for each row how high the score
can be at most, and how high that of any row outside can be; `certified_search` scores the rows canonically.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from indexer.errors import VectorError
from indexer.records import FloatMatrix, FloatVector
from indexer.search.codes import CODED_FROM, Codes, encode

IndexKind = Literal["auto", "flat", "float16", "sq8", "int8", "pq", "rabitq", "ivf-pq", "gpu", "faiss-gpu"]
"""auto: flat below CODED_FROM vectors, int8 from there on. pq, rabitq, ivf-pq, faiss-gpu prove nothing: `fast` only."""


_UNPROVED = ("pq", "rabitq", "ivf-pq", "faiss-gpu")
_CODEBOOK_FROM = 4_000  # vectors that a codebook can be trained on
_BLOCK = 65_536  # vectors read from a file at a time


@dataclass(frozen=True, eq=False)
class Shortlist:
    """For Q queries: upper bounds float32 [Q, m] of the canonical scores of rows int64 [Q, m] (-1: no row).

    No row outside can have a canonical score above `unseen` float32 [Q]. Rows are not sorted, none comes twice.
    """

    uppers: FloatMatrix
    rows: NDArray[np.int64]
    unseen: FloatVector


class Shortlister(Protocol):
    """Vectors prepared for search in one way."""

    def shortlist(self, queries: FloatMatrix, width: int, live: NDArray[np.bool_] | None) -> Shortlist:
        """Return at least `width` rows (if there are as many) of those that are `live` bool [n], or of all."""
        ...


class Vectors(Protocol):
    """float32 [n, D]: an array, or something that reads rows from a checked file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, D)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> FloatMatrix: ...


def check_kind(kind: str) -> None:
    """Raise VectorError for a kind that does not exist, or that needs a device that is not there."""
    if kind not in get_args(IndexKind):
        raise VectorError(f"there is no index kind {kind!r}; choose from {', '.join(get_args(IndexKind))}")
    if kind == "gpu":
        from indexer.search.torch_kind import check_cuda

        check_cuda()
    if kind == "faiss-gpu":
        from indexer.search.faiss_kinds import check_faiss_gpu

        check_faiss_gpu()


def choose(total: int, kind: IndexKind, fast: bool) -> IndexKind:
    """Return the kind for a gallery of `total` vectors: the user's, or by size; `fast` means PQ where it pays."""
    if fast:
        return kind if kind in _UNPROVED else "pq" if total >= CODED_FROM else "flat"
    if kind in _UNPROVED:
        return "int8" if total >= CODED_FROM else "flat"
    return kind if kind != "auto" else "int8" if total >= CODED_FROM else "flat"


def prepare(vectors: Vectors, codes: Codes | None, kind: IndexKind) -> Shortlister:
    """Make vectors searchable. Kinds that hold vectors read them here; int8 reads its codes, or makes them."""
    if kind in _UNPROVED and len(vectors) < _CODEBOOK_FROM:
        kind = "flat"  # a small part beside large ones
    if kind == "int8":
        from indexer.search.int8_scan import Int8Scan

        return Int8Scan(codes or encode_all(vectors))
    if kind == "gpu":
        from indexer.search.torch_kind import TorchScan

        return TorchScan(vectors, "cuda")
    from indexer.search.faiss_kinds import FaissScan

    return FaissScan(vectors, kind)


def encode_all(vectors: Vectors) -> Codes:
    """Encode vectors that may lie in a file."""
    parts = [encode(vectors[start : start + _BLOCK]) for start in range(0, len(vectors), _BLOCK)]
    names = ("codes", "scales", "residuals")
    return Codes(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
