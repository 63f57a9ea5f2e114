"""Clustered intervals: a bootstrap over identities, with the threshold recomputed in each replicate.

Trials that share a person are not independent, so the naive intervals of counts are too narrow. Here each identity gets
a Poisson(1) weight per replicate (the Poisson bootstrap, Hanley & MacGibbon 2006): all trials of a person come in
together, not at all, once, twice. A trial of two identities has the product of their weights (the pigeonhole bootstrap,
Owen 2007, which errs on the wide side). Intervals are the 2.5 and 97.5 percentiles of the replicates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.records import FloatVector

Ints = NDArray[np.int64]
Interval = tuple[float, float]

REPLICATES = 1000
SEED = 20161120
MIN_IDENTITIES = 10
"""A resample of fewer identities says nothing about others."""

TAIL = 4
"""Scores to keep as a multiple of the false accepts allowed: in some replicates a few people's alarms count often."""

RUNG = 1024
"""Kept scores between two places at which each identity's count is known beforehand."""

WITHOUT_THRESHOLD = 0.01
"""Share of replicates that may look for their threshold below the kept scores; they then stop at the lowest."""


@dataclass(frozen=True, eq=False)
class MatedTrials:
    """Mated pairs or searches: `scores` float32 [n] (-inf is a miss at any threshold), `identity` int64 [n]."""

    scores: FloatVector
    identity: Ints


@dataclass(frozen=True, eq=False)
class NonMatedTrials:
    """The `scores` float32 [m], in any order, that are the largest of `trials` non-mated pairs or searches.

    `first` int64 [m] is the identity of one side of each trial, `second` of the other (None where only one side is
    drawn anew, as in searches of one gallery). `first_trials` int64 [I] counts in how many of all trials each identity
    is the first, and sums to `trials`; `second_trials` likewise. Identities are numbered 0..I-1, in mated trials too.
    """

    scores: FloatVector
    first: Ints
    second: Ints | None
    trials: int
    first_trials: Ints
    second_trials: Ints | None


def tail_length(target: float, trials: int) -> int:
    """Return how many of the largest scores to keep, so that nearly all replicates find their threshold in them."""
    return min(trials, TAIL * math.ceil(target * trials) + 1000)


