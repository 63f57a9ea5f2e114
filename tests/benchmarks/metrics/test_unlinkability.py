"""The measure of linkability: nothing where two laws agree, all where they are apart, the paper's formula between."""

import numpy as np
import pytest

from benchmarks.metrics.unlinkability import linkability


def test_scores_that_are_apart_tell_everything():
    assert linkability(np.linspace(0.5, 1, 500), np.linspace(-1, 0.4, 500)) == 1


def test_the_same_scores_tell_nothing():
    scores = np.linspace(-1, 1, 500)
    assert linkability(scores, scores) == 0


def test_two_samples_of_one_law_tell_almost_nothing():
    drawn = np.random.default_rng(0).standard_normal((2, 100_000))
    assert linkability(*drawn) < 0.01


def test_it_is_the_formula_of_the_paper():
    """Mated uniform on [0, 1], non-mated on [0, 2]: LR is 2 everywhere on the first half, so D is 2 * 2 / 3 - 1."""
    mated, others = np.linspace(0, 1, 100_000, endpoint=False), np.linspace(0, 2, 200_000, endpoint=False)
    assert linkability(mated, others) == pytest.approx(1 / 3, abs=0.01)


def test_a_handful_of_scores_is_refused():
    with pytest.raises(ValueError, match="say nothing"):
        linkability(np.zeros(9), np.zeros(100))
