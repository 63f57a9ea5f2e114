"""A probability beside the cosine: how likely the best candidate is the person, from its similarity and its rivals'.

A similarity of 0.45 says more where the next candidates reach 0.1 than where ten others reach 0.4: the local context of
a search tells how crowded the gallery is around this face (adaptive calibration). Logistic regression on both, fitted
to searches whose answers are known (Platt 1999, "Probabilistic outputs for support vector machines").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.errors import CalibrationError

CONTEXT = 10
"""Candidates after the best one whose mean similarity is the context (on a development set as good as 5 or 50)."""

MIN_SEARCHES = 50
"""Of either kind: three coefficients from fewer say little."""

EVEN_ODDS = 0.5
"""The share of searches whose person is enrolled for which a law is fitted: the base rate of its probabilities."""

_STEPS = 50
_TOLERANCE = 1e-10

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class MatchProbability:
    """Log odds = bias + similarity * s + context * c, for a search that is mated or non-mated with even odds.

    `mated`, `non_mated`: the searches it was fitted to. Right for galleries of the size that was searched.
    """

    bias: float
    similarity: float
    context: float
    mated: int
    non_mated: int


def context_of(similarities: Sequence[float]) -> float:
    """Mean similarity of the up to CONTEXT candidates after the best, of similarities best first; 0 without any."""
    rivals = similarities[1 : 1 + CONTEXT]
    return float(np.mean(rivals)) if len(rivals) else 0.0


def match_probability(law: MatchProbability, similarity: float, context: float, prior: float = EVEN_ODDS) -> float:
    """Return the probability, 0..1, that the best candidate is the person.

    `prior` is the share of searches, before one looks, whose person is enrolled.
    """
    odds = law.bias + law.similarity * similarity + law.context * context + np.log(prior / (1 - prior))
    return float(_logistic(np.float64(odds)))


def fit_probability(
    similarities: Reals, contexts: Reals, mated: NDArray[np.bool_], right: NDArray[np.bool_]
) -> MatchProbability:
    """Fit to searches [n]: best similarity, context, whether the person is enrolled, and is the best candidate.

    Mated and non-mated searches weigh the same in total, so that the probability is one at even odds whatever their
    numbers. Targets are Platt's, (n + 1) / (n + 2) and 1 / (m + 2) instead of 1 and 0, so that searches that a line
    separates have a solution. Newton's method. Raises CalibrationError for fewer than MIN_SEARCHES of either kind.
    """
    enrolled, strangers = int(mated.sum()), int((~mated).sum())
    if min(enrolled, strangers) < MIN_SEARCHES:
        raise CalibrationError(
            f"{enrolled} mated and {strangers} non-mated searches are too few for a probability: {MIN_SEARCHES} of each"
        )
    weights = np.where(mated, 0.5 / enrolled, 0.5 / strangers)
    hits = int(right.sum())
    targets = np.where(right, (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2))
    inputs = np.column_stack([np.ones(len(right)), similarities, contexts])
    scale = np.array([1.0, *np.maximum(inputs[:, 1:].std(axis=0), 1e-9)])
    inputs = inputs / scale
    law = np.zeros(3)
    for _ in range(_STEPS):
        expected = _logistic(inputs @ law)
        slope = inputs.T @ (weights * (targets - expected))
        bend = (inputs * (weights * expected * (1 - expected))[:, None]).T @ inputs
        step = np.linalg.solve(bend + 1e-9 * np.eye(3), slope)
        law += step * min(1.0, 5 / max(np.abs(step).max(), 1e-12))  # far from the solution a full step overshoots
        if np.abs(step).max() < _TOLERANCE:
            break
    bias, similarity, context = (law / scale).tolist()
    return MatchProbability(bias, similarity, context, enrolled, strangers)


def _logistic(odds: Reals | np.float64) -> Reals:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -500, 500))))
