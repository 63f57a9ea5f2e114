"""A threshold that strangers of one's own set, carried along to what the gallery has become since.

The model's cohort was searched in the gallery then, and is searched in it now: by how much its scores at the rate have
moved, by so much moves the threshold. That takes for granted that the strangers' scores move as the cohort's do.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from indexer.decision.decision import Calibration, Threshold, choose_threshold
from indexer.decision.tail import percentile_interval
from indexer.errors import CalibrationError
from indexer.records import FloatVector

SHIFT_EVENTS = 20
"""Strangers of the cohort above the quantile whose shift is taken, at least: fewer would move it by chance."""

REPLICATES = 400


def carried_threshold(then: Calibration, now: FloatVector, value: float, people: int) -> Threshold:
    """Return the threshold for an FPIR of `value` among the `people` enrolled now, from a calibration made before.

    `now` float32 [n] are the cohort's best scores in the gallery as it is, in the order of the calibration's
    `cohort_scores`. The interval is a bootstrap over the strangers and over the cohort. Raises CalibrationError where
    the calibration did not support the rate even then, or another cohort, or none, was searched.
    """
    before = None if then.circumstances is None else then.circumstances.cohort_scores
    if before is None or len(before) != len(now) or not len(now):
        raise CalibrationError("the cohort that would carry this calibration along was not searched when it was made")
    set_then = choose_threshold([then], "fpir", value, then.gallery_size, "gallery", then.on)
    rate = min(0.5, max(value, SHIFT_EVENTS / len(now)))
    shift = _quantile(now, rate) - _quantile(before, rate)
    threshold = float(np.float32(set_then.value + shift))
    return replace(
        set_then,
        value=threshold,
        measured=False,
        ci95=_interval(then, before, now, rate, threshold, set_then),
        gallery_size=people,
        way="carried",
    )


def _interval(
    then: Calibration, before: FloatVector, now: FloatVector, rate: float, threshold: float, set_then: Threshold
) -> tuple[float, float]:
    """Return the interval of the rate at the threshold: of the strangers' count, and of the shift, drawn together."""
    random = np.random.default_rng(0)
    width = _log_width(set_then)
    rates = []
    for _ in range(REPLICATES):
        drawn = random.integers(0, len(now), len(now))
        shift = _quantile(now[drawn], rate) - _quantile(before[drawn], rate)
        share = _share_above(then, threshold - shift)
        rates.append(share * float(np.exp(width * random.standard_normal())))
    low, high = percentile_interval(rates)
    return max(0.0, low), min(1.0, high)


def _log_width(threshold: Threshold) -> float:
    """Return the standard deviation of the logarithm of a rate, from its 95 % interval."""
    assert threshold.ci95 is not None
    assert threshold.target_value is not None
    low, high = threshold.ci95
    low = max(low, threshold.target_value / 100)
    return float(np.log(max(high, low) / low) / (2 * 1.96))


def _share_above(then: Calibration, threshold: float) -> float:
    """Return the share of the strangers' searches at or above a score, then; half an alarm where there is none."""
    return max(float((then.scores >= np.float32(threshold)).sum()), 0.5) / then.trials


def _quantile(scores: NDArray[np.float32], rate: float) -> float:
    return float(np.quantile(scores.astype(np.float64), 1 - rate))
