"""Clustered intervals: right where the answer is known, wider where people repeat, and the same every time."""

import numpy as np
import pytest

from benchmarks.metrics.bootstrap import (
    MatedTrials,
    NonMatedTrials,
    _poisson,
    accepted_intervals,
    complement,
    rate_interval,
    tail_length,
)
from indexer.decision.decision import threshold_at
from indexer.decision.intervals import wilson


def cosines(random: np.random.Generator, mean: float, size: int) -> np.ndarray:
    return random.normal(mean, 0.1, size).astype(np.float32)


def searches(scores: np.ndarray, identity: np.ndarray, identities: int) -> NonMatedTrials:
    """Non-mated searches, all of them kept, each of one identity."""
    return NonMatedTrials(scores, identity, None, len(scores), np.bincount(identity, minlength=identities), None)


def test_the_weights_are_poissons() -> None:
    weights = _poisson(np.random.default_rng(0), 1_000_000)
    assert weights.mean() == pytest.approx(1, abs=0.005)
    assert weights.var() == pytest.approx(1, abs=0.01)
    assert (weights == 0).mean() == pytest.approx(np.exp(-1), abs=0.002)


def test_with_one_trial_a_person_the_interval_is_the_naive_one() -> None:
    hits = np.arange(2000) < 1700
    assert rate_interval(hits, np.arange(2000)) == pytest.approx(wilson(1700, 2000), abs=0.003)


def test_with_k_equal_trials_a_person_it_is_as_wide_as_with_one() -> None:
    """Each person hits or misses with all of 25 photos: 100 people, not 2,500 trials."""
    hits = np.repeat(np.arange(100) < 80, 25)
    low, high = rate_interval(hits, np.repeat(np.arange(100), 25)) or (0, 0)
    assert (low, high) == pytest.approx(wilson(80, 100), abs=0.02)
    naive = wilson(2000, 2500)
    assert high - low > 4 * (naive[1] - naive[0])


def test_too_few_people_or_no_error_at_all_give_no_interval() -> None:
    assert rate_interval(np.array([True, False] * 9), np.repeat(np.arange(9), 2)) is None
    assert rate_interval(np.ones(50, bool), np.arange(50)) is None


def test_a_pair_of_two_people_is_drawn_as_often_as_both_together_and_of_one_as_often_as_this_one() -> None:
    """Repeat every pair as often as its people were drawn, and count."""
    random = np.random.default_rng(12)
    first, second = random.integers(0, 15, (2, 300))
    second[:150] = first[:150]
    hits = random.random(300) < 0.8
    assert (first[150:] == second[150:]).any()  # not all are where one would look for them
    interval = rate_interval(hits, first, second, 80, seed=13)

    generator, shares = np.random.default_rng(13), []
    for _ in range(80):
        weights = _poisson(generator, 15).astype(int)
        times = [weights[a] if a == b else weights[a] * weights[b] for a, b in zip(first, second, strict=True)]
        shares.append(np.repeat(hits, times).mean())
    assert interval == pytest.approx(tuple(np.percentile(shares, [2.5, 97.5])))
    assert interval != rate_interval(hits, first, None, 80, seed=13)
    assert rate_interval(hits, first, first) == rate_interval(hits, first)


def test_the_people_of_both_sides_count_for_whether_there_are_enough() -> None:
    hits, first = np.arange(18) % 2 == 0, np.arange(18) % 6
    assert rate_interval(hits, first) is None
    assert rate_interval(hits, first, 6 + np.arange(18) % 3) is None
    assert rate_interval(hits, first, 6 + np.arange(18) % 4) is not None


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    hits, people = np.arange(200) % 3 > 0, np.arange(200) // 4
    assert rate_interval(hits, people) == rate_interval(hits, people)
    assert rate_interval(hits, people) != rate_interval(hits, people, seed=1)


def test_the_order_of_the_trials_changes_nothing() -> None:
    random = np.random.default_rng(4)
    mated, people = cosines(random, 0.5, 400), np.arange(400) % 40
    non_mated, first, second = cosines(random, 0.2, 3000), random.integers(0, 40, 3000), random.integers(0, 40, 3000)
    counts = np.bincount(first, minlength=40), np.bincount(second, minlength=40)

    def intervals(a: np.ndarray, b: np.ndarray) -> object:
        return accepted_intervals(
            MatedTrials(mated[a], people[a]),
            NonMatedTrials(non_mated[b], first[b], second[b], 3000, *counts),
            [0.1, 0.01],
        )

    assert intervals(np.arange(400), np.arange(3000)) == intervals(random.permutation(400), random.permutation(3000))


@pytest.mark.parametrize("roles", [1, 2])
def test_it_is_a_resampling_of_people_done_the_slow_way(roles: int) -> None:
    """Repeat every trial as often as its people were drawn, take the threshold by the library's rule, and count."""
    random = np.random.default_rng(5)
    people, replicates, far = 20, 60, 0.05
    mated, owner = cosines(random, 0.45, 200).round(2), np.arange(200) % people
    first, second = np.triu_indices(people, 1)  # every person meets every other once, in a fixed order of the two
    non_mated = cosines(random, 0.2, len(first)).round(2)
    trials = NonMatedTrials(
        non_mated,
        first,
        second if roles == 2 else None,
        len(first),
        np.bincount(first, minlength=people),
        np.bincount(second, minlength=people) if roles == 2 else None,
    )
    interval = accepted_intervals(MatedTrials(mated, owner), trials, [far], replicates, seed=6)[0]

    generator, shares = np.random.default_rng(6), []
    for _ in range(replicates):
        weights = _poisson(generator, people).astype(int)
        generator.standard_normal(roles)  # the others, of whom there are none
        times = weights[first] * (weights[second] if roles == 2 else 1)
        drawn = np.sort(np.repeat(non_mated, times))[::-1]
        # With two roles the number of trials is the product of the roles' sums, which keeps FAR a share of all trials.
        total = len(drawn)
        if roles == 2:
            total = (weights[first].sum() * weights[second].sum()) / len(first)
        threshold = threshold_at(drawn, total, far)
        accepted = mated >= threshold
        shares.append((weights[owner] * accepted).sum() / weights[owner].sum())
    assert interval == pytest.approx(tuple(np.percentile(shares, [2.5, 97.5])))


