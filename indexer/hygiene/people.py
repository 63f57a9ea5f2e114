"""A gallery's templates person by person, and how a template scores against the mean of a person's other templates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.hygiene.explanations import Reals
from indexer.records import Embeddings, FloatMatrix, Ids

COMPARED_WITH = "mean"
"""The fusion that a person's other templates are compared by here, whatever the gallery's own is."""

_BLOCK = 1 << 16  # templates at a time
_NO_DIRECTION = 1e-6


@dataclass(frozen=True, eq=False)
class People:
    """Templates in order of person: ids int64 [n], vectors [n, D], and the number `person` int64 [n] of each one's.

    `identity_ids` int64 [M] are the people; the templates of person p are `counts[p]` from `starts[p]` on. `sums`
    float32 [M, D] adds their vectors up.
    """

    ids: Ids
    vectors: FloatMatrix
    person: Ids
    identity_ids: Ids
    starts: Ids
    counts: Ids
    sums: FloatMatrix

    def templates_of(self, person: int) -> NDArray[np.int64]:
        """Return the rows of one person's templates."""
        return np.arange(self.starts[person], self.starts[person] + self.counts[person])


def gather(embeddings: Embeddings) -> People:
    """Sort a gallery's templates by person."""
    order = np.argsort(embeddings.identity_ids, kind="stable")
    identity_ids, starts, counts = np.unique(embeddings.identity_ids[order], return_index=True, return_counts=True)
    vectors = embeddings.vectors[order]
    sums = np.add.reduceat(vectors, starts, axis=0) if len(starts) else vectors[:0]
    person = np.repeat(np.arange(len(counts)), counts)
    return People(embeddings.template_ids[order], vectors, person, identity_ids, starts, counts, sums)


def against_others(people: People, rows: Ids, seats: Ids) -> Reals:
    """Return the cosine of each template of `rows` [m] and the mean of a person's templates without that of `seats`.

    `seats` [m] names the person by one of its templates, which is left out: rows == seats gives each template against
    the rest of its own person, other ones what a template would score in another person's place. NaN where nothing is
    left.
    """
    scores = np.full(len(rows), np.nan)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        rest = people.sums[people.person[seats[block]]] - people.vectors[seats[block]]
        length = np.linalg.norm(rest, axis=1)
        some = (people.counts[people.person[seats[block]]] > 1) & (length > _NO_DIRECTION)
        products = np.einsum("nd,nd->n", rest, people.vectors[rows[block]])
        scores[block] = np.where(some, products / np.maximum(length, _NO_DIRECTION), np.nan)
    return scores


def without(people: People, left_out: NDArray[np.bool_]) -> People:
    """Return the people without some templates, bool [n]; who has none left is gone."""
    kept = ~left_out
    return gather(Embeddings(people.ids[kept], people.identity_ids[people.person[kept]], people.vectors[kept]))


def directions(people: People) -> FloatMatrix:
    """Return each person's mean as a unit vector, float32 [M, D]; the first template where it has no direction."""
    lengths = np.linalg.norm(people.sums, axis=1, keepdims=True)
    means = np.where(
        lengths > _NO_DIRECTION, people.sums / np.maximum(lengths, _NO_DIRECTION), people.vectors[people.starts]
    )
    unit: FloatMatrix = means.astype(np.float32)
    return unit
