"""The searchable form of a gallery at one revision: templates, or identities' means, under a VectorIndex."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from indexer.records import Embeddings, FloatMatrix, Fusion, Ids
from indexer.vector_index import VectorIndex

_NO_DIRECTION = 1e-6  # a mean shorter than this points nowhere: its templates cancel each other out


@dataclass(frozen=True, eq=False)
class Entries:
    """What is searched: ids int64 [n], the identity of each int64 [n], unit vectors float32 [n, D].

    With fusion 'max' an entry is a template under its id; with 'mean' it is an identity under its id.
    """

    ids: Ids
    identity_ids: Ids
    vectors: FloatMatrix


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
    """Finds the best identities: an identity's score is that of its best entry."""

    def __init__(self, entries: Entries, dimension: int) -> None:
        self._index = VectorIndex(dimension)
        self._index.add(entries.ids, entries.vectors)
        self._owners = entries.identity_ids

    @property
    def entries(self) -> Entries:
        """What is in the index, in order of id."""
        ids = self._index.ids
        order = slice(None) if (np.diff(ids) > 0).all() else np.argsort(ids)
        return Entries(ids[order], self._owners[order], self._index.vectors[order])

    def refresh(self, ids: Ids, identity_ids: Ids, vectors_of: Callable[[Ids], FloatMatrix]) -> None:
        """Hold exactly the entries ids [n] (ascending) of identity_ids [n]; vectors are asked for the new ones only.

        An entry that stays keeps its vector: a template's vector never changes under one model.
        """
        gone = np.setdiff1d(self._index.ids, ids)
        if len(gone):
            self._index.remove(gone)
        fresh = np.setdiff1d(ids, self._index.ids)
        if len(fresh):
            self._index.add(fresh, vectors_of(fresh))
        self._owners = identity_ids[np.searchsorted(ids, self._index.ids)]

    def search(self, queries: FloatMatrix, k: int) -> tuple[list[Ids], list[FloatMatrix]]:
        """For each query [D] the min(k, N) best identities and their canonical scores, ties by the smaller id."""
        people = len(np.unique(self._owners))
        found: list[tuple[Ids, FloatMatrix]] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
        open_rows, width = np.arange(len(queries) if people else 0), k + 1
        sorter = np.argsort(self._index.ids)
        while len(open_rows):
            ids, scores = self._index.search(queries[open_rows], width)
            owners = self._owners[sorter[np.searchsorted(self._index.ids, ids, sorter=sorter)]]
            everything = ids.shape[1] == len(self._index)
            unproven = []
            for place, row in enumerate(open_rows):
                best, best_scores = _first_of_each(owners[place], scores[place])
                # A person outside the list, or tied at its end, may still belong among the k.
                if everything or (len(best) >= k and best_scores[k - 1] > scores[place, -1]):
                    found[row] = best[:k], best_scores[:k]
                else:
                    unproven.append(row)
            open_rows, width = np.array(unproven, np.int64), width * 4
        return [one[0] for one in found], [one[1] for one in found]


def _first_of_each(owners: Ids, scores: FloatMatrix) -> tuple[Ids, FloatMatrix]:
    """Each owner once with its best score, best first, ties by owner; scores come sorted, best first."""
    people, first = np.unique(owners, return_index=True)
    order = np.lexsort((people, -scores[first]))
    return people[order], scores[first][order]
