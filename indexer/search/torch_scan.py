"""An exact search on a GPU: float16 vectors on the device, products summed and kept in float32, in blocks."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from indexer.errors import VectorError
from indexer.records import FloatMatrix
from indexer.search.scores import NORM_TOLERANCE, score_error
from indexer.search.shortlist import OUT_OF_REACH, Segment, Shortlist

_BLOCK = 131_072  # vectors multiplied at a time
_QUERIES = 1_024


class TorchScan:
    """Vectors [n, D] as float16 on a device. The bound: |<q, x>| differs by |q16 - q| + |x16 - x| and the rounding."""

    proves: ClassVar[bool] = True

    @classmethod
    def check_machine(cls) -> None:
        """Raise VectorError unless PyTorch has a CUDA device; nothing else is taken instead."""
        try:
            import torch
        except ImportError as error:
            raise VectorError("the index kind gpu needs PyTorch, which is not installed; use another kind") from error
        if not torch.cuda.is_available():
            raise VectorError(
                "there is no CUDA device for the index kind gpu; use another kind, and see `faceid doctor`"
            )

    def __init__(self, segment: Segment, device: str = "cuda") -> None:
        import torch

        self._torch: Any = torch
        self._device = device
        n, dimension = segment.vectors.shape
        self._vectors = torch.empty((n, dimension), dtype=torch.float16, device=device)
        rest = 0.0
        for start in range(0, n, _BLOCK):
            block = segment.vectors[start : start + _BLOCK]
            half = block.astype(np.float16)
            rest = max(rest, float(np.linalg.norm(block.astype(np.float64) - half, axis=1).max()))
            self._vectors[start : start + len(half)] = torch.from_numpy(half).to(device)
        # Tensor cores add in float32 but cut off where they should round: four times the error of rounding is enough.
        self._error = (1 + 2 * NORM_TOLERANCE) * rest + 4 * score_error(dimension)

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
            best = torch.zeros((len(batch), 0), dtype=torch.float32, device=self._device)
            rows = torch.zeros((len(batch), 0), dtype=torch.int64, device=self._device)
            for start in range(0, n, _BLOCK):
                scores = self._products(batch, self._vectors[start : start + _BLOCK])
                if dead is not None:
                    scores.masked_fill_(dead[start : start + _BLOCK], OUT_OF_REACH)
                top = torch.topk(scores, min(width, scores.shape[1]), dim=1)
                best = torch.cat([best, top.values], dim=1)
                rows = torch.cat([rows, top.indices + start], dim=1)
                keep = torch.topk(best, min(width, best.shape[1]), dim=1)
                best, rows = keep.values, torch.gather(rows, 1, keep.indices)
            found.append((best.cpu().numpy(), rows.cpu().numpy()))
        rough, places = (np.concatenate(side) for side in zip(*found, strict=True))
        places[rough <= OUT_OF_REACH] = -1
        uppers = np.nextafter((rough + errors[:, None]).astype(np.float32), np.float32(2))
        unseen = uppers[:, -1].copy() if width < n else np.full(len(queries), OUT_OF_REACH, np.float32)
        return Shortlist(uppers, places, unseen)

    def _products(self, queries: Any, vectors: Any) -> Any:
        """Return float32 [q, n] of float16 [q, D] and [n, D].

        Told to give float32, cuBLAS never sums in float16, whatever the host set for the process
        (`allow_fp16_reduced_precision_reduction`): such a sum would have no bound that proves anything.
        """
        if self._device == "cpu":  # the tests' device knows no products of mixed precision
            return queries.float() @ vectors.float().T
        return self._torch.mm(queries, vectors.T, out_dtype=self._torch.float32)
