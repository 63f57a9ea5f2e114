"""Errors by group at one threshold for all (ISO/IEC 19795-10): who is falsely accepted or rejected more often.

Groups are given, never inferred, and no threshold depends on them. FMR: pairs of two people of one group. FNMR: pairs
of one person. FPIR and FNIR: half of the people, drawn, are enrolled with one photo each and everybody else searched;
the group is that of the person searched for. Every rate has its counts and an interval clustered by person; a group
with too few trials for the rate (rule of three) says so instead.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.bootstrap import Interval, rate_interval
from benchmarks.metrics.rates import rate, require_support
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.photo_rows import listed_twice
from benchmarks.results.results import DifferentialRow, GroupRow, Rate, Results
from faceid.feature_set import FeatureSet
from indexer.decision.decision import RULE_OF_THREE, threshold_at
from indexer.records import FloatMatrix, FloatVector, Ids
from indexer.text import counted

REPLICATES = 1000
SEED = 20161120
FEWEST_PEOPLE = 10

_BLOCK = 2048
_SAMPLE = 500  # rows whose pairs tell where the largest scores begin
_MARGIN = 3  # times as many scores are kept as the rate needs

Groups = Mapping[str, NDArray[np.str_]]
"""For each attribute the group of each row, '' where it is not known."""


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of two people with the largest scores: rows `first` < `second` int64 [p] and scores float32 [p]."""

    first: Ids
    second: Ids
    scores: FloatVector


def group_errors(features: FeatureSet, groups: Groups, far: float, fpir: float, name: str, seed: int = 0) -> Results:
    """Measure the errors of each group of each attribute at the thresholds of `far` and `fpir` over everybody.

    Raises ProtocolError where no row has a group, UnsupportedRate where even all trials are too few.
    """
    vectors = np.asarray(features.features)
    people = _people(features)
    if not any((column != "").any() for column in groups.values()):
        raise ProtocolError(f"{features.source}: none of its photos is among those with a group")
    sizes = np.bincount(people).astype(np.int64)
    trials = _pairs_of_two(len(people), sizes)
    require_support(far, trials, "pairs of two people")
    near = _largest(vectors, people, far, trials)
    at_far = threshold_at(np.sort(near.scores)[::-1], trials, far)
    accepted = near.scores >= at_far
    first, second = near.first[accepted], near.second[accepted]
    searches = _searches(vectors, people, fpir, seed)
    rows: list[GroupRow] = []
    for attribute, column in groups.items():
        for group in np.unique(column[column != ""]).tolist():
            members = column == group
            within = members[first] & members[second]
            rows.append(
                GroupRow(
                    attribute,
                    group,
                    len(np.unique(people[members])),
                    _pair_rate(people[first[within]], people[second[within]], people[members], far),
                    _mated_rate(vectors, people, members, at_far),
                    *searches.rates(members, fpir),
                )
            )
    return Results(
        protocol="groups",
        name=name,
        conventions={
            "thresholds": f"one for all: {at_far:.4f} at FAR {far:g} over {trials:,} pairs of two people,"
            f" {searches.threshold:.4f} at FPIR {fpir:g} over {len(searches.strangers):,} searches of"
            f" {searches.enrolled:,} people",
            "FMR": "pairs of two people of the group",
            "FPIR, FNIR": "half of the people enrolled with one photo, the group of who is searched for",
            "ci95_clustered": "bootstrap over people, 1,000 replicates, thresholds held",
            "ratio": "of the largest to the geometric mean, groups with enough trials",
        },
        groups=tuple(rows),
        differentials=tuple(_differentials(rows)),
        notes=(*features.notes, *listed_twice(features), *_notes(features, groups)),
    )


def _notes(features: FeatureSet, groups: Groups) -> Iterator[str]:
    """Say what the figures take for granted, and whom they are not about."""
    if nameless := int((features.labels == "").sum()):
        yield f"{counted(nameless, 'photo', 'photos')} without a name: each counts as one more person"
    for attribute, column in groups.items():
        if missing := int((column == "").sum()):
            yield f"{attribute}: {missing:,} of {len(column):,} photos are of no known group"


def _people(features: FeatureSet) -> Ids:
    """Return the number of each row's person; a photo without a label is somebody by itself."""
    alone = np.array([f"\0{row}" for row in range(len(features))])
    return np.unique(np.where(features.labels == "", alone, features.labels), return_inverse=True)[1].astype(np.int64)


def _pairs_of_two(rows: int, sizes: Ids) -> int:
    return rows * (rows - 1) // 2 - int((sizes * (sizes - 1) // 2).sum())


def _largest(vectors: FloatMatrix, people: Ids, far: float, trials: int) -> _Pairs:
    """Return all pairs of two people above a similarity that more of them reach than `far` allows."""
    some = np.random.default_rng(SEED).permutation(len(vectors))[:_SAMPLE]
    scores = vectors[some] @ vectors.T
    scores[people[some][:, None] == people[None, :]] = -2
    floor = np.quantile(scores, max(0.0, 1 - _MARGIN * far - 20 / scores.size))
    while True:
        pairs = _above(vectors, people, float(floor))
        if len(pairs.scores) > far * trials + 1 or floor < -1:
            return pairs
        floor -= 0.05


