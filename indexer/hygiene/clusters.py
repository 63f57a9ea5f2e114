"""Faces into people without names: Chinese whispers on the pairs that are near (Biemann 2006).

Every face begins as a person of its own. In a seeded order each takes the person to whom its neighbours add up to the
most similarity, until nothing changes. One chance likeness between two people does not join them, as it does in
connected components and DBSCAN, where such chains grow with the number of faces. Two faces on one photo are two people.
"""

from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from indexer.compiled import compiled
from indexer.hygiene.explanations import Reals
from indexer.hygiene.graph import Pairs
from indexer.records import Ids

ROUNDS = 20

UNCLEAR = 0.5
"""A face is unclear where another person has more than this share of what its own adds up to."""

_NAMELESS = -1  # is no label: a face whose own number is another person's gives theirs -2 - number


@dataclass(frozen=True, eq=False)
class Clusters:
    """Of n faces: `labels` int64 [n], a number that each person keeps, and bool [n] whether it is unclear."""

    labels: Ids
    unclear: NDArray[np.bool_]


def cluster(pairs: Pairs, photos: Ids, before: Ids | None = None, *, seed: int = 0) -> Clusters:
    """Sort faces, which lie on `photos` int64 [n], into people.

    `before` int64 [m] are the labels of the first m faces by an earlier run: they are where it begins, and faces that
    are joined to no new one keep theirs. A person's label is that of before, or else the smallest number of its faces.
    """
    size = len(photos)
    start = np.arange(size)
    if before is not None:
        start[: len(before)] = before
    starts, neighbours, weights = _rows(pairs, size)
    asked = _touched(pairs, size, 0 if before is None else len(before))
    order = np.random.default_rng(np.random.PCG64(seed)).permutation(asked)
    photo_starts, photo_faces = _by_photo(photos)
    _, labels = np.unique(start, return_inverse=True)  # places in an array of sums
    labels = labels.astype(np.int64)
    _whisper(starts, neighbours, weights, photos, photo_starts, photo_faces, order, labels, ROUNDS)
    own, other = _claims(starts, neighbours, weights, labels)
    return Clusters(_named(labels, start, len(before) if before is not None else 0), other > UNCLEAR * own)


def _rows(pairs: Pairs, size: int) -> tuple[Ids, Ids, Reals]:
    """Return the pairs as rows of neighbours: where each face's begin [n + 1], the neighbours and their weights."""
    one = np.concatenate([pairs.first, pairs.second])
    other = np.concatenate([pairs.second, pairs.first])
    weight = np.concatenate([pairs.similarity, pairs.similarity]).astype(np.float64)
    order = np.lexsort((other, one))
    return np.searchsorted(one[order], np.arange(size + 1)), other[order], weight[order]


def _touched(pairs: Pairs, size: int, known: int) -> Ids:
    """Return the faces of the components that hold a new one, ascending."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs.first), np.int8), (pairs.first, pairs.second)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    return np.flatnonzero(np.isin(component, component[known:]))


def _by_photo(photos: Ids) -> tuple[Ids, Ids]:
    """Return where the faces of each photo begin in a list of faces by photo, and that list."""
    faces = np.argsort(photos, kind="stable")
    return np.searchsorted(photos[faces], np.arange(photos.max(initial=-1) + 2)), faces


@compiled()
def _whisper(
    starts: Ids,
    neighbours: Ids,
    weights: Reals,
    photos: Ids,
    photo_starts: Ids,
    photo_faces: Ids,
    order: Ids,
    labels: Ids,
    rounds: int,
) -> None:
    """Let each face in `order` take its neighbours' strongest label, the smaller of equals, until none changes."""
    sums = np.zeros(len(labels))
    for _ in range(rounds):
        changed = False
        for face in order:
            for at in range(starts[face], starts[face + 1]):
                sums[labels[neighbours[at]]] += weights[at]
            photo = photos[face]
            for at in range(photo_starts[photo], photo_starts[photo + 1]):
                if photo_faces[at] != face:
                    sums[labels[photo_faces[at]]] = 0.0
            best, most = labels[face], 0.0
            for at in range(starts[face], starts[face + 1]):
                label = labels[neighbours[at]]
                if sums[label] > most or (sums[label] == most > 0 and label < best):
                    best, most = label, sums[label]
            for at in range(starts[face], starts[face + 1]):
                sums[labels[neighbours[at]]] = 0.0
            if best != labels[face]:
                labels[face] = best
                changed = True
        if not changed:
            break


@compiled()
def _claims(starts: Ids, neighbours: Ids, weights: Reals, labels: Ids) -> tuple[Reals, Reals]:
    """Return what each face's own person adds up to among its neighbours, and the strongest other one."""
    size = len(labels)
    own, other = np.zeros(size), np.zeros(size)
    sums = np.zeros(size)
    for face in range(size):
        for at in range(starts[face], starts[face + 1]):
            sums[labels[neighbours[at]]] += weights[at]
        for at in range(starts[face], starts[face + 1]):
            label = labels[neighbours[at]]
            if label == labels[face]:
                own[face] = sums[label]
            elif sums[label] > other[face]:
                other[face] = sums[label]
        for at in range(starts[face], starts[face + 1]):
            sums[labels[neighbours[at]]] = 0.0
    return own, other


def _named(labels: Ids, start: Ids, known: int) -> Ids:
    """Give each person a label that lasts: the commonest of before among its faces, or else its smallest face.

    Where two persons had the same one before (one was split), the larger part keeps it.
    """
    people, person = np.unique(labels, return_inverse=True)
    names = np.full(len(people), _NAMELESS, np.int64)
    pairs, counts = np.unique(np.stack([person[:known], start[:known]]), axis=1, return_counts=True)
    taken: set[int] = set()
    for place in np.lexsort((pairs[1], pairs[0], -counts)).tolist():
        one, name = int(pairs[0, place]), int(pairs[1, place])
        if names[one] == _NAMELESS and name not in taken:
            names[one] = name
            taken.add(name)
    smallest = np.full(len(people), len(labels), np.int64)
    np.minimum.at(smallest, person, np.arange(len(labels)))
    for one in np.flatnonzero(names == _NAMELESS).tolist():
        free = int(smallest[one])
        # That face may have left the person whom it gave its number, and once more since.
        names[one] = next(name for name in chain([free, -2 - free], range(len(labels))) if name not in taken)
        taken.add(int(names[one]))
    named: Ids = names[person]
    return named
