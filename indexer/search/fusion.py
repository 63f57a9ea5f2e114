"""What a gallery's templates are searched as: themselves ('max'), or each identity's mean ('mean')."""

import numpy as np
from numpy.typing import NDArray

from indexer.fusion import Fusion
from indexer.records import Embeddings, FloatMatrix
from indexer.search.certified_search import Part
from indexer.search.shortlist import Segment

_PEOPLE = 4096  # whose means are computed at a time
_NO_DIRECTION = 1e-6  # a mean shorter than this points nowhere: its templates cancel each other out


def fuse(embeddings: Embeddings, fusion: Fusion) -> Part:
    """Return the rows that are searched: a template under its id, or with 'mean' an identity under its id."""
    if fusion == "max":
        return Part(Segment(embeddings.template_ids, embeddings.vectors), embeddings.identity_ids)
    owners = embeddings.identity_ids
    order = np.argsort(owners, kind="stable")
    people, starts = np.unique(owners[order], return_index=True)
    ends = np.append(starts[1:], len(owners))
    vectors = np.empty((len(people), embeddings.vectors.shape[1]), np.float32)
    for first in range(0, len(people), _PEOPLE):
        rows = slice(first, first + _PEOPLE)
        begin, end = starts[rows][0], ends[rows][-1]
        vectors[rows] = _means(embeddings.vectors[order[begin:end]], starts[rows] - begin)
    return Part(Segment(people, vectors), people)


def _means(vectors: FloatMatrix, starts: NDArray[np.int64]) -> FloatMatrix:
    """Return the directions [p, D] of the means of vectors [n, D] from each start to the next.

    A person's is the same whoever else is in the batch: rows are added one after the other.
    """
    sums = np.add.reduceat(vectors, starts, axis=0, dtype=np.float64)
    means = sums / np.diff(starts, append=len(vectors))[:, None]
    lengths = np.sqrt((means * means).sum(axis=1))
    nowhere = lengths <= _NO_DIRECTION
    lengths[nowhere], means[nowhere] = 1, vectors[starts[nowhere]]
    directions: FloatMatrix = (means / lengths[:, None]).astype(np.float32)
    return directions