def test_where_one_person_has_all_the_high_scores_replicates_without_them_look_far_below() -> None:
    random = np.random.default_rng(10)
    people = np.concatenate([np.zeros(300, int), 1 + np.arange(300) % 19])
    non_mated = np.concatenate([np.full(300, 0.6), random.normal(0.2, 0.1, 300)]).astype(np.float32)
    mated, owner = cosines(random, 0.5, 200), np.arange(200) % 20
    interval = accepted_intervals(MatedTrials(mated, owner), searches(non_mated, people, 20), [0.05], 100, seed=11)[0]

    generator, shares = np.random.default_rng(11), []
    for _ in range(100):
        weights = _poisson(generator, 20).astype(int)
        generator.standard_normal()
        drawn = np.sort(np.repeat(non_mated, weights[people]))[::-1]
        accepted = mated >= threshold_at(drawn, len(drawn), 0.05)
        shares.append((weights[owner] * accepted).sum() / weights[owner].sum())
    assert max(shares) > 2 * min(shares)
    assert interval == pytest.approx(tuple(np.percentile(shares, [2.5, 97.5])))


def test_people_without_a_kept_score_matter_only_by_their_number() -> None:
    """A million distractors of whom the tail shows few: the same interval as if they had all been drawn."""
    random = np.random.default_rng(7)
    mated, owner = cosines(random, 0.5, 1000), np.arange(1000) % 50
    scores, probe = cosines(random, 0.2, 40_000), random.integers(0, 50, 40_000)
    distractor = 50 + np.arange(40_000) % 4000
    first = np.concatenate([np.bincount(probe, minlength=50), np.zeros(4000, int)])
    second = np.bincount(distractor, minlength=4050)
    every = NonMatedTrials(scores, probe, distractor, 40_000, first, second)
    top = np.argsort(scores)[-tail_length(1e-3, 40_000) :]
    tail = NonMatedTrials(scores[top], probe[top], distractor[top], 40_000, first, second)
    whole, part = (accepted_intervals(MatedTrials(mated, owner), one, [1e-3])[0] for one in (every, tail))
    assert part == pytest.approx(whole, abs=0.01)


def test_a_tail_too_short_for_many_replicates_gives_no_interval() -> None:
    random = np.random.default_rng(8)
    people = np.arange(2000) % 50
    scores = np.sort(cosines(random, 0.2, 2000))[::-1]
    mated = MatedTrials(cosines(random, 0.5, 500), np.arange(500) % 50)
    short = NonMatedTrials(scores[:21], people[:21], None, 2000, np.bincount(people), None)
    assert accepted_intervals(mated, short, [0.01]) == (None,)
    assert accepted_intervals(mated, searches(scores, people, 50), [0.01]) != (None,)


def test_the_interval_of_fnir_is_that_of_tpir_turned_round() -> None:
    assert complement((0.25, 0.75)) == (0.25, 0.75)
    assert complement((0.5, 0.875)) == (0.125, 0.5)
    assert complement(None) is None


@pytest.mark.slow
def test_the_clustered_interval_covers_the_truth_where_the_naive_one_does_not() -> None:
    """A hundred draws of 60 people with 8 searches each, whose scores share a person's own level: known TPIR."""
    random, target = np.random.default_rng(9), 0.1

    def draw(people: int) -> tuple[np.ndarray, np.ndarray]:
        level = random.normal(0, 0.1, (people, 1))
        mated = 0.35 + level + random.normal(0, 0.05, (people, 8))
        other = 0.0 + random.normal(0, 0.1, (people, 1)) + random.normal(0, 0.05, (people, 8))
        return mated.astype(np.float32).ravel(), other.astype(np.float32).ravel()

    # Both are normal with variance 0.1^2 + 0.05^2: the threshold that 10 % of strangers pass and the share of mates.
    from scipy.stats import norm

    deviation = np.hypot(0.1, 0.05)
    truth = norm.sf(norm.ppf(1 - target) * deviation, 0.35, deviation)
    identity = np.arange(60 * 8) // 8
    clustered = naive = 0
    for _ in range(100):
        mated, other = draw(60)
        threshold = threshold_at(np.sort(other)[::-1], len(other), target)
        low, high = wilson(int((mated >= threshold).sum()), len(mated))
        naive += low <= truth <= high
        trials = searches(other, identity + 60, 120)
        low, high = accepted_intervals(MatedTrials(mated, identity), trials, [target], replicates=200)[0] or (0, 0)
        clustered += low <= truth <= high
    # 95 expected; 100 draws scatter by 2, percentiles of 60 people run a little short.
    assert clustered >= 88
    assert naive <= 75
