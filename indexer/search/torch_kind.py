"""An exact search on a GPU: float16 vectors on the device, products accumulated in float32, in blocks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.errors import VectorError
from indexer.records import FloatMatrix
from indexer.search.index_kinds import Shortlist, Vectors
from indexer.search.scores import NORM_TOLERANCE, score_error

_BLOCK = 131_072  # vectors multiplied at a time
_QUERIES = 1_024
_HALF_ROUNDOFF = 2.0**-11
_OUT_OF_REACH = -2.0  # below every score


def check_cuda() -> None:
    """Raise VectorError unless PyTorch has a CUDA device; nothing else is taken instead."""
    try:
        import torch
    except ImportError as error:
        raise VectorError("the index kind gpu needs PyTorch, which is not installed; use another kind") from error
    if not torch.cuda.is_available():
        raise VectorError("there is no CUDA device for the index kind gpu; use another kind, and see `faceid doctor`")


class TorchScan:
    """Vectors [n, D] as float16 on a device. The bound: |<q, x>| differs by |q16 - q| + |x16 - x| and the rounding."""

    def __init__(self, vectors: Vectors, device: str) -> None:
        import torch

        self._torch: Any = torch
        # For the whole process: sums of float16 products in float16 have no bound that would prove anything.
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        self._device = device
        n, dimension = vectors.shape
        self._vectors = torch.empty((n, dimension), dtype=torch.float16, device=device)
        rest = 0.0
        for start in range(0, n, _BLOCK):
            block = vectors[start : start + _BLOCK]
            half = block.astype(np.float16)
            rest = max(rest, float(np.linalg.norm(block.astype(np.float64) - half, axis=1).max()))
            self._vectors[start : start + len(half)] = torch.from_numpy(half).to(device)
        # Tensor cores add in float32 but cut off where they should round: four times the error of rounding is enough.
        # The result is float16 once more, of a number of at most 1 + NORM_TOLERANCE squared.
        self._error = (1 + 2 * NORM_TOLERANCE) * rest + 4 * score_error(dimension) + 2 * _HALF_ROUNDOFF

    def shortlist(self, queries: FloatMatrix, width: int, live: NDArray[np.bool_] | None) -> Shortlist:
        """See `Shortlister`."""
        torch = self._torch
        n = len(self._vectors)
        width = min(width, n)
        halves = queries.astype(np.float16)
        errors = np.linalg.norm(queries.astype(np.float64) - halves, axis=1) * (1 + 2 * NORM_TOLERANCE) + self._error
        dead = None if live is None else torch.from_numpy(~live).to(self._device)
        found = []
        for first in range(0, len(queries), _QUERIES):
            batch = torch.from_numpy(halves[first : first + _QUERIES]).to(self._device)
            best = torch.zeros((len(batch), 0), dtype=torch.float16, device=self._device)
            rows = torch.zeros((len(batch), 0), dtype=torch.int64, device=self._device)
            for start in range(0, n, _BLOCK):
                scores = batch @ self._vectors[start : start + _BLOCK].T
                if dead is not None:
                    scores.masked_fill_(dead[start : start + _BLOCK], _OUT_OF_REACH)
                top = torch.topk(scores, min(width, scores.shape[1]), dim=1)
                best = torch.cat([best, top.values], dim=1)
                rows = torch.cat([rows, top.indices + start], dim=1)
                keep = torch.topk(best, min(width, best.shape[1]), dim=1)
                best, rows = keep.values, torch.gather(rows, 1, keep.indices)
            found.append((best.float().cpu().numpy(), rows.cpu().numpy()))
        rough, places = (np.concatenate(side) for side in zip(*found, strict=True))
        places[rough <= _OUT_OF_REACH] = -1
        uppers = np.nextafter((rough + errors[:, None]).astype(np.float32), np.float32(2))
        unseen = uppers[:, -1].copy() if width < n else np.full(len(queries), _OUT_OF_REACH, np.float32)
        return Shortlist(uppers, places, unseen)
