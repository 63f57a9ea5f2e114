"""Searches of a gallery whose right answer is known: to fit a probability to, and to hold a promise against.

Mated ones come from people with several templates: one is taken out and searched for among the rest. Non-mated ones
come from strangers, or from enrolled people who are searched for among all the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.decision.match_probability import CONTEXT, MatchProbability, Reals, context_of, fit_probability
from indexer.gallery import Gallery
from indexer.records import Embeddings, FloatMatrix, Ids

MOST_SEARCHES = 2000
"""Mated searches at most, and as many non-mated ones among the enrolled: enough for a probability to within 2 %."""

_SEARCHES_AT_ONCE = 1024
_BLOCK_SCORES = 2**24


@dataclass(frozen=True, eq=False)
class KnownSearches:
    """Searches [n] and their answers.

    `similarities` of the best candidates and `contexts` (`match_probability.context_of`) float64; `mated` whether the
    person was enrolled, `right` whether the best candidate is that person; `persons` who was searched for.
    """

    similarities: Reals
    contexts: Reals
    mated: NDArray[np.bool_]
    right: NDArray[np.bool_]
    persons: Ids

    def __len__(self) -> int:
        return len(self.similarities)

    def only(self, chosen: NDArray[np.bool_]) -> "KnownSearches":
        """Return some of the searches [n]."""
        return KnownSearches(
            self.similarities[chosen],
            self.contexts[chosen],
            self.mated[chosen],
            self.right[chosen],
            self.persons[chosen],
        )


def both(first: KnownSearches, second: KnownSearches) -> KnownSearches:
    """Return the searches of both; their persons are taken for different people."""
    shift = first.persons.max(initial=-1) + 1
    return KnownSearches(
        np.concatenate([first.similarities, second.similarities]),
        np.concatenate([first.contexts, second.contexts]),
        np.concatenate([first.mated, second.mated]),
        np.concatenate([first.right, second.right]),
        np.concatenate([first.persons, second.persons + shift]),
    )


def stranger_searches(gallery: Gallery, vectors: FloatMatrix, persons: Ids) -> KnownSearches:
    """Search vectors [n, D] of people [n] who are known not to be enrolled."""
    similarities = []
    for start in range(0, len(vectors), _SEARCHES_AT_ONCE):
        found = gallery.search(vectors[start : start + _SEARCHES_AT_ONCE], 1 + CONTEXT)
        similarities += [[one.similarity for one in result.candidates] for result in found]
    nobody = np.zeros(len(vectors), np.bool_)
    return KnownSearches(
        np.array([one[0] for one in similarities]),
        np.array([context_of(one) for one in similarities]),
        nobody,
        nobody,
        persons,
    )


def mated_searches(gallery: Gallery, seed: int = 0) -> KnownSearches:
    """Take one template of up to MOST_SEARCHES people who have several, and search for it among all the rest."""
    embeddings = gallery.embeddings()
    people, first, count = np.unique(embeddings.identity_ids, return_index=True, return_counts=True)
    chosen = _some(np.flatnonzero(count > 1), seed)
    rows = first[chosen]
    return _own_searches(gallery, embeddings, rows, people[chosen], own_person=True)


def enrolled_as_strangers(gallery: Gallery, apart: Ids, seed: int = 0) -> KnownSearches:
    """Search for one template of up to MOST_SEARCHES people among all other people; `apart` [m] are left out."""
    embeddings = gallery.embeddings()
    people, first = np.unique(embeddings.identity_ids, return_index=True)
    chosen = _some(np.flatnonzero(~np.isin(people, apart)), seed)
    return _own_searches(gallery, embeddings, first[chosen], people[chosen], own_person=False)


def probability_of(searches: KnownSearches) -> MatchProbability:
    """Fit the probability to these searches; raises CalibrationError for too few."""
    return fit_probability(searches.similarities, searches.contexts, searches.mated, searches.right)


def _some(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(rows)[:MOST_SEARCHES])


def _own_searches(
    gallery: Gallery, embeddings: Embeddings, rows: NDArray[np.int64], persons: Ids, *, own_person: bool
) -> KnownSearches:
    """Search the templates in these rows without themselves, or (`own_person` false) without their whole person."""
    similarities, contexts, right = np.empty(len(rows)), np.empty(len(rows)), np.zeros(len(rows), np.bool_)
    for start, best, people in _person_scores(gallery, embeddings, rows, own_person=own_person):
        order = np.argsort(-best, axis=1)[:, : 1 + CONTEXT]
        ranked = np.take_along_axis(best, order, axis=1)
        for place, (one, who) in enumerate(zip(ranked, people[order[:, 0]], strict=True), start=start):
            similarities[place] = one[0]
            contexts[place] = context_of(one[np.isfinite(one)])
            right[place] = own_person and who == persons[place]
    return KnownSearches(similarities, contexts, np.full(len(rows), own_person), right, persons)


def _person_scores(
    gallery: Gallery, embeddings: Embeddings, rows: NDArray[np.int64], *, own_person: bool
) -> Iterator[tuple[int, Reals, Ids]]:
    """Yield blocks of scores [b, N] of rows against people (ids ascending), each row's own template left out.

    With fusion 'max' a person scores as the best template; with 'mean' as the direction of the mean of the others.
    """
    order = np.argsort(embeddings.identity_ids, kind="stable")
    vectors, owners = embeddings.vectors[order], embeddings.identity_ids[order]
    people, starts = np.unique(owners, return_index=True)
    place = np.argsort(order)[rows]
    sums = np.add.reduceat(vectors, starts, axis=0, dtype=np.float64) if gallery.fusion == "mean" else None
    step = max(1, _BLOCK_SCORES // len(vectors))
    for start in range(0, len(rows), step):
        own = place[start : start + step]
        column = np.searchsorted(people, owners[own])
        here = np.arange(len(own))
        if sums is None:
            scores = (vectors[own] @ vectors.T).astype(np.float64)
            scores[here, own] = -np.inf
            best = np.maximum.reduceat(scores, starts, axis=1)
        else:
            means = sums / np.linalg.norm(sums, axis=1, keepdims=True)
            best = vectors[own].astype(np.float64) @ means.T
            others = sums[column] - vectors[own]
            length = np.linalg.norm(others, axis=1)
            best[here, column] = np.einsum("ij,ij->i", others, vectors[own]) / np.maximum(length, 1e-6)
        if not own_person:
            best[here, column] = -np.inf
        yield start, best, people
