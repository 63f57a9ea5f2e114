"""The searchable form of a gallery at one revision: templates, or identities' means, under a VectorIndex."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexer.records import Embeddings, FloatMatrix, Fusion, Ids
from indexer.search.certified_search import Found
from indexer.search.codes import Codes
from indexer.search.index_kinds import IndexKind, Vectors
from indexer.search.vector_index import VectorIndex

_NO_DIRECTION = 1e-6  # a mean shorter than this points nowhere: its templates cancel each other out


@dataclass(frozen=True, eq=False)
class Entries:
    """What is searched: ids int64 [n], the identity of each int64 [n] (-1: gone), unit vectors float32 [n, D].

    With fusion 'max' an entry is a template under its id; with 'mean' it is an identity under its id.
    """

    ids: Ids
    identity_ids: Ids
    vectors: Vectors
    codes: Codes | None = None


def fuse(embeddings: Embeddings, fusion: Fusion) -> Entries:
    """Return the entries of a gallery's active templates."""
    if fusion == "max":
        return Entries(embeddings.template_ids, embeddings.identity_ids, embeddings.vectors)
    people, first = np.unique(embeddings.identity_ids, return_index=True)
    order = np.argsort(embeddings.identity_ids, kind="stable")
    starts = np.searchsorted(embeddings.identity_ids[order], people)
    vectors = np.empty((len(people), embeddings.vectors.shape[1]), np.float32)
    for row, members in enumerate(np.split(order, starts[1:]) if len(people) else []):
        mean = embeddings.vectors[members].mean(axis=0, dtype=np.float64)
        length = np.linalg.norm(mean)
        vectors[row] = mean / length if length > _NO_DIRECTION else embeddings.vectors[first[row]]
    return Entries(people, people, vectors)


class IdentityIndex:
    """Finds the best identities: an identity's score is that of its best entry. Never changes; made for a revision."""

    def __init__(
        self,
        segments: Sequence[Entries],
        dimension: int,
        previous: "IdentityIndex | None" = None,
        kind: IndexKind = "auto",
    ) -> None:
        """Take segments as they lie; what `previous` prepared for the very same `vectors` is used again."""
        self._index = VectorIndex(dimension, kind)
        for one in segments:
            like = previous._index if previous is not None else None
            self._index.attach(one.ids, one.identity_ids, one.vectors, one.codes, like)

    def search(
        self,
        queries: FloatMatrix,
        k: int,
        *,
        threshold: float | None = None,
        fast: bool = False,
        within: Ids | None = None,
    ) -> Found:
        """For each query the min(k, N) best identities, N those of `within` or all; see `VectorIndex.search`."""
        return self._index.search(queries, k, threshold=threshold, fast=fast, within=within)
