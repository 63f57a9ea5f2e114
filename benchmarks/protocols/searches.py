"""Searches of a gallery with one template an identity: mates' ranks, non-mated searches' best scores, FNIR at FPIR."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.bootstrap import MatedTrials, NonMatedTrials, accepted_intervals, complement, rate_interval
from benchmarks.metrics.metrics import fnir_at_fpir, rank_rate, roc
from benchmarks.results.results import Curve, OpenSetRow, Rate
from indexer.records import FloatMatrix, FloatVector
from indexer.search.scores import canonical_scores

BLOCK = 1024  # probes at a time

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Searches:
    """What came of all probes.

    Of the mated ones: `ranks` int64 [m] of the mate from 1 (an equal stranger counts before it), `mate_scores` float32,
    `mated_identity`; of the others: `best` float32 [n] and `other_identity`. `ties` counts strangers equal to a mate,
    `enrolled` the gallery's identities.
    """

    ranks: Ints
    mate_scores: FloatVector
    mated_identity: Ints
    best: FloatVector
    other_identity: Ints
    ties: int
    enrolled: int


def search(gallery: FloatMatrix, enrolled: Ints, probes: FloatMatrix, identity: Ints) -> Searches:
    """Search each probe in the gallery.

    `gallery` [G, D] holds one template for each identity of `enrolled` int64 [G] (all different); `probes` [P, D]
    belong to `identity` [P]. A probe of NaN (no face) has the score -inf and, where it is mated, the last rank.
    """
    order = np.argsort(enrolled)
    at = np.minimum(np.searchsorted(enrolled[order], identity), len(order) - 1)
    mate = np.where(enrolled[order][at] == identity, order[at], -1)
    exact = gallery.astype(np.float64).T
    ranks, scores = np.ones(len(probes), np.int64), np.empty(len(probes), np.float32)
    ties = 0
    for start in range(0, len(probes), BLOCK):
        block = slice(start, start + BLOCK)
        all_scores = (probes[block].astype(np.float64) @ exact).astype(np.float32)
        all_scores[np.isnan(all_scores)] = -np.inf
        mates, known = mate[block], mate[block] >= 0
        # The score that counts, canonical: the mate's, or the best stranger's.
        one = np.where(known, mates, all_scores.argmax(axis=1))
        scores[block] = np.nan_to_num(canonical_scores(probes[block], gallery[one]), nan=-np.inf)
        all_scores[np.flatnonzero(known), mates[known]] = np.nan  # a mate is no stranger
        mine = scores[block][:, None]
        ranks[block] += np.where(known, (all_scores >= mine).sum(axis=1), 0)
        ties += int((all_scores[known] == mine[known])[np.isfinite(mine[known, 0])].sum())
    known = mate >= 0
    return Searches(ranks[known], scores[known], identity[known], scores[~known], identity[~known], ties, len(enrolled))


def rank_rate_of(searches: Searches, rank: int = 1) -> Rate:
    """Return the rate of mates at this rank or better, with both intervals."""
    counted = rank_rate(searches.ranks, rank)
    return replace(counted, ci95_clustered=rate_interval(searches.ranks <= rank, searches.mated_identity))


def fnir_fpir_curve(searches: Searches, label: str) -> Curve:
    """Return FNIR, rank 1, against FPIR: exact points as those of `roc`, of which this is the analogue for searches."""
    curve = roc(_found_scores(searches), searches.best)
    return Curve(label, curve.far, curve.fnmr)


def open_set_row(searches: Searches, fpir: float, number: int = 1) -> OpenSetRow:
    """Return FNIR at this FPIR, rank 1; `distractors` is the number of enrolled identities, `number` the set's.

    Raises UnsupportedRate for fewer than 3 / fpir non-mated searches.
    """
    point = fnir_at_fpir(searches.ranks, searches.mate_scores, searches.best, fpir)
    everyone = np.concatenate([searches.mated_identity, searches.other_identity])
    _, numbers = np.unique(everyone, return_inverse=True)
    mated, others = np.split(numbers, [len(searches.ranks)])
    (interval,) = accepted_intervals(
        MatedTrials(_found_scores(searches), mated),
        NonMatedTrials(searches.best, others, None, len(others), np.bincount(others, minlength=len(numbers)), None),
        [fpir],
    )
    return OpenSetRow(
        distractors=searches.enrolled,
        set=number,
        fpir=fpir,
        fnir=replace(point.value, ci95_clustered=complement(interval)),
        threshold=point.threshold,
        false_alarms=point.achieved.hits,
        non_mated_searches=point.achieved.trials,
        achieved_fpir=point.achieved,
    )


def _found_scores(searches: Searches) -> FloatVector:
    """Return the mates' scores, -inf where another identity ranks before the mate: no threshold makes that a hit."""
    return np.where(searches.ranks == 1, searches.mate_scores, np.float32(-np.inf))
