"""What a gallery's templates are searched as: themselves ('max'), or each identity's mean ('mean')."""

import numpy as np

from indexer.fusion import Fusion
from indexer.records import Embeddings
from indexer.search.certified_search import Part
from indexer.search.shortlist import Segment

_NO_DIRECTION = 1e-6  # a mean shorter than this points nowhere: its templates cancel each other out


def fuse(embeddings: Embeddings, fusion: Fusion) -> Part:
    """Return the rows that are searched: a template under its id, or with 'mean' an identity under its id."""
    if fusion == "max":
        return Part(Segment(embeddings.template_ids, embeddings.vectors), embeddings.identity_ids)
    people, first = np.unique(embeddings.identity_ids, return_index=True)
    order = np.argsort(embeddings.identity_ids, kind="stable")
    starts = np.searchsorted(embeddings.identity_ids[order], people)
    vectors = np.empty((len(people), embeddings.vectors.shape[1]), np.float32)
    for row, members in enumerate(np.split(order, starts[1:]) if len(people) else []):
        mean = embeddings.vectors[members].mean(axis=0, dtype=np.float64)
        length = np.linalg.norm(mean)
        vectors[row] = mean / length if length > _NO_DIRECTION else embeddings.vectors[first[row]]
    return Part(Segment(people, vectors), people)