def rate_interval(
    hits: NDArray[np.bool_],
    identity: Ints,
    second: Ints | None = None,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> Interval | None:
    """Return the 95 % interval of a share of trials, as rank-1: `hits` bool [n], `identity` int64 [n] of each trial.

    `second` int64 [n] is the identity of the other side, where trials are pairs: one of two people has the product of
    their weights, one of a single person that person's weight. Thresholds, if hits hang on any, are held. None for
    fewer than MIN_IDENTITIES identities, and where all replicates agree (no miss, or no hit, at all).
    """
    people, numbers = np.unique(np.stack([identity, identity if second is None else second]), return_inverse=True)
    if len(people) < MIN_IDENTITIES:
        return None
    # Trials of the same people go through each replicate as one.
    first, other = numbers.reshape(2, -1)
    drawn, trial = np.unique(first * len(people) + other, return_inverse=True)
    trials, found = np.bincount(trial), np.bincount(trial, weights=hits)
    first, other = np.divmod(drawn, len(people))
    of_two = first != other
    random = np.random.default_rng(seed)
    shares = np.empty(replicates)
    for replicate in range(replicates):
        weights = _poisson(random, len(people))
        weight = weights[first]
        weight[of_two] *= weights[other[of_two]]
        shares[replicate] = (weight * found).sum() / max((weight * trials).sum(), 1.0)
    return _percentiles(shares)


def accepted_intervals(
    mated: MatedTrials,
    non_mated: NonMatedTrials,
    targets: Sequence[float],
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> tuple[Interval | None, ...]:
    """Return the 95 % interval, at each target rate, of the share of mated trials at or above the threshold.

    With scores of pairs this is TAR at FAR; with searches (a mate's score, -inf where its rank is too low, and the best
    score of each non-mated search) it is TPIR at FPIR, of which FNIR is the `complement`. In each replicate the
    threshold is again that of indexer.decision.decision.threshold_at: above the first score at which the weighted
    count exceeds floor(target x weighted trials). None as in
    rate_interval, and where over 1 % of the replicates look for their
    threshold below the kept scores (see `tail_length`).
    """
    identities = np.unique(mated.identity)
    if min(len(identities), int(np.count_nonzero(non_mated.first_trials))) < MIN_IDENTITIES:
        return (None,) * len(targets)
    floors, short, weights = _thresholds(mated, non_mated, targets, replicates, seed)
    cluster = np.searchsorted(identities, mated.identity)
    trials = np.bincount(cluster) @ weights
    intervals = []
    for target_floors, missing in zip(floors, short, strict=True):
        accepted = _accepted(mated.scores, cluster, weights, target_floors)
        too_short = missing > WITHOUT_THRESHOLD * replicates
        intervals.append(None if too_short else _percentiles(accepted / np.maximum(trials, 1.0)))
    return tuple(intervals)


def complement(interval: Interval | None) -> Interval | None:
    """Return the interval of one minus the rate: of FNIR from TPIR's."""
    return None if interval is None else (1 - interval[1], 1 - interval[0])


def _thresholds(
    mated: MatedTrials, non_mated: NonMatedTrials, targets: Sequence[float], replicates: int, seed: int
) -> tuple[FloatVector, Ints, NDArray[np.float64]]:
    """Return per target and replicate the score [T, R] above which is accepted, and two things that go with it.

    How many replicates [T] ran out of kept scores, and the weights [identities of mated trials, R].
    """
    order = np.argsort(non_mated.scores, kind="stable")[::-1]
    scores = non_mated.scores[order]
    roles = [(non_mated.first, non_mated.first_trials)]
    if non_mated.second is not None and non_mated.second_trials is not None:
        roles.append((non_mated.second, non_mated.second_trials))
    # Identities with no kept score and no mated trial, often nearly all, matter only through the number of trials.
    seen = np.unique(np.concatenate([mated.identity, *(one for one, _ in roles)]))
    sides = [np.searchsorted(seen, one)[order] for one, _ in roles]
    counts = [_Counts.of(trials, seen) for _, trials in roles]
    own = np.searchsorted(seen, np.unique(mated.identity))
    near = min(len(scores), 2 * math.ceil(max(targets) * non_mated.trials) + 100)  # enough for most replicates
    rungs = _rungs(sides[0], len(seen)) if len(sides) == 1 else None

    random = np.random.default_rng(seed)
    floors = np.empty((len(targets), replicates), np.float32)
    short = np.zeros(len(targets), np.int64)
    kept = np.empty((len(own), replicates), np.float64)
    for replicate in range(replicates):
        weights = _poisson(random, len(seen))
        kept[:, replicate] = weights[own]
        # The sum of products of weights over all trials, exact where every identity meets every other.
        trials = non_mated.trials * math.prod(count.drawn(weights, random) / non_mated.trials for count in counts)
        allowed = [math.floor(target * trials * (1 + 1e-12)) for target in targets]
        if rungs is not None:
            at = _first_beyond(rungs, sides[0], weights, allowed)
        else:
            so_far = _alarms(weights, sides, near)
            if so_far[-1] <= max(allowed):
                so_far = _alarms(weights, sides, len(scores))
            at = np.searchsorted(so_far, allowed, side="right")
        short += at == len(scores)
        floors[:, replicate] = scores[np.minimum(at, len(scores) - 1)]
    return floors, short, kept


def _rungs(side: Ints, identities: int) -> NDArray[np.float64]:
    """How often each identity is among the first RUNG, 2 RUNG, ... scores: [rungs, identities].

    With one side drawn anew these give any replicate's weighted counts, and only one rung must be gone through.
    """
    rungs = -(-len(side) // RUNG)
    cells = np.arange(len(side)) // RUNG * identities + side
    counts = np.bincount(cells, minlength=rungs * identities).reshape(rungs, identities)
    return np.cumsum(counts, axis=0, dtype=np.float64)


def _first_beyond(
    rungs: NDArray[np.float64], side: Ints, weights: NDArray[np.uint8], allowed: Sequence[int]
) -> NDArray[np.int64]:
    """Return the first scores whose weighted count exceeds what is allowed; len(side) where none does."""
    so_far = np.einsum("ri,i->r", rungs, weights)  # no @: threads cost more than they bring
    positions = []
    for count, rung in zip(allowed, np.searchsorted(so_far, allowed, side="right").tolist(), strict=True):
        before = so_far[rung - 1] if rung else 0.0
        alarms = weights[side[rung * RUNG : (rung + 1) * RUNG]]
        within = np.searchsorted(before + np.cumsum(alarms, dtype=np.int64), count, side="right")
        positions.append(min(rung * RUNG + int(within), len(side)))
    return np.array(positions)


def _alarms(weights: NDArray[np.uint8], sides: Sequence[Ints], depth: int) -> Ints:
    """Return the weighted number of trials among the first 1, 2, ... `depth` scores."""
    alarms = weights[sides[0][:depth]]
    for side in sides[1:]:
        alarms *= weights[side[:depth]]
    return np.cumsum(alarms, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class _Counts:
    """In how many trials the seen identities are, and the moments of the many others' weighted sum."""

    seen: NDArray[np.float64]
    others: float
    deviation: float

    @classmethod
    def of(cls, trials: Ints, seen: Ints) -> "_Counts":
        others = trials.astype(np.float64)
        others[seen] = 0
        return cls(trials[seen].astype(np.float64), float(others.sum()), float(np.sqrt((others**2).sum())))

    def drawn(self, weights: NDArray[np.uint8], random: np.random.Generator) -> float:
        """Draw the weighted number of trials; the others' sum by its mean and variance (a Poisson has both 1)."""
        others = max(0.0, self.others + self.deviation * random.standard_normal())
        return float((weights * self.seen).sum()) + others  # no @: threads cost more than they bring here


def _accepted(
    scores: FloatVector, cluster: Ints, weights: NDArray[np.float64], floors: FloatVector
) -> NDArray[np.float64]:
    """Return the weighted count [R] of scores above each replicate's floor, from one count per identity and step."""
    from scipy.sparse import csr_array

    steps, step = np.unique(floors, return_inverse=True)
    passed = np.searchsorted(steps, scores, side="left")  # how many of the floors lie below the score
    counts = csr_array((np.ones(len(scores)), (passed, cluster)), shape=(len(steps) + 1, len(weights)))
    weighted: NDArray[np.float64] = np.asarray(counts @ weights)  # [steps + 1, R]: scores that passed just so many
    above = np.cumsum(weighted[::-1], axis=0)[::-1]
    accepted: NDArray[np.float64] = above[step + 1, np.arange(len(floors))]
    return accepted


def _percentiles(shares: NDArray[np.float64]) -> Interval | None:
    low, high = np.percentile(shares, [2.5, 97.5]).tolist()
    return None if low == high else (low, high)


# Poisson(1) by its quantiles at 16 bits: a table look-up is many times faster than a Poisson generator.
_POISSON = np.searchsorted(
    np.cumsum([math.exp(-1) / math.factorial(n) for n in range(12)]), (np.arange(65536) + 0.5) / 65536
).astype(np.uint8)


def _poisson(random: np.random.Generator, size: int) -> NDArray[np.uint8]:
    return _POISSON[random.integers(0, 65536, size, dtype=np.uint16)]
