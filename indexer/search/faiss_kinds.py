"""FAISS indexes as shortlists: flat, 16-bit and 8-bit with a proved bound, PQ, RaBitQ and IVF without one.

What FAISS swallows is kept from it: vectors are checked before they come here, ids never come here (rows do), an
index is never added to after it was made, and none is read from a file.
"""

import os
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.errors import VectorError
from indexer.records import FloatMatrix
from indexer.search.index_kinds import IndexKind, Shortlist, Vectors
from indexer.search.scores import NORM_TOLERANCE, score_error

_BLAS_FROM = 4096  # 8 queries of 512 numbers
_BLOCK = 65_536  # vectors added at a time
_SAMPLE, _SAMPLED_A_LIST = 65_536, 40  # vectors that a codebook is trained on; for each inverted list, at least
_ROWS_A_LIST = 1_000  # of an inverted file
_LONGEST_ON_GPU = 2048  # rows that FAISS finds on a GPU
_PROBED = 4  # one in so many lists is looked into
_OUT_OF_REACH = -2.0  # below every score


class FaissScan:
    """Vectors [n, D] in one FAISS index."""

    def __init__(self, vectors: Vectors, kind: IndexKind) -> None:
        self._faiss: Any = import_faiss()
        n, dimension = vectors.shape
        self._index = self._faiss.index_factory(
            dimension, _factory(kind, n, dimension), self._faiss.METRIC_INNER_PRODUCT
        )
        if not self._index.is_trained:
            step = max(1, n // max(_SAMPLE, _SAMPLED_A_LIST * (n // _ROWS_A_LIST)))
            self._index.train(np.ascontiguousarray(vectors[np.arange(0, n, step)]))
        proves, rest = kind in ("flat", "float16", "sq8"), 0.0
        for start in range(0, n, _BLOCK):
            block = np.ascontiguousarray(vectors[start : start + _BLOCK])
            self._index.add(block)
            if kind in ("float16", "sq8"):
                decoded = self._index.reconstruct_n(start, len(block)).astype(np.float64)
                rest = max(rest, float(np.linalg.norm(block - decoded, axis=1).max()))
        if kind == "faiss-gpu":
            options = self._faiss.GpuClonerOptions()
            options.useFloat16 = True
            self._index = self._faiss.index_cpu_to_gpu(self._faiss.StandardGpuResources(), 0, self._index, options)
        # |<q, x> - <q, x'>| <= |q| |x - x'|; the decoded vector is up to `rest` longer than the true one
        self._error = (1 + NORM_TOLERANCE) * rest + (1 + rest) * score_error(dimension) if proves else float(np.inf)
        self._selects = kind not in ("pq", "rabitq", "faiss-gpu")  # these take no selector
        self._parameters: Any = self._faiss.SearchParameters
        if kind == "ivf-pq":
            self._parameters = partial(self._faiss.SearchParametersIVF, nprobe=-(-self._index.nlist // _PROBED))
        self._longest = _LONGEST_ON_GPU if kind == "faiss-gpu" else n
        self._complete = kind != "ivf-pq"  # who asks for all rows gets them

    def shortlist(self, queries: FloatMatrix, width: int, live: NDArray[np.bool_] | None) -> Shortlist:
        """See `Shortlister`. The kinds that prove nothing give +inf, unless they return every row."""
        n = self._index.ntotal
        selector = None
        if live is not None and self._selects:
            bits = np.packbits(live, bitorder="little")
            selector = self._faiss.IDSelectorBitmap(n, self._faiss.swig_ptr(bits))
        elif live is not None:
            width += n - int(np.count_nonzero(live))
        width = min(width, n, self._longest)
        parameters = self._parameters(sel=selector) if self._selects else None
        rough, rows = self._index.search(np.ascontiguousarray(queries), width, params=parameters)
        uppers = np.nextafter((rough.astype(np.float64) + self._error).astype(np.float32), np.float32(np.inf))
        unseen = np.where(rows[:, -1] < 0, np.float32(_OUT_OF_REACH), uppers[:, -1])  # -1: there was no other row
        if self._complete and width == n:
            unseen = np.full(len(queries), _OUT_OF_REACH, np.float32)
        elif self._error == np.inf:
            unseen = np.full(len(queries), np.inf, np.float32)
        if live is not None and not self._selects:
            rows[(rows >= 0) & ~live[rows]] = -1
        return Shortlist(uppers, rows, unseen)


def _factory(kind: IndexKind, n: int, dimension: int) -> str:
    """FAISS's word for a kind. A subquantiser of PQ has 4 numbers, or what divides the dimension, and 16 centroids."""
    codebook = f"PQ{next(dimension // size for size in (4, 2, 1) if dimension % size == 0)}x4fs"
    return {
        "flat": "Flat",
        "faiss-gpu": "Flat",
        "float16": "SQfp16",
        "sq8": "SQ8",
        "pq": codebook,
        "rabitq": "RaBitQfs",
        "ivf-pq": f"IVF{max(1, n // _ROWS_A_LIST)},{codebook}",
    }[kind]


def check_faiss_gpu() -> None:
    """Raise VectorError unless this FAISS was built for GPUs and sees one. No test of ours has run on a GPU."""
    faiss: Any = import_faiss()
    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        raise VectorError("this FAISS has no GPU: it needs the package faiss-gpu and a CUDA device; use another kind")


def import_faiss() -> ModuleType:
    """Return FAISS, on first need. Its bundled OpenBLAS takes an AVX-512 machine for a Prescott unless it is told."""
    cpuinfo = Path("/proc/cpuinfo")
    if "OPENBLAS_CORETYPE" not in os.environ and cpuinfo.is_file() and "avx512f" in cpuinfo.read_text():
        os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"
    import faiss

    # Above this many numbers in a batch of queries FAISS calls BLAS; its own 128,000 leaves batches 10 x slower.
    faiss.cvar.distance_compute_blas_threshold = _BLAS_FROM
    module: ModuleType = faiss
    return module
