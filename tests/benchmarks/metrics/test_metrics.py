"""The metrics against cases worked out by hand, brute force, and scikit-learn."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from benchmarks.metrics.metrics import cmc, det, dir_at_far, eer, fnir, fnir_at_fpir, fpir, rank_rate, roc, tar_at_far
from benchmarks.metrics.rates import UnsupportedRate


def f32(*scores: float) -> np.ndarray:
    return np.array(scores, dtype=np.float32)


# Scores in tenths, so that many are equal.
TENTHS = st.lists(st.integers(-9, 9), min_size=1, max_size=40).map(lambda them: f32(*(one / 10 for one in them)))


def just_above(score: float) -> np.float32:
    return np.nextafter(np.float32(score), np.float32(np.inf))


def test_the_cmc_counts_mates_at_a_rank_or_better() -> None:
    ranks = np.array([1, 1, 2, 5, 900])
    assert cmc(ranks, 5).tolist() == [0.4, 0.6, 0.6, 0.6, 0.8]
    assert (rank_rate(ranks).hits, rank_rate(ranks, 2).hits, rank_rate(ranks).trials) == (2, 3, 5)


def test_tar_at_far_worked_out_by_hand() -> None:
    # Ten non-mated scores, FAR 0.3 allows three of them: the threshold lies just above the fourth, 0.6.
    non_mated = f32(0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.5, 0.0)
    mated = f32(0.95, 0.65, 0.6, 0.55)
    point = tar_at_far(mated, non_mated, 0.3)
    assert point.threshold == just_above(0.6)
    assert (point.value.hits, point.value.trials) == (2, 4)
    assert (point.achieved.hits, point.achieved.trials) == (3, 10)


def test_ties_at_the_threshold_count_against_us() -> None:
    # One false accept is allowed, but the best two strangers are equal: neither is accepted, nor the mated pair there.
    point = tar_at_far(f32(0.9, 0.8, 0.7), f32(0.8, 0.8, *[0.1] * 8), 0.3)
    assert point.threshold == just_above(0.1)
    point = tar_at_far(f32(0.9, 0.8, 0.7), f32(*[0.8] * 4, *[0.1] * 6), 0.3)
    assert (point.threshold, point.achieved.hits, point.value.hits) == (just_above(0.8), 0, 1)


def test_a_pair_without_a_score_is_never_accepted() -> None:
    point = tar_at_far(f32(0.9, -np.inf), f32(0.5, *[-np.inf] * 9), 0.3)
    assert point.threshold > -np.inf
    assert (point.achieved.hits, point.value.hits) == (1, 1)


@given(TENTHS, st.lists(st.integers(-9, 9), min_size=30, max_size=60), st.sampled_from([0.1, 0.2, 0.29, 0.5]))
def test_no_lower_threshold_keeps_the_far(mated: np.ndarray, tenths: list[int], far: float) -> None:
    non_mated = f32(*(one / 10 for one in tenths))
    point = tar_at_far(mated, non_mated, far)
    assert point.achieved.rate <= far + 1e-12
    # By brute force over all thresholds that make a difference.
    kept = [t for t in np.append(non_mated, 1) for t in (t, just_above(t)) if (non_mated >= t).mean() <= far + 1e-12]
    assert point.threshold == min(kept)
    assert point.value.hits == sum(score >= point.threshold for score in mated)


@given(TENTHS, st.lists(st.integers(-9, 9), min_size=30, max_size=60), st.integers(14, 30))
def test_the_upper_tail_is_enough(mated: np.ndarray, tenths: list[int], kept: int) -> None:
    non_mated = f32(*(one / 10 for one in tenths))
    tail = np.sort(non_mated)[-kept:]
    assert tar_at_far(mated, tail, 0.2, trials=len(non_mated)) == tar_at_far(mated, non_mated, 0.2)


def test_a_far_that_the_trials_cannot_support_is_refused() -> None:
    with pytest.raises(UnsupportedRate, match="needs 3,000;"):
        tar_at_far(f32(0.5), np.zeros(2999, np.float32), 1e-3)


def test_scores_that_are_not_float32_or_not_numbers_are_errors() -> None:
    with pytest.raises(ValueError, match="float32"):
        tar_at_far(np.array([0.1]), np.zeros(30, np.float32), 0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a number"):
        tar_at_far(f32(np.nan), np.zeros(30, np.float32), 0.1)


def test_compatibility_modes_worked_out_by_hand() -> None:
    # Of forty strangers two score above 0.7, four at 0.7, two at 0.5: corners at FAR 0.05, 0.15, 0.2 and on.
    non_mated = f32(0.9, 0.85, *[0.7] * 4, *[0.5] * 2, *[0.0] * 32)
    mated = f32(0.95, 0.8, 0.75, 0.7, 0.6, 0.3)
    # Nearest to 0.16 is 0.15, and there the lowest threshold: just above 0.5, so five of six.
    nearest = tar_at_far(mated, non_mated, 0.16, rule="nearest")
    assert (nearest.threshold, nearest.value.hits, nearest.achieved.hits) == (just_above(0.5), 5, 6)
    # Nearest to 0.19 is 0.2, above what was asked.
    assert tar_at_far(mated, non_mated, 0.19, rule="nearest").achieved.rate == 0.2
    # FAR 0.1 is half way between 0.05 (three of six, above 0.7) and 0.15 (four of six, at 0.7).
    interp = tar_at_far(mated, non_mated, 0.1, rule="interp")
    assert interp.value.rate == pytest.approx(3.5 / 6)
    # The conservative rule stays below: two false accepts where four were allowed, three of six.
    conservative = tar_at_far(mated, non_mated, 0.1)
    assert (conservative.achieved.hits, conservative.value.hits) == (2, 3)


@pytest.mark.parametrize("ties", [False, True])
def test_the_compatibility_modes_agree_with_scikit_learns_curve(ties: bool) -> None:
    random = np.random.default_rng(1)
    mated = random.normal(0.5, 0.2, 300).astype(np.float32)
    non_mated = random.normal(0.0, 0.2, 3000).astype(np.float32)
    if ties:
        mated, non_mated = mated.round(2), non_mated.round(2)
    labels, scores = np.repeat([1, 0], [300, 3000]), np.concatenate([mated, non_mated])
    far, tar, _ = roc_curve(labels, scores, drop_intermediate=False)
    for target in (0.0017, 0.01, 0.1):
        turned = np.abs(far[::-1] - target)
        nearest = tar_at_far(mated, non_mated, target, rule="nearest")
        assert nearest.value.rate == pytest.approx(tar[::-1][np.argmin(turned)])
        assert nearest.achieved.rate == pytest.approx(far[::-1][np.argmin(turned)])
        interp = tar_at_far(mated, non_mated, target, rule="interp")
        assert interp.value.rate == pytest.approx(np.interp(target, far, tar))


@given(TENTHS, TENTHS)
def test_every_point_of_a_small_roc_is_there_and_exact(mated: np.ndarray, non_mated: np.ndarray) -> None:
    curve = roc(mated, non_mated)
    assert curve.false_accepts.tolist() == [(non_mated >= t).sum() for t in curve.thresholds]
    assert curve.true_accepts.tolist() == [(mated >= t).sum() for t in curve.thresholds]
    assert (np.diff(curve.thresholds) < 0).all()
    # What scikit-learn finds by FAR: the best TAR at each FAR that some threshold has.
    far, tar, _ = roc_curve(np.repeat([1, 0], [len(mated), len(non_mated)]), np.concatenate([mated, non_mated]))
    ours = dict(zip(curve.far.round(9), curve.tar, strict=True))  # the last of equal ones, so the best
    theirs = {f: tar[far.round(9) == f].max() for f in far.round(9)}
    for f, best in theirs.items():
        if f in ours:
            assert ours[f] == pytest.approx(best)
        else:
            assert f == 0
            assert best == 0
    assert ours[1.0] == pytest.approx(theirs[1.0])


def test_a_long_roc_is_thinned_to_exact_points_even_on_a_log_axis() -> None:
    random = np.random.default_rng(2)
    mated = random.normal(0.5, 0.15, 20_000).astype(np.float32)
    non_mated = random.normal(0.0, 0.1, 200_000).astype(np.float32)
    curve = roc(mated, non_mated)
    assert len(curve.far) < 1500
    for threshold, accepted in zip(curve.thresholds[::100], curve.false_accepts[::100], strict=True):
        assert accepted == (non_mated >= threshold).sum()
    # All of the first hundred counts of errors, at both ends, and then no gap over 3 % of a count.
    for counts in (curve.false_accepts, curve.mated - curve.true_accepts):
        counts = np.unique(counts)
        assert set(range(101)) <= set(counts.tolist())
        assert all(b / a < 1.03 for a, b in pairwise(counts[counts >= 100].tolist()))
    assert (curve.false_accepts[-1], curve.true_accepts[-1]) == (200_000, 20_000)


def test_a_roc_of_a_tail_ends_where_the_tail_does() -> None:
    random = np.random.default_rng(3)
    mated, non_mated = (random.normal(mean, 0.2, 3000).astype(np.float32) for mean in (0.5, 0.0))
    whole, part = roc(mated, non_mated), roc(mated, np.sort(non_mated)[-300:], trials=3000)
    assert part.far.max() < 0.1
    both = np.isin(part.thresholds, whole.thresholds)
    assert both.sum() > 100
    for threshold, far in zip(part.thresholds, part.far, strict=True):
        assert far == (non_mated >= threshold).mean()


def test_the_det_is_what_the_roc_leaves() -> None:
    mated, non_mated = f32(0.9, 0.5, 0.4), f32(0.6, 0.3, 0.2, 0.1)
    far, fnmr = det(mated, non_mated)
    # By falling threshold: 0.9, just above 0.6, 0.5, 0.4, just above 0.3, 0.2 and 0.1, and 0.1.
    assert far.tolist() == [0, 0, 0.25, 0.25, 0.25, 0.5, 0.75, 1]
    assert fnmr.tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3, 0, 0, 0, 0, 0])


def test_eer_worked_out_by_hand() -> None:
    # At 0.55 one of four strangers is accepted and one of four mates refused.
    found = eer(f32(0.9, 0.8, 0.55, 0.3), f32(0.7, 0.5, 0.2, 0.1))
    assert (found.rate, found.threshold) == (0.25, np.float32(0.55))
    assert (found.far.hits, found.fnmr.hits) == (1, 1)


def test_eer_between_two_points_is_read_off_the_line() -> None:
    # From (FAR 0, FNMR 1/2) at 0.9 to (2/3, 0) at 0.5, where a mate and two strangers are equal: x = 1/2 - 3/4 x.
    assert eer(f32(0.9, 0.5), f32(0.5, 0.5, 0.1)).rate == pytest.approx(2 / 7)


@given(TENTHS, TENTHS)
def test_the_eer_lies_where_scikit_learns_curve_crosses(mated: np.ndarray, non_mated: np.ndarray) -> None:
    far, tar, _ = roc_curve(
        np.repeat([1, 0], [len(mated), len(non_mated)]), np.concatenate([mated, non_mated]), drop_intermediate=False
    )
    gap = far - (1 - tar)
    after = int(np.argmax(gap >= -1e-12))
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    assert eer(mated, non_mated).rate == pytest.approx(far[after - 1] + share * (far[after] - far[after - 1]))


def test_searches_that_are_all_right_have_no_equal_error_and_all_wrong_ones_only_errors() -> None:
    assert eer(f32(0.9, 0.8), f32(0.1, 0.2)).rate == 0
    assert eer(f32(0.1, 0.2), f32(0.9, 0.8)).rate == 1
    assert eer(f32(-np.inf, -np.inf), f32(0.5)).rate == 1


def test_fnir_counts_low_ranks_and_low_scores_alike() -> None:
    ranks, scores = np.array([1, 1, 2, 3, 1]), f32(0.9, 0.4, 0.8, 0.9, 0.5)
    assert fnir(ranks, scores, 0.5).hits == 3  # the second scores under 0.5, the third and fourth rank too low
    assert fnir(ranks, scores, 0.5, max_rank=2).hits == 2
    assert fnir(ranks, scores, -1, max_rank=3).hits == 0


def test_fpir_counts_searches_at_or_above_the_threshold() -> None:
    assert fpir(f32(0.7, 0.5, 0.3, -np.inf), 0.5).hits == 2


def test_fnir_at_fpir_and_dir_at_far_are_two_sides_of_one() -> None:
    strangers = f32(*(n / 100 for n in range(100)))  # FPIR 5 %: five may pass, so just above the sixth, 0.94
    ranks, scores = np.array([1, 1, 1, 2]), f32(0.97, 0.94, 0.945, 0.99)
    missed, found = fnir_at_fpir(ranks, scores, strangers, 0.05), dir_at_far(ranks, scores, strangers, 0.05)
    assert missed.threshold == found.threshold == just_above(0.94)
    assert (missed.achieved.hits, missed.value.hits, found.value.hits) == (5, 2, 2)
    with pytest.raises(UnsupportedRate, match="non-mated searches"):
        fnir_at_fpir(ranks, scores, strangers, 0.01)
