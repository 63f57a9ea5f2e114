"""How alike people are is read off what they score among each other, as far as they are many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import gumbel_r, norm

from indexer.calibration.likeness import (
    KINDS,
    KINDS_DEVIATION,
    Likeness,
    likeness,
    normal_scores,
    of_their_kind,
    with_their_error,
)


def cohort_of(count=2000, seed=0):
    return np.random.default_rng(seed).normal(0.3, 0.05, count).astype(np.float32)


def people_at(shift, people, templates=3, seed=1):
    random = np.random.default_rng(seed)
    own = np.repeat(random.normal(shift, 0.9, people), templates) + random.normal(0, 0.4, people * templates)
    return own, np.repeat(np.arange(people), templates)


@pytest.mark.parametrize("shift", [0.3, 1.0, 4.0])
def test_many_people_say_how_alike_they_are(shift):
    found = likeness(*people_at(shift, 1500))
    assert found.shift == pytest.approx(shift, abs=0.1)
    assert found.error < 0.04


def test_few_people_say_less_than_what_is_known_of_galleries():
    found = likeness(*people_at(0.5, 6))
    assert KINDS < found.shift < 0.45
    assert KINDS_DEVIATION < found.error < 0.6, "six people do not say of which sort of sources they are"
    assert likeness(np.empty(0), np.empty(0, np.int64)) == Likeness()


def test_people_of_an_odd_source_are_believed():
    few, more = likeness(*people_at(1.5, 8)), likeness(*people_at(1.5, 24))
    assert few.shift == pytest.approx(1.5, abs=1.96 * few.error)
    assert more.shift == pytest.approx(1.5, abs=0.3)
    assert more.error < few.error


@given(shift=st.floats(-3, 6), people=st.integers(1, 60), seed=st.integers(0, 30))
def test_what_is_found_is_moved_towards_galleries_at_large_never_away(shift, people, seed):
    scores, persons = people_at(shift, people, seed=seed)
    found = likeness(scores, persons)
    means = np.array([scores[persons == one].mean() for one in range(people)])
    assert -1e-9 <= found.shift <= max(KINDS, means.max()) + 1e-9
    assert 0 < found.error < Likeness().error + 1.5


def test_the_threshold_is_never_below_the_cohorts():
    assert likeness(*people_at(-0.8, 800)).shift == 0


def test_somebody_enrolled_twice_moves_little():
    scores, persons = people_at(0.2, 24)
    twice = scores.copy()
    twice[persons < 2] = 9.0
    assert likeness(twice, persons).shift - likeness(scores, persons).shift < 0.1


def test_a_person_counts_once_whatever_the_templates():
    scores = np.concatenate([np.full(500, 1.5), np.zeros(49)])
    persons = np.concatenate([np.zeros(500, np.int64), np.arange(1, 50)])
    assert likeness(scores, persons).shift < 0.12


def test_normal_scores_of_a_normal_cohort_are_its_standard_scores():
    cohort = cohort_of(20_000)
    values = np.array([0.2, 0.25, 0.3, 0.35, 0.4])
    assert normal_scores(values, cohort) == pytest.approx([-2, -1, 0, 1, 2], abs=0.05)


def test_beyond_the_highest_score_the_law_is_that_of_maxima():
    # The best of many scores is Gumbel's: what two thousand do not reach is known by that law, not by a normal one.
    strangers = gumbel_r.ppf(ndtr(np.random.default_rng(0).normal(1.5, 1, 100_000)), 0.3, 0.03)
    cohorts = [gumbel_r.rvs(0.3, 0.03, 2000, random_state=seed).astype(np.float32) for seed in range(12)]
    theirs = [of_their_kind(cohort, Likeness(1.5)) for cohort in cohorts]
    for rate in (0.1, 0.01, 0.002):
        got = [(strangers >= np.quantile(scores, 1 - rate)).mean() for scores in theirs]
        assert rate / 2 < np.median(got) < 2 * rate


@given(values=st.lists(st.floats(-1, 1), min_size=2, max_size=20), seed=st.integers(0, 20))
def test_a_higher_score_never_has_a_lower_normal_score(values, seed):
    scores = normal_scores(np.sort(np.array(values)), cohort_of(300, seed))
    assert (np.diff(scores) >= 0).all()


@given(shift=st.floats(0, 3), seed=st.integers(0, 50))
def test_strangers_of_their_kind_are_shifted_by_as_much(shift, seed):
    cohort = cohort_of(400, seed)
    moved = of_their_kind(cohort, Likeness(shift))
    assert (np.diff(moved) >= 0).all()
    assert np.median(normal_scores(moved.astype(float), cohort)) == pytest.approx(shift, abs=0.06)


def test_without_a_shift_the_cohort_is_as_it_was():
    cohort = cohort_of(500)
    assert np.allclose(of_their_kind(cohort, Likeness(0.0)), np.sort(cohort), atol=1e-7)


def test_a_cohort_of_one_score_is_no_fault():
    same = np.full(200, 0.25, np.float32)
    assert np.isfinite(of_their_kind(same, Likeness(0.4))).all()
    assert np.isfinite(normal_scores(np.array([0.1, 0.25, 0.9]), same)).all()


def test_the_interval_adds_what_is_not_known_of_the_kind():
    low, high = with_their_error((0.09, 0.11), 0.1, Likeness(0.2, 0.2))
    assert low < ndtr(norm.ppf(0.1) - 1.96 * 0.2)
    assert high > ndtr(norm.ppf(0.1) + 1.96 * 0.2)
    assert with_their_error((0.05, 0.2), 0.1, Likeness(0.2, 1e-9)) == pytest.approx((0.05, 0.2), abs=0.01)


def test_an_interval_from_no_alarm_stays_a_rate():
    low, high = with_their_error((0.0, 0.004), 0.001, Likeness())
    assert 0 <= low < 1e-6
    assert 0.004 < high < 1
