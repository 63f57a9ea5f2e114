"""Norms take away what a cohort says of a probe and of an identity, and nothing else."""

import numpy as np
import pytest

from benchmarks.measurements.score_normalization import CohortMoments, centred, cohort_scores, s_norm, t_norm, z_norm

SCORES = np.array([[0.5, 0.2], [0.9, 0.1]])
PROBES = CohortMoments(np.array([0.1, 0.3]), np.array([0.1, 0.2]))
IDENTITIES = CohortMoments(np.array([0.1, 0.0]), np.array([0.4, 0.1]))


def test_by_hand():
    np.testing.assert_allclose(z_norm(SCORES, PROBES), [[4, 1], [3, -1]])
    np.testing.assert_allclose(t_norm(SCORES, IDENTITIES), [[1, 2], [2, 1]])
    np.testing.assert_allclose(s_norm(SCORES, PROBES, IDENTITIES), [[2.5, 1.5], [2.5, 0]], atol=1e-12)
    np.testing.assert_allclose(centred(SCORES, PROBES, IDENTITIES), [[0.4, 0.15], [0.7, -0.05]])


def test_a_probe_that_scores_higher_with_everybody_is_no_better_off():
    random = np.random.default_rng(0)
    scores, cohort = random.random((5, 7)), random.random((5, 100))
    raised = z_norm(3 * scores + 0.2, cohort_scores(3 * cohort + 0.2))
    np.testing.assert_allclose(raised, z_norm(scores, cohort_scores(cohort)))


def test_the_nearest_of_the_cohort_are_the_highest_scores():
    found = cohort_scores(np.array([[0.1, 0.9, 0.5, 0.7], [0.0, 0.0, 0.2, 0.4]]), nearest=2)
    np.testing.assert_allclose(found.mean, [0.8, 0.3])
    np.testing.assert_allclose(found.deviation, [0.1, 0.1])


def test_a_cohort_without_a_spread_is_refused():
    with pytest.raises(ValueError, match="fewer than two"):
        cohort_scores(np.ones((3, 1)))
    with pytest.raises(ValueError, match="score the same"):
        cohort_scores(np.ones((3, 5)))
