"""Who is near to whom: all pairs of vectors at or above a similarity, exactly, block by block.

At the similarity of an FMR of 1e-5 a hundred thousand faces have some ten thousand pairs by chance; matrix products in
float32 find them, and their scores are canonical.
"""

from dataclasses import dataclass

import numpy as np

from indexer.records import FloatMatrix, FloatVector, Ids
from indexer.search.scores import canonical_scores, score_error

MOST = 80
"""Nearest that are kept of each vector: faces of one person stay joined through common neighbours."""

_BLOCK = 2048
_MANY = 4_000_000  # pairs from which on those that are among the nearest of neither side are left out: 100 MB


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs `first` < `second` int64 [p] with their canonical similarity float32 [p], in order."""

    first: Ids
    second: Ids
    similarity: FloatVector


def near_pairs(vectors: FloatMatrix, at_least: float, start: int = 0) -> Pairs:
    """Return all pairs of vectors [n, D] with a score >= `at_least` of which the second is `start` or later."""
    floor = np.float32(at_least - score_error(vectors.shape[1]))
    nothing = np.empty(0, np.int64)
    found = [Pairs(nothing, nothing, np.empty(0, np.float32))]
    held, enough = 0, _MANY
    for low in range(start, len(vectors), _BLOCK):
        new = vectors[low : low + _BLOCK]
        for left in range(0, low + len(new), _BLOCK):
            before = vectors[left : min(left + _BLOCK, low + len(new))]
            second, first = np.nonzero(new @ before.T >= floor)
            pairs = np.stack([first + left, second + low])
            found.append(_scored(vectors, pairs[:, pairs[0] < pairs[1]], at_least))
            held += len(found[-1].first)
            # What is not among the nearest so far will not be: ten thousand photos of one person are no gigabytes.
            if held > enough:
                found = [_thinned(_joined(found), len(vectors))]
                held = len(found[0].first)
                enough = max(_MANY, 2 * held)
    return _thinned(_joined(found), len(vectors))


def _scored(vectors: FloatMatrix, pairs: Ids, at_least: float) -> Pairs:
    """Return those of pairs [2, p] whose canonical score is high enough."""
    scores = np.empty(pairs.shape[1], np.float32)
    for low in range(0, pairs.shape[1], _BLOCK):
        some = pairs[:, low : low + _BLOCK]
        scores[low : low + _BLOCK] = canonical_scores(vectors[some[0]], vectors[some[1]])
    near = scores >= at_least
    return Pairs(pairs[0, near], pairs[1, near], scores[near])


def with_new(known: Pairs, new: Pairs, size: int) -> Pairs:
    """Join pairs of `size` vectors that were known with those that came with new vectors."""
    return _thinned(_joined([known, new]), size)


def _joined(parts: list[Pairs]) -> Pairs:
    first, second = (np.concatenate([getattr(part, name) for part in parts]) for name in ("first", "second"))
    similarity = np.concatenate([part.similarity for part in parts])
    order = np.lexsort((second, first))
    return Pairs(first[order], second[order], similarity[order])


def _thinned(pairs: Pairs, size: int) -> Pairs:
    """Leave out pairs that are among the MOST nearest of neither side."""
    ends = np.concatenate([pairs.first, pairs.second])
    if not len(ends) or np.bincount(ends, minlength=size).max() <= MOST:
        return pairs
    order = np.lexsort((-np.concatenate([pairs.similarity, pairs.similarity]), ends))
    rank = np.empty(len(ends), np.int64)
    rank[order] = np.arange(len(ends)) - np.searchsorted(ends[order], ends[order])
    kept = (rank < MOST).reshape(2, -1).any(axis=0)
    return Pairs(pairs.first[kept], pairs.second[kept], pairs.similarity[kept])
