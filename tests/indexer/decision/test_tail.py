"""The fitted tail says of known laws what they say themselves, far beyond the sample, and its intervals hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from indexer.decision import tail as tails
from indexer.decision.tail import (
    UpperTail,
    any_of,
    fit_tail,
    maximum_probability,
    maximum_threshold,
    resample_tail,
    tail_interval,
    tail_probability,
    tail_quantile,
)
from indexer.errors import CalibrationError

# SciPy's law is 1 everywhere at 5e-324.
shapes = st.one_of(st.just(0.0), st.floats(-0.9, 0.5, allow_subnormal=False))


def cosines(dimension):
    """The exact law of the cosine of two random directions: (1 + c) / 2 is Beta((D - 1) / 2, (D - 1) / 2)."""
    half = (dimension - 1) / 2
    return stats.beta(half, half, loc=-1, scale=2)


def test_l_moments_by_hand(monkeypatch):
    # Above the start 0: 1, 2, 3, 6. l1 = 3; l2 = half the mean gap of pairs (1 2 5 1 4 3) = 16/12 = 4/3.
    # shape = 2 - 9/4 = -1/4, scale = 3 * 5/4.
    monkeypatch.setattr(tails, "MIN_EXCEEDANCES", 4)
    fitted = fit_tail(np.array([3.0, 0, 6, -5, 1, 2, -7, -9]), 8, 4)
    assert (fitted.start, fitted.share) == (0, 0.5)
    assert fitted.shape == pytest.approx(-0.25)
    assert fitted.scale == pytest.approx(3.75)


@settings(max_examples=100, deadline=None)
@given(shape=shapes, scale=st.floats(0.01, 2), share=st.floats(1e-4, 1), at=st.floats(0, 6))
def test_the_law_is_the_generalized_pareto_law(shape, scale, share, at):
    tail = UpperTail(0.3, shape, scale, share)
    expected = share * stats.genpareto.sf(at, shape, scale=scale)
    assert tail_probability(tail, 0.3 + at) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(shape=shapes, scale=st.floats(0.01, 2), share=st.floats(1e-3, 1), deeper=st.floats(1e-6, 1))
def test_the_quantile_is_the_score_of_that_probability(shape, scale, share, deeper):
    tail = UpperTail(-0.2, shape, scale, share)
    assert tail_probability(tail, tail_quantile(tail, share * deeper)) == pytest.approx(share * deeper, rel=1e-6)


def test_below_its_start_the_tail_knows_its_share_only():
    tail = UpperTail(0.5, -0.1, 0.05, 0.02)
    assert tail_probability(tail, np.array([-1, 0.4, 0.5])).tolist() == [0.02, 0.02, 0.02]
    with pytest.raises(CalibrationError, match=r"probabilities in \(0, 0.02\], not 0.03"):
        tail_quantile(tail, 0.03)


def test_a_bounded_tail_ends():
    tail = UpperTail(0.5, -0.5, 0.1, 0.1)  # ends at 0.5 + 0.1 / 0.5
    assert tail_probability(tail, 0.71) == 0
    assert tail_quantile(tail, 1e-12) == pytest.approx(0.7, abs=1e-4)


@pytest.mark.parametrize(("law", "shape"), [(stats.uniform(), -1), (stats.expon(), 0), (stats.genpareto(-0.3), -0.3)])
def test_known_laws_are_recognised(law, shape):
    sample = law.rvs(size=200_000, random_state=np.random.default_rng(1))
    fitted = fit_tail(sample, len(sample), 10_000)
    assert fitted.shape == pytest.approx(shape, abs=0.05)
    assert tail_quantile(fitted, 1e-5) == pytest.approx(law.isf(1e-5), rel=0.08)


@pytest.mark.parametrize("dimension", [64, 512])
def test_random_directions_beyond_the_sample(dimension):
    law = cosines(dimension)
    sample = law.rvs(size=300_000, random_state=np.random.default_rng(2))
    fitted = fit_tail(sample, len(sample), 600)
    assert -0.2 < fitted.shape < 0  # bounded scores
    # The best of 10,000 random directions reaches the score of 1e-6 in one of a hundred searches.
    assert maximum_threshold(fitted, 0.01, 10_000) == pytest.approx(law.isf(1e-6), rel=0.07)
    assert maximum_probability(fitted, law.isf(1e-5), 10_000) == pytest.approx(1 - np.exp(-0.1), rel=0.5)


@settings(max_examples=50, deadline=None)
@given(probability=st.floats(1e-6, 0.9), count=st.integers(1, 1000))
def test_any_of_many_is_one_minus_none_of_them(probability, count):
    assert any_of(np.float64(probability), count) == pytest.approx(1 - (1 - probability) ** count, rel=1e-6)


def test_small_probabilities_are_not_lost():
    assert any_of(np.float64(1e-18), 1000) == pytest.approx(1e-15, rel=1e-12)
    assert any_of(np.float64(1), 5) == 1


def test_nineteen_of_twenty_intervals_nearly_hold_the_truth(monkeypatch):
    # A percentile interval of an extrapolated quantile falls short of its 95 %: about 0.91 in larger simulations.
    monkeypatch.setattr(tails, "REPLICATES", 150)
    law = stats.genpareto(-0.2)
    held = 0
    for seed in range(60):
        sample = law.rvs(size=1000, random_state=np.random.default_rng(seed))
        fitted = fit_tail(sample, 1000)
        low, high = tail_interval(resample_tail(sample, fitted, seed=seed), lambda one: tail_quantile(one, 1e-3))
        held += low <= law.isf(1e-3) <= high
    assert 49 <= held <= 60


def test_ten_scores_of_one_person_are_worth_little_more_than_one():
    people = stats.expon.rvs(size=500, random_state=np.random.default_rng(3))
    scores, owners = np.repeat(people, 10), np.repeat(np.arange(500), 10)
    fitted = fit_tail(scores, len(scores), 700)
    naive = tail_interval(resample_tail(scores, fitted), lambda one: tail_quantile(one, 1e-3))
    clustered = tail_interval(resample_tail(scores, fitted, owners), lambda one: tail_quantile(one, 1e-3))
    assert clustered[1] - clustered[0] > 2 * (naive[1] - naive[0])


def test_too_little_is_refused():
    scores = np.linspace(0, 1, 1000)
    with pytest.raises(CalibrationError, match="needs 30"):
        fit_tail(scores, 1000, 29)
    with pytest.raises(CalibrationError, match="100 scores needs one more below it, here are 100 of 1000"):
        fit_tail(scores[-100:], 1000)
    with pytest.raises(CalibrationError, match="all the same"):
        fit_tail(np.repeat([0.1, 0.9], 100), 200, 50)
