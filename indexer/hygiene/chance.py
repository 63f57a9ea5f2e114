"""How probably a likeness is no chance: the likeness of people who are nearest to each other by chance has a tail.

Most of many people are nearest to somebody else. By how much a score exceeds what is usual for its place, in units of
the usual spread, falls off exponentially among them (excesses over a high threshold, Pickands 1975, with shape 0).
Examples of one person have a density of their own. How fast it falls and how many are there twice follow together by
expectation and maximisation (the two-groups model, Efron 2008, "Microarrays, empirical Bayes and the two-groups
model"): one person enrolled twice must not make strangers look alike.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import gaussian_kde

from indexer.hygiene.explanations import Reals

_TAIL = 0.8  # quantile of the excesses where the tail begins
_PERHAPS = 0.9  # quantile from which they are taken for the same person at first, and not for what is usual
_TRIMMINGS = 3
_ROUNDS = 500
_STILL = 1e-9
_NO_SPREAD = 1e-3


def not_by_chance(rows: Reals, examples: Reals) -> Reals:
    """Return the probability, float64 [n], that each row is what the examples are.

    Of rows [n, 2] and examples [m, 2] the first column is the score, the second says what score is usual there.
    """
    excess, of_examples = _excesses(rows, examples)
    start, perhaps = np.quantile(excess, [_TAIL, _PERHAPS])
    above = excess > start
    if not above.any():
        return np.zeros(len(rows))
    far = excess[above] - start
    alike = gaussian_kde(of_examples)(excess[above])
    same = (far > perhaps - start).astype(np.float64)
    for _ in range(_ROUNDS):
        before, chance = same, 1 - same
        rate = chance.sum() / max(float(chance @ far), _NO_SPREAD)
        of_one, of_two = same.sum() * alike, chance.sum() * rate * np.exp(-rate * far)
        same = of_one / np.maximum(of_one + of_two, np.finfo(np.float64).tiny)
        if np.abs(same - before).max() < _STILL:
            break
    probability = np.zeros(len(rows))
    probability[above] = same
    order = np.argsort(excess, kind="stable")
    probability[order] = np.maximum.accumulate(probability[order])  # what is nearer is no less probable
    return probability


def _excesses(rows: Reals, examples: Reals) -> tuple[Reals, Reals]:
    """Return by how much scores exceed what is usual among the rows, in units of the usual spread."""
    kept = rows
    for _ in range(_TRIMMINGS):
        usual = _parabola(kept[:, 1], kept[:, 0])
        excess = rows[:, 0] - usual(rows[:, 1])
        kept = rows[excess <= np.quantile(excess, _PERHAPS)]
    spread = _parabola(kept[:, 1], np.abs(kept[:, 0] - usual(kept[:, 1])))
    one, other = (
        (some[:, 0] - usual(some[:, 1])) / np.maximum(spread(some[:, 1]), _NO_SPREAD) for some in (rows, examples)
    )
    return one, other


def _parabola(places: Reals, values: Reals) -> Callable[[Reals], Reals]:
    """Fit a parabola; beyond the places it stays as it is at the border."""
    fitted = np.polynomial.Polynomial.fit(places, values, 2)
    low, high = places.min(), places.max()

    def at(where: Reals) -> Reals:
        answer: Reals = fitted(np.clip(where, low, high))
        return answer

    return at
