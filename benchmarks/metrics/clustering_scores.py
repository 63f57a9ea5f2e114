"""How well clusters are people: pairwise and BCubed precision, recall and F, with intervals clustered by person.

BCubed (Bagga & Baldwin 1998; Amigo et al. 2009): of a face, precision is the share of its cluster that is its person,
recall the share of its person that is in its cluster; both are averaged over faces. Pairwise: of the pairs of faces in
one cluster, the share of one person, and of the pairs of one person the share in one cluster. F is the harmonic mean.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.results.results import Measure
from indexer.records import Ids

REPLICATES = 1000
SEED = 20161120
MIN_PEOPLE = 10
SAME = 1e-9  # bounds that are not further apart differ by rounding alone

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class ClusteringScores:
    """Six measures, each with its 95 % interval."""

    bcubed_precision: Measure
    bcubed_recall: Measure
    bcubed_f: Measure
    pair_precision: Measure
    pair_recall: Measure
    pair_f: Measure


def clustering_scores(clusters: Ids, people: Ids, replicates: int = REPLICATES, seed: int = SEED) -> ClusteringScores:
    """Compare clusters int64 [n] with people int64 [n], n >= 1.

    Intervals are a Poisson bootstrap over people: all faces of a person come in together, never, once, twice; a pair of
    two people has the product of their weights. None for fewer than MIN_PEOPLE people, and where all replicates agree
    (no error at all): who is drawn anew says nothing then of errors that were not seen.
    """
    table = _Table.of(clusters, people)
    found = table.measures(np.ones(len(table.person_sizes)))
    if len(table.person_sizes) < MIN_PEOPLE:
        return ClusteringScores(*(Measure(float(value), None) for value in found))
    random = np.random.default_rng(seed)
    drawn = np.stack(
        [table.measures(random.poisson(1, len(table.person_sizes)).astype(float)) for _ in range(replicates)]
    )
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    measures = zip(found.tolist(), low.tolist(), high.tolist(), strict=True)
    return ClusteringScores(
        *(Measure(value, (one, other) if other - one > SAME else None) for value, one, other in measures)
    )


@dataclass(frozen=True, eq=False)
class _Table:
    """The cells that are not empty of clusters against people: their numbers and how many faces each has."""

    cluster: Ids
    person: Ids
    count: Reals
    cluster_sizes: Reals
    person_sizes: Reals

    @classmethod
    def of(cls, clusters: Ids, people: Ids) -> "_Table":
        _, cluster = np.unique(clusters, return_inverse=True)
        _, person = np.unique(people, return_inverse=True)
        cells, count = np.unique(np.stack([cluster, person]), axis=1, return_counts=True)
        sizes = np.bincount(cluster).astype(float), np.bincount(person).astype(float)
        return cls(cells[0], cells[1], count.astype(float), *sizes)

    def measures(self, weights: Reals) -> Reals:
        """Return the six measures, float64 [6], with people weighted [people]."""
        weight = weights[self.person]
        faces = (weight * self.count).sum()
        precision = (weight * self.count**2 / self.cluster_sizes[self.cluster]).sum() / faces
        recall = (weight * self.count**2 / self.person_sizes[self.person]).sum() / faces
        together = (weight * _pairs(self.count)).sum()
        drawn = np.bincount(self.cluster, weight * self.count)
        of_two = (drawn**2 - np.bincount(self.cluster, (weight * self.count) ** 2)).sum() / 2
        of_one = (weights * _pairs(self.person_sizes)).sum()
        pair_precision = _share(together, together + of_two)
        pair_recall = _share(together, of_one)
        return np.array(
            [precision, recall, _f(precision, recall), pair_precision, pair_recall, _f(pair_precision, pair_recall)]
        )


def _pairs(count: Reals) -> Reals:
    answer: Reals = count * (count - 1) / 2
    return answer


def _share(part: float, whole: float) -> float:
    """Return the share; 1 of nothing: no pair is wrong where there is none."""
    return part / whole if whole else 1.0


def _f(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