def _above(vectors: FloatMatrix, people: Ids, floor: float) -> _Pairs:
    found: list[tuple[Ids, Ids, FloatVector]] = []
    for low in range(0, len(vectors), _BLOCK):
        for left in range(0, low + 1, _BLOCK):
            scores = vectors[low : low + _BLOCK] @ vectors[left : left + _BLOCK].T
            second, first = np.nonzero(scores >= floor)
            kept = (first + left < second + low) & (people[first + left] != people[second + low])
            found.append((first[kept] + left, second[kept] + low, scores[second[kept], first[kept]]))
    first, second, scores = (np.concatenate(column) for column in zip(*found, strict=True))
    return _Pairs(first, second, scores)


def _pair_rate(first: Ids, second: Ids, members: Ids, far: float) -> Rate | None:
    """Return the share of the group's pairs of two people that are accepted: `first`, `second` [hits] are people."""
    names, sizes = np.unique(members, return_counts=True)
    trials = _pairs_of_two(len(members), sizes)
    if trials * far < RULE_OF_THREE:
        return None
    return rate(
        len(first), trials, _pair_interval(np.searchsorted(names, first), np.searchsorted(names, second), sizes)
    )


def _pair_interval(first: Ids, second: Ids, sizes: Ids) -> Interval | None:
    """Return the interval of a rate of pairs: a pair has the product of its two people's weights."""
    if len(sizes) < FEWEST_PEOPLE or not len(first):
        return None
    random = np.random.default_rng(SEED)
    shares = np.empty(REPLICATES)
    for replicate in range(REPLICATES):
        weights = random.poisson(1, len(sizes)).astype(float)
        drawn = weights * sizes
        trials = (drawn.sum() ** 2 - (drawn**2).sum()) / 2
        shares[replicate] = (weights[first] * weights[second]).sum() / max(trials, 1.0)
    low, high = np.percentile(shares, [2.5, 97.5]).tolist()
    return low, high


def _mated_rate(vectors: FloatMatrix, people: Ids, members: NDArray[np.bool_], threshold: float) -> Rate | None:
    """Return FNMR of the group's pairs of photos of one person; None without any."""
    misses: list[NDArray[np.bool_]] = []
    whose: list[Ids] = []
    counts = np.bincount(people[members])
    for person in np.flatnonzero(counts > 1).tolist():
        mine = vectors[members & (people == person)]
        rows, columns = np.triu_indices(len(mine), 1)
        misses.append(np.einsum("nd,nd->n", mine[rows], mine[columns]) < threshold)
        whose.append(np.full(len(rows), person))
    if not misses:
        return None
    missed = np.concatenate(misses)
    return rate(int(missed.sum()), len(missed), rate_interval(missed, np.concatenate(whose)))


@dataclass(frozen=True, eq=False)
class _Searches:
    """Searches of the photos that are not enrolled: their rows, whether false alarms, and misses of the mated."""

    people: Ids
    enrolled: int
    threshold: float
    strangers: Ids
    alarms: NDArray[np.bool_]
    mated: Ids
    missed: NDArray[np.bool_]

    def rates(self, members: NDArray[np.bool_], fpir: float) -> tuple[Rate | None, Rate | None]:
        """Return FPIR and FNIR of a group; None for too few trials."""
        false, missed = members[self.strangers], members[self.mated]
        alarms, misses = self.alarms[false], self.missed[missed]
        fpir_rate = fnir_rate = None
        if len(alarms) * fpir >= RULE_OF_THREE:
            fpir_rate = rate(int(alarms.sum()), len(alarms), rate_interval(alarms, self.people[self.strangers[false]]))
        if len(misses):
            fnir_rate = rate(int(misses.sum()), len(misses), rate_interval(misses, self.people[self.mated[missed]]))
        return fpir_rate, fnir_rate


def _searches(vectors: FloatMatrix, people: Ids, fpir: float, seed: int) -> _Searches:
    """Enrol half of the people with one photo, and search for everything else."""
    names, first = np.unique(people, return_index=True)
    chosen = np.random.default_rng(seed).permutation(len(names))[: len(names) // 2]
    gallery, owners = first[chosen], names[chosen]
    probes = np.setdiff1d(np.arange(len(people)), gallery)
    best, whose = np.empty(len(probes), np.float32), np.empty(len(probes), np.int64)
    for start in range(0, len(probes), _BLOCK):
        block = slice(start, start + _BLOCK)
        scores = vectors[probes[block]] @ vectors[gallery].T
        place = scores.argmax(axis=1)
        best[block], whose[block] = scores[np.arange(len(place)), place], owners[place]
    mated = np.isin(people[probes], owners)
    require_support(fpir, int((~mated).sum()), "searches of people who are not enrolled")
    threshold = threshold_at(np.sort(best[~mated])[::-1], int((~mated).sum()), fpir)
    missed = (best[mated] < threshold) | (whose[mated] != people[probes[mated]])
    return _Searches(people, len(chosen), threshold, probes[~mated], best[~mated] >= threshold, probes[mated], missed)


def _differentials(rows: Sequence[GroupRow]) -> Iterator[DifferentialRow]:
    """Yield for each attribute and rate how unequal the groups are."""
    for attribute in dict.fromkeys(row.attribute for row in rows):
        mine = [row for row in rows if row.attribute == attribute]
        for name in ("fmr", "fnmr", "fpir", "fnir"):
            rates = [(row.group, one.rate) for row in mine if (one := getattr(row, name)) is not None]
            if len(rates) > 1 and all(value > 0 for _, value in rates):
                values = np.array([value for _, value in rates])
                mean = float(np.exp(np.log(values).mean()))
                worst = int(values.argmax())
                yield DifferentialRow(
                    attribute,
                    name,
                    len(rates),
                    rates[worst][0],
                    float(values[worst] / mean),
                    float(values.max() / values.min()),
                )
