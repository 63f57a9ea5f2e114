"""A threshold keeps its promise on the sample it came from, says so, and refuses what the sample cannot know."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from indexer.decision.decision import Calibration, choose_threshold, decide, threshold_at, user_threshold
from indexer.decision.intervals import wilson
from indexer.errors import CalibrationError


def calibration(scores, *, trials=None, size=1000, target="fpir", data="strangers", date="2026-11-01"):
    scores = np.sort(np.asarray(scores, np.float32))[::-1]
    return Calibration(target, scores, trials or len(scores), size, 1.0, "max", "a" * 64, "float32", data, date)


LADDER = np.arange(1, 1001) / 1000  # 0.001 .. 1.000


@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.3000001, 0.9]), min_size=1, max_size=60),
    target=st.floats(0.001, 0.999),
)
def test_the_alarms_at_a_threshold_never_exceed_the_target_and_the_next_lower_score_would(scores, target):
    ordered = np.sort(np.array(scores, np.float32))[::-1]
    threshold = threshold_at(ordered, len(ordered), target)
    assert (ordered >= threshold).sum() <= target * len(ordered) * (1 + 1e-12)
    below = ordered[ordered < threshold].max()
    assert (ordered >= below).sum() > target * len(ordered) * (1 - 1e-12)


def test_golden_thresholds():
    ladder = np.sort(LADDER.astype(np.float32))[::-1]
    # 1 % of 1000: ten alarms, so just above the eleventh largest, 0.990.
    assert threshold_at(ladder, 1000, 0.01) == float(np.nextafter(np.float32(0.99), np.float32(1)))
    # 0.29 * 100 is 28.999999999999996 in floating point; it must allow 29.
    hundred = np.linspace(1, 0, 100, dtype=np.float32)
    assert (hundred >= threshold_at(hundred, 100, 0.29)).sum() == 29


def test_a_tail_that_ends_before_the_target_is_not_enough():
    with pytest.raises(CalibrationError, match="needs the 11 largest of 1000 scores and only 10 are kept"):
        threshold_at(np.linspace(1, 0.5, 10, dtype=np.float32), 1000, 0.01)


@pytest.mark.parametrize("rate", [5e-324, 1e-300, 1e-13, 0, -0.1, 1, float("nan")])
@pytest.mark.parametrize(("target", "size"), [("fpir", 1000), ("far", None)])
def test_a_rate_that_nobody_could_measure_is_refused_in_words(target, size, rate):
    with pytest.raises(CalibrationError, match="must lie between 1e-12 and 1"):
        choose_threshold([calibration(LADDER, target=target, size=size)], target, rate, 10**9, "gallery")


def test_at_the_measured_size_the_row_is_measured_with_its_interval():
    threshold = choose_threshold([calibration(LADDER)], "fpir", 0.01, 1000, "gallery")
    assert threshold.measured
    assert (threshold.kind, threshold.target, threshold.target_value) == ("gallery", "fpir", 0.01)
    assert (threshold.trials, threshold.gallery_size, threshold.measured_at) == (1000, 1000, 1000)
    assert threshold.ci95 == pytest.approx(wilson(10, 1000))
    assert threshold.value == float(np.nextafter(np.float32(0.99), np.float32(1)))


def test_at_twice_the_size_half_the_rate_is_allowed_and_the_row_says_extrapolated():
    # f0 = 1 - 0.98^(1/2) = 0.010051; the law of evenly spread scores gives it at 1 - f0.
    threshold = choose_threshold([calibration(LADDER)], "fpir", 0.02, 2000, "model")
    assert not threshold.measured
    assert threshold.value == pytest.approx(1 - 0.010051, abs=0.002)
    assert threshold.ci95[0] < 0.02 < threshold.ci95[1]


def test_a_smaller_gallery_takes_its_threshold_from_the_bulk_by_counting():
    # f0 = 1 - 0.95^(1000/400) = 0.1203 is no tail any more: 120 of 1000 may alarm.
    threshold = choose_threshold([calibration(LADDER)], "fpir", 0.05, 400, "model")
    assert not threshold.measured
    assert threshold.value == float(np.nextafter(np.float32(0.88), np.float32(1)))
    low, high = wilson(120, 1000)
    assert threshold.ci95 == pytest.approx((1 - (1 - low) ** 0.4, 1 - (1 - high) ** 0.4))


def test_too_few_searches_for_a_tail_are_counted_with_the_rescaled_rate():
    # f0 = 1 - 0.95^(1/2) = 0.0253 of 250 searches at twice the size: six alarms.
    few = calibration(np.arange(1, 251) / 250)
    assert choose_threshold([few], "fpir", 0.05, 2000, "model").value == pytest.approx(244 / 250, abs=1e-6)


def test_scores_that_are_all_the_same_have_no_tail_and_are_counted():
    same = calibration(np.full(1000, 0.5))
    threshold = choose_threshold([same], "fpir", 0.02, 2000, "model")
    assert threshold.value == float(np.nextafter(np.float32(0.5), np.float32(1)))


@pytest.mark.parametrize("higher", [[0.9], [0.9] * 40, [0.9, 0.8, 0.7]])
def test_scores_that_are_nearly_all_the_same_have_no_tail_to_draw_from_without_end(higher):
    copies = calibration([*higher, *[0.5] * 200, *np.linspace(0, 0.4, 800 - len(higher))])
    threshold = choose_threshold([copies], "fpir", 0.02, 2000, "model")
    assert threshold.value == pytest.approx(0.9 if len(higher) == 40 else 0.5, abs=1e-6)
    with pytest.raises(CalibrationError, match="needs"):
        choose_threshold([copies], "fpir", 0.001, 1000, "model")


@pytest.mark.parametrize(("size", "measured"), [(900, True), (1100, True), (1101, False), (899, False)])
def test_ten_percent_is_as_good_as_the_same_size(size, measured):
    assert choose_threshold([calibration(LADDER)], "fpir", 0.05, size, "gallery").measured is measured


def test_a_rate_below_three_events_is_foretold_and_a_tenth_of_that_refused_with_the_number_needed():
    counted = choose_threshold([calibration(LADDER)], "fpir", 0.003, 1000, "gallery")
    assert counted.measured
    foretold = choose_threshold([calibration(LADDER)], "fpir", 0.0005, 1000, "gallery")
    assert not foretold.measured
    assert foretold.value == pytest.approx(0.9995, abs=0.002)
    assert foretold.ci95[0] < 0.0005 < foretold.ci95[1]
    with pytest.raises(CalibrationError, match=r"FPIR 0\.0002 at 1000 .* 1000 non-mated searches .* needs 15000"):
        choose_threshold([calibration(LADDER)], "fpir", 0.0002, 1000, "gallery")
    with pytest.raises(CalibrationError, match="needs"):
        choose_threshold([calibration(LADDER)], "fpir", 0.003, 20_000, "gallery")


def test_the_tail_keeps_its_promise_on_searches_of_a_gallery_ten_times_as_large():
    # Best of N scores of one law: known exactly. A hundred calibrations from 1,000 searches at N0 = 1,000.
    random = np.random.default_rng(7)
    achieved = []
    for _ in range(100):
        best = norm.isf(-np.expm1(np.log(random.random(1000)) / 1000))
        threshold = choose_threshold([calibration(best)], "fpir", 0.01, 10_000, "model")
        assert not threshold.measured
        achieved.append(-np.expm1(10_000 * np.log1p(-norm.sf(threshold.value))))
    assert np.median(achieved) == pytest.approx(0.01, rel=0.5)
    assert np.quantile(achieved, 0.1) > 0.001
    assert np.quantile(achieved, 0.9) < 0.06


def test_the_size_nearest_in_proportion_is_used():
    rows = [calibration(LADDER, size=100), calibration(LADDER / 2, size=10_000)]
    assert choose_threshold(rows, "fpir", 0.3, 900, "model").measured_at == 100
    assert choose_threshold(rows, "fpir", 0.5, 1100, "model").measured_at == 10_000


def test_far_takes_no_notice_of_the_gallery():
    rows = [calibration(LADDER, size=None, target="far"), calibration(LADDER)]
    threshold = choose_threshold(rows, "far", 0.01, 10**6, "model")
    assert threshold.measured
    assert threshold.gallery_size is None
    with pytest.raises(CalibrationError, match="pairs of different people: it needs 30000"):
        choose_threshold(rows, "far", 1e-4, None, "model")


def test_without_a_measurement_there_is_no_threshold():
    with pytest.raises(CalibrationError, match="nothing has been measured for FAR"):
        choose_threshold([calibration(LADDER)], "far", 0.01, None, "gallery")


def test_a_record_survives_json_to_the_last_bit():
    before = calibration(np.random.default_rng(0).random(500), trials=10_000)
    after = Calibration.from_record(json.loads(json.dumps(before.to_record())))
    assert np.array_equal(before.scores, after.scores)
    assert after.scores.dtype == np.float32
    assert before.to_record() == after.to_record()


@pytest.mark.parametrize("spoil", [{"scores": "%%"}, {"scores": "AAAA"}, {"trials": 3}, {"target": "far"}, {"x": 1}])
def test_a_record_that_is_not_one_is_refused(spoil):
    with pytest.raises(CalibrationError):
        Calibration.from_record({**calibration(LADDER).to_record(), **spoil})


def test_accept_at_the_threshold_itself_and_never_without_a_candidate():
    assert decide(0.4, user_threshold(0.4)) == "identified"
    assert decide(0.39999, user_threshold(0.4)) == "unknown"
    assert decide(None, user_threshold(-1.0)) == "unknown"
