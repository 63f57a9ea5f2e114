"""An exact inner-product index that refuses what FAISS swallows and answers in canonical scores.

The canonical score of two stored vectors is their float64 dot product rounded to float32. FAISS computes in
float32, so it only shortlists: every score that leaves this file is canonical, and the top k is exact in it.
"""

import os
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from indexer.errors import VectorError
from indexer.records import FloatMatrix, Ids

NORM_TOLERANCE = 1e-3
"""How far from 1 a vector's length may be; a float32 network's normalisation is within 1e-6, bfloat16's within 1e-3."""

_UNIT_ROUNDOFF = 2.0**-24  # of float32
_MAX_SHORTLIST = 2048  # above it FAISS's heap costs more than scoring everything canonically
_BLAS_FROM = 4096  # 8 queries of 512 numbers
_RESCORE_BLOCK = 1 << 22  # float64 elements held at once while rescoring (32 MiB)


class VectorIndex:
    """Unit vectors float32 [n, dimension] under int64 ids of the caller, searched by inner product."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._faiss = import_faiss()
        self._index = self._faiss.IndexFlatIP(dimension)
        self._ids: Ids = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> Ids:
        """The ids [n] int64 in the order of addition."""
        return self._ids

    @property
    def vectors(self) -> FloatMatrix:
        """The vectors [n, dimension] float32 as they lie in the index: a view, valid until the next add or remove."""
        if not len(self):
            return np.empty((0, self.dimension), np.float32)
        flat = self._faiss.rev_swig_ptr(self._index.get_xb(), len(self) * self.dimension)
        view: FloatMatrix = flat.reshape(len(self), self.dimension)
        return view

    def add(self, ids: Ids, vectors: FloatMatrix) -> None:
        """Add ids [m] int64 with vectors [m, dimension] float32; all or none.

        Raises VectorError for an id that is negative or taken, and for what `check_vectors` refuses.
        """
        check_vectors(vectors, self.dimension)
        if ids.dtype != np.int64 or ids.shape != (len(vectors),):
            raise VectorError(f"ids must be int64 [{len(vectors)}], not {ids.dtype} {list(ids.shape)}")
        if (ids < 0).any():
            raise VectorError(f"id {ids.min()} is negative")
        if len(np.unique(ids)) < len(ids) or np.isin(ids, self._ids).any():
            raise VectorError("an id is already in the index, or comes twice")
        self._index.add(np.ascontiguousarray(vectors))
        self._ids = np.concatenate([self._ids, ids])

    def remove(self, ids: Ids) -> None:
        """Take ids [m] int64 out; raises VectorError if one of them is not there. One pass over the whole index."""
        strangers = np.setdiff1d(ids, self._ids)
        if len(strangers):
            raise VectorError(f"id {strangers[0]} is not in the index")
        doomed = np.isin(self._ids, ids)
        self._index.remove_ids(self._faiss.IDSelectorBatch(np.flatnonzero(doomed)))
        self._ids = self._ids[~doomed]

    def search(self, queries: FloatMatrix, k: int) -> tuple[Ids, FloatMatrix]:
        """Return the k best ids of each query: ids [Q, min(k, n)] int64 and canonical scores float32, best first.

        Equal scores are ordered by the smaller id. `queries` is [Q, dimension] float32, unit length (VectorError
        otherwise); k >= 1.
        """
        check_vectors(queries, self.dimension)
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        n, k = len(self), min(k, len(self))
        ids = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        if k == 0:
            return ids, scores
        queries = np.ascontiguousarray(queries)
        open_rows, width = np.arange(len(queries)), k + 8
        while len(open_rows):
            if width >= min(n, _MAX_SHORTLIST):
                for row in open_rows:
                    ids[row], scores[row] = self._scan(queries[row], k)
                break
            unproven = []
            block = max(1, _RESCORE_BLOCK // (width * self.dimension))
            for start in range(0, len(open_rows), block):
                rows = open_rows[start : start + block]
                proven, best_ids, best_scores = self._shortlist(queries[rows], k, width)
                ids[rows[proven]], scores[rows[proven]] = best_ids[proven], best_scores[proven]
                unproven.append(rows[~proven])
            open_rows, width = np.concatenate(unproven), width * 4
        return ids, scores

    def _shortlist(self, queries: FloatMatrix, k: int, width: int) -> tuple[NDArray[np.bool_], Ids, FloatMatrix]:
        """Top k of a FAISS shortlist, and which rows are proven: nobody outside it can reach the k-th score."""
        rough, positions = self._index.search(queries, width)
        scores = canonical_scores(queries[:, None, :], self.vectors[positions])
        ids = self._ids[positions]
        order = np.lexsort((ids, -scores))[:, :k]
        ids, scores = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
        proven: NDArray[np.bool_] = scores[:, -1] > rough[:, -1] + score_error(self.dimension)
        return proven, ids, scores

    def _scan(self, query: FloatMatrix, k: int) -> tuple[Ids, FloatMatrix]:
        """Top k by scoring every vector canonically: for small indexes and for crowds of ties."""
        block = max(1, _RESCORE_BLOCK // self.dimension)
        vectors = self.vectors
        scores = np.concatenate(
            [canonical_scores(query, vectors[start : start + block]) for start in range(0, len(vectors), block)]
        )
        cut = np.partition(scores, -k)[-k]
        near = np.flatnonzero(scores >= cut)
        best = near[np.lexsort((self._ids[near], -scores[near]))[:k]]
        return self._ids[best], scores[best]


def canonical_scores(a: FloatMatrix, b: FloatMatrix) -> FloatMatrix:
    """Inner products over the last axis, [..., D] x [..., D] broadcast -> [...]: float64, rounded to float32.

    Products of float32 are exact in float64, and NumPy sums the last axis pairwise in an order that depends on D
    alone, so the score of a pair is the same in every batch.
    """
    products = np.multiply(a, b, dtype=np.float64)
    result: FloatMatrix = products.sum(axis=-1).astype(np.float32)
    return result


def score_error(dimension: int) -> float:
    """How far a float32 inner product of two vectors within NORM_TOLERANCE may lie from their canonical score.

    gamma_n = n u / (1 - n u) bounds any order of summation (Higham 2002, eq. 3.5; |x|.|y| <= 1 by Cauchy-Schwarz);
    one more u for the rounding of the canonical score.
    """
    nu = (dimension + 1) * _UNIT_ROUNDOFF
    return (1 + NORM_TOLERANCE) ** 2 * nu / (1 - nu)


def check_vectors(vectors: FloatMatrix, dimension: int) -> None:
    """Raise VectorError unless vectors is float32 [m, dimension], finite, each of length 1 within NORM_TOLERANCE."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        raise VectorError(f"vectors must be float32, not {getattr(vectors, 'dtype', type(vectors).__name__)}")
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise VectorError(f"vectors must be [n, {dimension}], not {list(vectors.shape)}")
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= NORM_TOLERANCE))  # not (a > b): NaN must not pass
    if len(bad):
        raise VectorError(f"vector {bad[0]} has length {lengths[bad[0]]:.6g}; it must be 1 within {NORM_TOLERANCE}")


def import_faiss() -> ModuleType:
    """FAISS, on first need. Its bundled OpenBLAS takes an AVX-512 machine for a Prescott unless it is told."""
    cpuinfo = Path("/proc/cpuinfo")
    if "OPENBLAS_CORETYPE" not in os.environ and cpuinfo.is_file() and "avx512f" in cpuinfo.read_text():
        os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"
    import faiss

    # Above this many numbers in a batch of queries FAISS calls BLAS; its own 128,000 leaves batches 10 x slower.
    faiss.cvar.distance_compute_blas_threshold = _BLAS_FROM
    module: ModuleType = faiss
    return module
