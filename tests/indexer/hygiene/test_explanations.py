"""Probabilities of explanations against laws whose answer is known."""

import numpy as np
import pytest
from scipy.stats import norm

from indexer.hygiene.explanations import explain, explain_from, fit_odds, listed


@pytest.fixture
def mixture():
    """Scores of 20,000 rows, 2 % of them from N(6, 1) and the others from N(0, 1); and the true probability."""
    random = np.random.default_rng(1)
    other = random.random(20_000) < 0.02
    scores = np.where(other, random.normal(6, 1, 20_000), random.normal(0, 1, 20_000))
    true = 0.02 * norm.pdf(scores - 6)
    return scores[:, None], other, true / (true + 0.98 * norm.pdf(scores))


def test_two_normal_laws_give_the_probability_of_bayes_with_the_share_that_was_not_told(mixture):
    rows, _, true = mixture
    random = np.random.default_rng(2)
    odds = fit_odds([random.normal(0, 1, (20_000, 1)), random.normal(6, 1, (20_000, 1))])
    assert np.abs(explain(odds, rows)[:, 1] - true).max() < 0.1


def test_rows_that_are_not_given_count_for_the_first_explanation(mixture):
    rows, other, _ = mixture
    random = np.random.default_rng(2)
    odds = fit_odds([random.normal(0, 1, (20_000, 1)), random.normal(6, 1, (20_000, 1))])
    seen = (rows[:, 0] > 2) | other
    part = explain(odds, rows[seen], plain=int((~seen).sum()))
    np.testing.assert_allclose(part, explain(odds, rows)[seen], atol=0.02)


def test_wrong_rows_among_the_first_examples_do_not_hide_themselves(mixture):
    rows, other, _ = mixture
    found = explain_from(rows, [np.random.default_rng(3).normal(6, 1, (2000, 1))])[:, 1] > 0.5
    assert (found & other).sum() > 0.97 * other.sum()
    assert (found & ~other).sum() < 0.02 * other.sum()


def test_the_share_of_wrong_ones_on_a_list_is_the_one_asked_for(mixture):
    rows, other, _ = mixture
    probability = explain_from(rows, [np.random.default_rng(3).normal(6, 1, (2000, 1))])[:, 1]
    for asked in (0.02, 0.05, 0.2):
        wrong = (~other[listed(probability, asked)]).mean()
        assert wrong < 2 * asked


def test_a_list_ends_where_the_mean_of_what_is_missing_to_certainty_passes_the_asked_share():
    probabilities = np.array([0.5, 0.99, 0.9, 0.95])
    assert listed(probabilities, 0.05).tolist() == [1, 3]  # 0.01, 0.03, 0.0533, 0.165
    assert listed(probabilities, 0.054).tolist() == [1, 3, 2]
    assert listed(probabilities, 0.001).tolist() == []
    assert listed(np.empty(0), 0.5).tolist() == []
