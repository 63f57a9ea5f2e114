"""Pairs with their scores, and what every protocol of pairs reports of them: TAR at FAR, curves, the worst errors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.bootstrap import Interval, MatedTrials, NonMatedTrials, accepted_intervals, tail_length
from benchmarks.metrics.metrics import OperatingPoint, Rule, eer, roc, tar_at_far
from benchmarks.metrics.rates import UnsupportedRate
from benchmarks.protocols.errors import ProtocolError
from benchmarks.results.results import Curve, Curves, Histogram, Refusal, Results, VerificationRow, WorstError
from faceid.feature_set import Strings
from indexer.records import FloatVector
from indexer.text import counted

BINS = np.linspace(-1, 1, 201)
WORST = 12  # of each kind
BOOTSTRAPPED = 200_000
"""False accepts up to which a TAR gets its clustered interval: a replicate goes through all of them."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Pairs: `scores` float32 [n] (-inf without a face), `same` bool [n], `names` of both sides, text [n] each.

    `identities` are those of both sides, int64 [n] each, numbered from 0; None where nobody knows them.
    """

    scores: FloatVector
    same: NDArray[np.bool_]
    names: tuple[Strings, Strings]
    identities: tuple[Ints, Ints] | None


def add_pair_figures(
    results: Results, pairs: ScoredPairs, fars: Sequence[float], rule: Rule = "conservative"
) -> Results:
    """Return the results with what can be said of any pairs.

    TAR at each FAR (or its refusal), the equal error rate as a note, ROC, DET, histograms and worst errors. Raises
    ProtocolError where all pairs are mated, or none is.
    """
    if pairs.same.all() or not pairs.same.any():
        raise ProtocolError(
            f"{results.protocol}: {int(pairs.same.sum())} of the {len(pairs.same)} pairs are of one person;"
            " both kinds are needed"
        )
    mated, non_mated = pairs.scores[pairs.same], pairs.scores[~pairs.same]
    points, refusals = [], []
    for far in fars:
        try:
            points.append(tar_at_far(mated, non_mated, far, rule=rule))
        except UnsupportedRate as error:
            refusals.append(Refusal(f"TAR at FAR {far:g}", error.needed, error.trials))
    # The bootstrap takes its thresholds by the conservative rule: another one's figures are not its.
    clustered = pairs.identities is not None and rule == "conservative"
    intervals = _intervals(pairs, [point.target for point in points]) if clustered else (None,) * len(points)
    curve, equal = roc(mated, non_mated), eer(mated, non_mated)
    curves = replace(
        results.curves,
        roc=(*results.curves.roc, Curve(results.name, curve.far, curve.tar)),
        det=(*results.curves.det, Curve(results.name, curve.far, curve.fnmr)),
    )
    return replace(
        results,
        verification=results.verification
        + tuple(verification_row(*found) for found in zip(points, intervals, strict=True)),
        refusals=results.refusals + tuple(refusals),
        worst_errors=results.worst_errors + _worst(pairs, "missed") + _worst(pairs, "false_accept"),
        curves=curves if len(curve.far) else Curves(),
        histograms=(*results.histograms, histogram("mated", mated), histogram("non_mated", non_mated)),
        notes=(*results.notes, f"equal error rate {100 * equal.rate:.3f} % at threshold {equal.threshold:.4f}"),
    )


def notes_on_list(first: Sequence[str], second: Sequence[str], what: str) -> Iterator[str]:
    """Say of a list of pairs of `what` which of them say less than they seem to."""
    pairs = [tuple(sorted(ends)) for ends in zip(first, second, strict=True)]
    if again := len(pairs) - len(set(pairs)):
        yield f"{counted(again, 'pair is', 'pairs are')} listed once more: each counts as often as it is listed"
    if alone := sum(one == other for one, other in pairs):
        yield f"{counted(alone, 'pair is', 'pairs are')} of one {what} with itself, which any threshold accepts"


def verification_row(point: OperatingPoint, clustered: Interval | None, number: int = 1) -> VerificationRow:
    """Return a TAR's operating point as a row of the results; `number` is that of the trial."""
    return VerificationRow(
        distractors=None,
        set=number,
        far=point.target,
        tar=replace(point.value, ci95_clustered=clustered),
        threshold=point.threshold,
        false_accepts=point.achieved.hits,
        impostor_trials=point.achieved.trials,
        achieved_far=point.achieved,
    )


def histogram(kind: Literal["mated", "non_mated"], scores: FloatVector) -> Histogram:
    """Count scores [n] in BINS; one a hair outside -1..1 is put in the last bin, one of -inf is left out."""
    counts, edges = np.histogram(np.clip(scores[np.isfinite(scores)], -1, 1), BINS)
    return Histogram(kind, edges, counts.astype(np.int64))


def _intervals(pairs: ScoredPairs, fars: Sequence[float]) -> tuple[Interval | None, ...]:
    other = np.flatnonzero(~pairs.same)
    few = [far for far in fars if far * len(other) <= BOOTSTRAPPED]
    if pairs.identities is None or not few:
        return (None,) * len(fars)
    first, second = pairs.identities
    size = int(max(first.max(), second.max())) + 1
    keep = tail_length(max(few), len(other))
    kept = other[np.argpartition(pairs.scores[other], len(other) - keep)[-keep:]]
    found = accepted_intervals(
        MatedTrials(pairs.scores[pairs.same], first[pairs.same]),
        NonMatedTrials(
            pairs.scores[kept],
            first[kept],
            second[kept],
            len(other),
            np.bincount(first[other], minlength=size),
            np.bincount(second[other], minlength=size),
        ),
        few,
    )
    by_far = dict(zip(few, found, strict=True))
    return tuple(by_far.get(far) for far in fars)


def _worst(pairs: ScoredPairs, kind: Literal["missed", "false_accept"]) -> tuple[WorstError, ...]:
    mine = np.flatnonzero((pairs.same == (kind == "missed")) & np.isfinite(pairs.scores))
    order = np.argsort(pairs.scores[mine] * (1 if kind == "missed" else -1), kind="stable")
    first, second = pairs.names
    return tuple(
        WorstError(kind, str(first[at]), str(second[at]), float(pairs.scores[at])) for at in mine[order[:WORST]]
    )
