"""Templates of crops that show no face, and of one photo enrolled twice: by what the network makes of drawn examples.

Broken crops (black, flat, cut off, blurred away) embed alike. The caller draws some and embeds them with the gallery's
model, and embeds faces twice with small changes: a gallery holds vectors only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.hygiene.explanations import Reals, explain_from
from indexer.hygiene.nearest import nearest_owners, searchable
from indexer.hygiene.people import People
from indexer.records import FloatVector, Ids
from indexer.search.scores import canonical_scores

SAME_PHOTO = 0.95
"""Below it two photos are never called one: networks differ in what they make of copies of drawn faces."""

_AT_ONCE = 2048  # templates of one person that are compared with each other at a time


@dataclass(frozen=True, eq=False)
class Broken:
    """For each template, float64 [n]: the best score against a broken crop, and the probability of being one."""

    similarity: Reals
    probability: Reals


@dataclass(frozen=True, eq=False)
class SamePhotos:
    """Templates `first` and `second` int64 [p] (rows) of one person: how alike, and how probably of one photo."""

    first: Ids
    second: Ids
    similarity: Reals
    probability: Reals


def find_broken(people: People, broken: NDArray[np.float32]) -> Broken:
    """Compare every template with vectors [k, m, D] of k kinds of broken crops.

    Each of these with those of other kinds is the example: what is broken in a gallery is of no kind that was drawn.
    """
    kinds, each, dimension = broken.shape
    flat = broken.reshape(-1, dimension)
    nearest = nearest_owners(searchable(flat, np.arange(len(flat))), people.vectors, 1).scores[:, 0].astype(np.float64)
    kind = np.repeat(np.arange(kinds), each)
    among = np.where(kind[:, None] != kind, flat @ flat.T, -1).max(axis=1).astype(np.float64)
    probability = explain_from(nearest[:, None], [among[:, None]])[:, 1]
    # A score below the middle of all is no sign of anything, whatever the squares of the law say.
    return Broken(nearest, np.where(nearest > np.median(nearest), probability, 0.0))


def find_same_photos(people: People, same_photo: FloatVector) -> SamePhotos:
    """Compare each template with the nearest of its person; `same_photo` has scores of photos against their copies."""
    rows, nearest, scores = _nearest_inside(people)
    low, high = np.minimum(rows, nearest), np.maximum(rows, nearest)
    pairs, once = np.unique(np.stack([low, high]), axis=1, return_index=True)
    similarity = scores[once]
    if not len(once):
        return SamePhotos(pairs[0], pairs[1], similarity, similarity)
    probability = explain_from(similarity[:, None], [same_photo.astype(np.float64)[:, None]])[:, 1]
    return SamePhotos(pairs[0], pairs[1], similarity, np.where(similarity >= SAME_PHOTO, probability, 0.0))


def _nearest_inside(people: People) -> tuple[Ids, Ids, Reals]:
    """Return the templates of people with several, the nearest of the same person, and the canonical score."""
    rows, nearest = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for person in np.flatnonzero(people.counts > 1).tolist():
        mine = people.templates_of(person)
        for start in range(0, len(mine), _AT_ONCE):
            some = mine[start : start + _AT_ONCE]
            scores = people.vectors[some] @ people.vectors[mine].T
            scores[np.arange(len(some)), start + np.arange(len(some))] = -2
            rows.append(some)
            nearest.append(mine[scores.argmax(axis=1)])
    first, second = np.concatenate(rows), np.concatenate(nearest)
    return first, second, canonical_scores(people.vectors[first], people.vectors[second]).astype(np.float64)
