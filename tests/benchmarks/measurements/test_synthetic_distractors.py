"""Synthetic distractors have the upper tail of the real ones, not only their bulk, and stand in for them."""

import numpy as np
import pytest

from benchmarks.measurements.synthetic_distractors import best_scores, draw_distractors, read_off, synthesize
from benchmarks.metrics.extrapolation import ExtrapolationError, mated_pairs
from tests.benchmarks.metrics.test_extrapolation import (
    DIMENSION,
    brute_force,
    by_quantity,
    feature_set,
    probes_of,
    strangers,
)


def kinds_of_people(count, random, kinds=400):
    """Faces come in kinds: a probe of a kind meets its look-alikes, far above what the spread of all would tell."""
    centres = np.random.default_rng(99).standard_normal((kinds, DIMENSION))
    return centres[random.integers(kinds, size=count)] + 0.9 * random.standard_normal((count, DIMENSION))


def test_unit_features_of_the_number_asked_with_the_real_mean_and_spread():
    random = np.random.default_rng(0)
    real = feature_set(kinds_of_people(1500, random) + 0.5, np.full(1500, "")).features
    drawn = np.concatenate(list(draw_distractors(real, 20_000)))
    assert drawn.shape == (20_000, DIMENSION)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(drawn.mean(axis=0), real.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(drawn.std(axis=0), real.std(axis=0), rtol=0.12)
    assert len(np.unique(drawn.round(6), axis=0)) > 19_500  # not a handful that repeat themselves


def test_the_same_seed_draws_the_same_and_another_one_others():
    real = strangers(300, np.random.default_rng(1)).features
    first, again, other = (np.concatenate(list(draw_distractors(real, 10, seed))) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_upper_tail_is_nearer_to_the_truth_than_a_gaussian_of_the_same_spread():
    random = np.random.default_rng(2)
    crowd = feature_set(kinds_of_people(40_000, random), np.full(40_000, "")).features
    probes = feature_set(kinds_of_people(300, random), np.full(300, "")).features
    real = crowd[:4000]
    gauss = random.multivariate_normal(real.mean(axis=0), np.cov(real.T), 40_000)
    gauss /= np.linalg.norm(gauss, axis=1, keepdims=True)
    mixed = np.concatenate(list(draw_distractors(real, 40_000)))
    truth, gaussian, synthetic = (np.median((probes @ faces.T).max(axis=1)) for faces in (crowd, gauss, mixed))
    assert abs(synthetic - truth) < abs(gaussian - truth) / 2


def test_what_is_foretold_for_ten_times_as_many_is_near_what_they_show():
    random = np.random.default_rng(3)
    probes = probes_of(100, random)
    crowd = feature_set(kinds_of_people(20_000, random), np.full(20_000, ""))
    seen = feature_set(crowd.features[:2000], crowd.labels[:2000])
    foretold = by_quantity(synthesize(probes, seen, [20_000], [0.1], [0.5]))
    rank1, threshold = brute_force(probes, crowd, 0.1)
    assert foretold["rank1"].value == pytest.approx(rank1, abs=0.05)
    assert foretold["threshold at FPIR 0.1"].value == pytest.approx(threshold, abs=0.04)
    fpir = foretold["FPIR at threshold 0.5000"]
    assert (fpir.method, fpir.fitted_on, fpir.measured) == ("synthetic", 2000, None)
    for prediction in foretold.values():
        assert prediction.ci95[0] <= prediction.value <= prediction.ci95[1]


def test_best_scores_at_each_size_are_those_of_a_brute_force():
    random = np.random.default_rng(4)
    probes, crowd = probes_of(30, random).features, strangers(1000, random).features
    blocks = (crowd[start : start + 300] for start in range(0, 1000, 300))
    found = best_scores(probes, blocks, [1, 300, 301, 1000], np.full(len(probes), -1, np.float32))
    for size, best in zip([1, 300, 301, 1000], found, strict=True):
        np.testing.assert_allclose(best, (probes @ crowd[:size].T).max(axis=1), atol=1e-6)


def test_rank1_threshold_and_fpir_by_hand():
    # Two people with two photos each: mates at 0.9 and 0.5; best strangers 0.6, 0.7, 0.4, 0.8.
    features = np.array([[1, 0, 0, 0], [0.9, 0.19**0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0.5, 0.75**0.5]], np.float32)
    mated = mated_pairs(features, np.array(["ann", "ann", "bob", "bob"]))
    best = np.array([0.6, 0.7, 0.4, 0.8], np.float32)
    rank1, threshold, fpir = read_off(best, mated, np.ones(4, bool), [0.25], [0.7])
    assert rank1 == 0.75  # bob's second photo has a stranger at 0.8 above its mate at 0.5
    assert threshold == np.nextafter(np.float32(0.7), np.float32(1))
    assert fpir == 0.5
    assert read_off(best, mated, np.array([True, True, False, False]), [0.6], [0.65])[0] == 1


def test_fewer_than_there_are_need_no_synthetic_ones():
    random = np.random.default_rng(5)
    with pytest.raises(ExtrapolationError, match="cannot stand for 250"):
        synthesize(probes_of(40, random), strangers(300, random), [250])
