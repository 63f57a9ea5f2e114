"""Every float32 product, and of them the best: what costs least for some ten thousand vectors, and needs no memory."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from indexer.records import FloatMatrix
from indexer.search.scores import score_error
from indexer.search.shortlist import OUT_OF_REACH, Segment, Shortlist

_SCORES = 1 << 24  # held at a time: 64 MiB
_QUERIES = 1024  # multiplied at a time


class FlatScan:
    """The vectors as they lie. The bound: the product in float32 and its error, whatever the order of summation."""

    proves: ClassVar[bool] = True

    @classmethod
    def check_machine(cls) -> None:
        """Every machine can."""

    def __init__(self, segment: Segment) -> None:
        self._vectors = segment.vectors[:]
        self._error = score_error(self._vectors.shape[1])

    def shortlist(self, queries: FloatMatrix, width: int, live: NDArray[np.bool_] | None) -> Shortlist:
        """See `Shortlister`."""
        dead = None if live is None else ~live
        pieces = [
            self._best(queries[start : start + _QUERIES], width, dead)
            for start in range(0, max(1, len(queries)), _QUERIES)
        ]
        rough, rows = (np.concatenate(side) for side in zip(*pieces, strict=True))
        uppers = np.nextafter((rough.astype(np.float64) + self._error).astype(np.float32), np.float32(2))
        rows[rough <= OUT_OF_REACH] = -1
        every = rows.shape[1] == len(self._vectors)
        unseen = np.full(len(queries), OUT_OF_REACH, np.float32) if every else uppers.min(axis=1)
        return Shortlist(uppers, rows, unseen)

    def _best(
        self, queries: FloatMatrix, width: int, dead: NDArray[np.bool_] | None
    ) -> tuple[FloatMatrix, NDArray[np.int64]]:
        """Return the `width` highest products [Q, width] and their rows, block by block."""
        best = np.empty((len(queries), 0), np.float32)
        rows = np.empty((len(queries), 0), np.int64)
        step = max(width, _SCORES // max(1, len(queries)))
        for start in range(0, len(self._vectors), step):
            scores = queries @ self._vectors[start : start + step].T
            if dead is not None:
                scores[:, dead[start : start + step]] = OUT_OF_REACH
            top = _highest(scores, width)
            best = np.concatenate([best, np.take_along_axis(scores, top, 1)], axis=1)
            rows = np.concatenate([rows, top + start], axis=1)
            kept = _highest(best, width)
            best, rows = np.take_along_axis(best, kept, 1), np.take_along_axis(rows, kept, 1)
        return best, rows


def _highest(scores: FloatMatrix, width: int) -> NDArray[np.int64]:
    """Return the places of the `width` highest of each row, in any order."""
    n = scores.shape[1]
    if width >= n:
        return np.broadcast_to(np.arange(n), scores.shape)
    return np.argpartition(scores, n - width, axis=1)[:, n - width :]
