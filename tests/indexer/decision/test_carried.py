"""A threshold goes along with the gallery: as far as the cohort's scores moved, and no less sure than it was."""

import numpy as np
import pytest

from indexer.decision.carried import carried_threshold
from indexer.decision.decision import Calibration, Circumstances, choose_threshold
from indexer.errors import CalibrationError


def scores(count, shift=0.0, seed=0):
    return (0.3 + shift + 0.05 * np.random.default_rng(seed).gumbel(size=count)).astype(np.float32)


def calibration(strangers, cohort):
    circumstances = None if cohort is None else Circumstances("c" * 64, 30, "d", "largest", "k" * 64, cohort)
    ordered = np.sort(strangers)[::-1]
    return Calibration(
        "fpir", ordered, len(ordered), 30, 1.0, "max", "a" * 64, "float32", "s", "2026-11-26", None, circumstances
    )


@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_the_rate_holds_after_the_gallery_moved(rate):
    cohort = scores(3000, seed=1)
    then = calibration(scores(2000, seed=2), cohort)
    moved = cohort + np.float32(0.08) + 0.005 * np.random.default_rng(3).standard_normal(3000).astype(np.float32)
    threshold = carried_threshold(then, moved, rate, 60)
    alarms = np.mean(scores(200_000, 0.08, seed=5) >= threshold.value)
    low, high = threshold.ci95
    assert low < rate < high
    assert low / 1.3 < alarms < high * 1.3
    assert (threshold.way, threshold.measured, threshold.gallery_size) == ("carried", False, 60)


def test_a_gallery_that_did_not_move_keeps_its_threshold():
    cohort = scores(3000, seed=1)
    then = calibration(scores(2000, seed=2), cohort)
    carried = carried_threshold(then, cohort, 0.05, 30)
    measured = choose_threshold([then], "fpir", 0.05, 30, "gallery")
    assert carried.value == pytest.approx(measured.value, abs=1e-6)


def test_carrying_along_costs_width():
    cohort = scores(400, seed=1)
    then = calibration(scores(2000, seed=2), cohort)
    measured = choose_threshold([then], "fpir", 0.05, 30, "gallery").ci95
    carried = carried_threshold(then, scores(400, 0.05, seed=9), 0.05, 60).ci95
    assert carried[1] - carried[0] > measured[1] - measured[0]


@pytest.mark.parametrize("cohort", [None, scores(10)])
def test_it_takes_the_cohort_that_was_searched_then(cohort):
    with pytest.raises(CalibrationError, match="not searched when it was made"):
        carried_threshold(calibration(scores(2000), cohort), scores(3000), 0.05, 60)


def test_what_the_strangers_never_supported_is_refused():
    with pytest.raises(CalibrationError, match="cannot be supported"):
        carried_threshold(calibration(scores(100), scores(3000)), scores(3000), 0.0001, 60)
