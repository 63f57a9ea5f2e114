"""Which of several explanations fits what was measured: probabilities, and the list with the asked share of wrong ones.

A template is right, or somebody else's; two people are two, or one. For each explanation there are examples, made from
the gallery's own templates. Multinomial logistic regression on scores and their squares tells the odds of one against
another where all are as likely (Platt 1999 for two); how likely each is in this gallery follows from what is to be
explained, by expectation and maximisation (Saerens, Latinne & Decaestecker 2002, "Adjusting the outputs of a classifier
to new a priori probabilities"). The mean of one minus the probability is then the expected share of wrong findings on a
list (Efron 2008, "Microarrays, empirical Bayes and the two-groups model").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from indexer.errors import CalibrationError

Reals = NDArray[np.float64]

FEWEST_EXAMPLES = 50
"""Examples of an explanation below which nothing is said of it."""

MOST_EXAMPLES = 10_000
"""Examples of an explanation that a fit looks at: two dozen weights need no more."""

_RIDGE = 1e-6  # on scaled features: examples that a surface separates would have no solution
_ROUNDS = 200
_STILL = 1e-9
_DOUBTFUL = 0.5  # an example that is explained so badly is none, nor is so improbable a finding one
_CLEANINGS = 3


@dataclass(frozen=True, eq=False)
class Odds:
    """Log odds of K explanations from F features, float64 [K, 1 + F + F (F + 1) / 2], where all are as likely."""

    weights: Reals
    middle: Reals
    scale: Reals

    def log_likelihoods(self, features: Reals) -> Reals:
        """Return, up to a constant a row, how well each explanation fits: [n, K] of features [n, F]."""
        answer: Reals = _terms((features - self.middle) / self.scale) @ self.weights.T
        return answer


def fit_odds(examples: Sequence[Reals]) -> Odds:
    """Fit to examples of each explanation, [n_k, F] each, MOST_EXAMPLES at most; each explanation weighs the same."""
    examples = [_spread(one) for one in examples]
    together = np.concatenate(examples)
    middle, scale = together.mean(axis=0), np.maximum(together.std(axis=0), 1e-6)
    terms = _terms((together - middle) / scale)
    counts = [len(one) for one in examples]
    which = np.repeat(np.arange(len(examples)), counts)
    weight = np.repeat([1 / (count * len(examples)) for count in counts], counts)
    wanted = np.zeros((len(terms), len(examples)))
    wanted[np.arange(len(terms)), which] = 1

    def loss(flat: Reals) -> tuple[float, Reals]:
        law = flat.reshape(len(examples), -1)
        logits = terms @ law.T
        logits -= logits.max(axis=1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        slope = ((np.exp(logs) - wanted) * weight[:, None]).T @ terms + _RIDGE * law
        return float(-(weight * (logs * wanted).sum(axis=1)).sum() + _RIDGE / 2 * (law**2).sum()), slope.ravel()

    start = np.zeros(len(examples) * terms.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return Odds(np.asarray(found.x).reshape(len(examples), -1), middle, scale)


def explain(odds: Odds, features: Reals, plain: int = 0) -> Reals:
    """Return the probability of each explanation, [n, K], with the shares that make all of the rows likeliest.

    `plain` further rows, which are not given, are what the first explanation says.
    """
    likelihood = np.exp(_capped(odds.log_likelihoods(features)))
    shares = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    probability: Reals = likelihood
    for _ in range(_ROUNDS):
        probability = likelihood * shares
        probability /= probability.sum(axis=1, keepdims=True)
        total = probability.sum(axis=0)
        total[0] += plain
        before, shares = shares, total / max(total.sum(), 1)
        if np.abs(shares - before).max() < _STILL:
            break
    return probability


def explain_from(rows: Reals, examples: Sequence[Reals]) -> Reals:
    """Return the probability of each explanation of rows [n, F], most of which are examples of the first.

    `examples` are of the others. Rows that the first explains badly are taken out of its examples, and all is fitted
    again: at first those that it would explain badly if all were as likely, since what is wrong among its examples
    makes it seem to explain just that. Raises CalibrationError where the first explains no row best.
    """
    likelihood = np.exp(_capped(fit_odds([rows, *examples]).log_likelihoods(rows)))
    probability: Reals = likelihood / likelihood.sum(axis=1, keepdims=True)
    for _ in range(_CLEANINGS):
        first = rows[probability[:, 0] > _DOUBTFUL]
        if not len(first):
            raise CalibrationError("there is nothing to compare with: everything in this gallery looks like that")
        probability = explain(fit_odds([first, *examples]), rows)
    return probability


def listed(probabilities: Reals, fdr: float) -> NDArray[np.intp]:
    """Return the places of the longest list, likeliest first, whose expected share of wrong ones is at most `fdr`.

    What is more probably wrong than right is on no list, however sure the rest of it is.
    """
    order = np.argsort(-probabilities, kind="stable")
    order = order[probabilities[order] > _DOUBTFUL]
    wrong = np.cumsum(1 - probabilities[order]) / np.arange(1, len(order) + 1)
    kept: NDArray[np.intp] = order[: int(np.searchsorted(wrong, fdr, side="right"))]
    return kept


def _spread(examples: Reals) -> Reals:
    """Return at most MOST_EXAMPLES of the examples, from all over them."""
    if len(examples) <= MOST_EXAMPLES:
        return examples
    return examples[np.linspace(0, len(examples) - 1, MOST_EXAMPLES).astype(np.int64)]


def _capped(logs: Reals) -> Reals:
    """Bring the largest of each row to 0: a row's constant does not count, and exp must not overflow."""
    capped: Reals = logs - logs.max(axis=1, keepdims=True, initial=-np.inf)
    return capped


def _terms(scaled: Reals) -> Reals:
    """Return one, the features and their products, [n, 1 + F + F (F + 1) / 2]."""
    rows, columns = np.triu_indices(scaled.shape[1])
    return np.column_stack([np.ones(len(scaled)), scaled, scaled[:, rows] * scaled[:, columns]])
