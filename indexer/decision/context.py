"""Deciding on context: the best similarity less a share of what the next ten people reach.

    z = s1 - w c,  c the mean of the next CONTEXT people's similarities (of all others, where they are fewer)

A face that resembles ten people is less sure of any of them. Whoever has the highest similarity has the highest z, too:
with everybody's similarities summing up to the same, exchanging the best for another one takes from s and adds to c.
So the list's order stays, and it takes the best 1 + CONTEXT people to know z, not the best alone.

What is proved of a shortlist, with u a bound for everybody who is not on it: the j-th best similarity of all is at
least the list's j-th, s_j, and at most max(s_j, u). Hence

    s1 - w mean(max(s_j, u), j = 2..11)  <=  z  <=  max(s1, u) - w mean(s_j, j = 2..11)

and a decision is proved where both ends are on one side of the threshold (and s1 > u, where somebody is named). Both
are computed as z is, by the same operations, each of which is monotone in floating point.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.decided_on import DecidedOn
from indexer.decision.match_probability import CONTEXT
from indexer.records import FloatMatrix, FloatVector

WEIGHT = 0.5
"""w: chosen on half A of LFW and of the validation people (docs/results/decisions.md)."""

LISTED = 1 + CONTEXT
"""People that a decision on context must know."""


def people_needed(on: DecidedOn) -> int:
    """Return of how many people, best first, a decision must know the similarity."""
    return LISTED if on == "context" else 1


def decision_scores(similarities: FloatMatrix, on: DecidedOn) -> FloatVector:
    """Return what is held against a threshold, [Q], of similarities [Q, m], best first (m as `on_context` has it)."""
    return on_context(similarities) if on == "context" else similarities[:, 0]


def decision_score(similarities: Sequence[float], on: DecidedOn) -> float:
    """Return the same of one search's float32 similarities, best first."""
    return float(decision_scores(np.array([similarities], np.float32), on)[0])


def on_context(similarities: FloatMatrix) -> FloatVector:
    """Return z float32 [Q] of searches from their people's similarities float32 [Q, m], best first, m >= 1.

    m is LISTED at least, or the number of people enrolled.
    """
    return _adjusted(similarities[:, 0], similarities[:, 1:LISTED])


def context_proved(similarities: FloatMatrix, unseen: FloatVector, threshold: float | None) -> NDArray[np.bool_]:
    """Return of which searches [Q] it is proved what deciding on context says.

    `similarities` as `on_context` takes them, `unseen` float32 [Q] bounds everybody else's. Without a threshold what is
    proved is z itself.
    """
    best, rivals = similarities[:, 0], similarities[:, 1:LISTED]
    beyond = unseen[:, None]
    if threshold is None:
        return np.asarray((similarities[:, :LISTED] > beyond).all(axis=1))
    least = _adjusted(best, np.maximum(rivals, beyond))
    most = _adjusted(np.maximum(best, unseen), rivals)
    named = (least >= threshold) & (best > unseen)
    return np.asarray(named | (most < threshold))


def _adjusted(best: FloatVector, rivals: FloatMatrix) -> FloatVector:
    if not rivals.shape[1]:
        return best.astype(np.float32)
    context = rivals.astype(np.float64).mean(axis=1)
    adjusted: FloatVector = (best.astype(np.float64) - WEIGHT * context).astype(np.float32)
    return adjusted
