"""FAISS's product quantiser with fast scan: 4 bits for 4 numbers, a sixteenth of the bytes of int8, and no proof.

What FAISS swallows is kept from it: vectors are checked before they come here, ids never come here (rows do), an
index is never added to after it was made, and none is read from a file.
"""

import os
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from indexer.errors import VectorError
from indexer.records import FloatMatrix
from indexer.search.flat_scan import FlatScan
from indexer.search.shortlist import OUT_OF_REACH, Segment, Shortlist

_CODEBOOK_FROM = 4_000  # vectors that a codebook can be trained on
_SAMPLE = 65_536  # vectors that it is trained on
_BLOCK = 65_536  # vectors added at a time

_used: bool = False  # whether FAISS's threads (OpenMP) may have been started in this process
_forked: bool = False  # whether they were, in the process that this one was forked from


class PqScan:
    """Vectors [n, D] in one FAISS index; the few of a small segment beside large ones as they are."""

    proves: ClassVar[bool] = False

    @classmethod
    def check_machine(cls) -> None:
        """Raise VectorError where FAISS is missing, or its threads did not survive a fork."""
        _import_faiss()

    def __init__(self, segment: Segment) -> None:
        n, dimension = segment.vectors.shape
        self._exact = FlatScan(segment) if n < _CODEBOOK_FROM else None
        if self._exact is not None:
            return
        faiss = _import_faiss()
        # A subquantiser has 4 numbers, or what divides the dimension, and 16 centroids.
        parts = next(dimension // size for size in (4, 2, 1) if dimension % size == 0)
        self._index = faiss.index_factory(dimension, f"PQ{parts}x4fs", faiss.METRIC_INNER_PRODUCT)
        self._index.train(np.ascontiguousarray(segment.vectors[np.arange(0, n, max(1, n // _SAMPLE))]))
        for start in range(0, n, _BLOCK):
            self._index.add(np.ascontiguousarray(segment.vectors[start : start + _BLOCK]))

    def shortlist(self, queries: FloatMatrix, width: int, live: NDArray[np.bool_] | None) -> Shortlist:
        """See `Shortlister`. Nothing is proved, unless every row is on the list."""
        if self._exact is not None:
            return self._exact.shortlist(queries, width, live)
        _import_faiss()
        n = self._index.ntotal
        dead = 0 if live is None else n - int(np.count_nonzero(live))
        width = min(width + dead, n)  # it takes no selector: the dead come along and are struck out
        _, rows = self._index.search(np.ascontiguousarray(queries), width)
        every = (width == n) & (rows >= 0).all(axis=1)  # asked for all, FAISS does not always give all
        if live is not None:
            rows[(rows >= 0) & ~live[rows]] = -1
        unseen = np.where(every, OUT_OF_REACH, np.inf).astype(np.float32)
        return Shortlist(np.full(rows.shape, np.inf, np.float32), rows, unseen)


def _import_faiss() -> Any:
    """Return FAISS, on first need; raises VectorError where it cannot be used."""
    global _used
    if _forked:
        raise VectorError(
            "a fast search uses FAISS, whose threads do not survive a fork: start worker processes with spawn,"
            " or search without `fast`"
        )
    try:
        import faiss
    except ImportError as error:
        raise VectorError("a fast search needs FAISS: pip install 'faceid-engine[cpu]'") from error
    _used = True
    return faiss


def _after_fork() -> None:
    global _forked
    _forked = _used  # stays true in a child of the child


os.register_at_fork(after_in_child=_after_fork)
