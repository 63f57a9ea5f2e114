"""Accuracy over folds: thresholds from the other folds only, by each convention."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.metrics.bootstrap import rate_interval
from benchmarks.metrics.fold_accuracy import (
    _sphereface_threshold,
    best_threshold,
    by_every_convention,
    exact,
    insightface,
    opensphere,
    sphereface,
)
from benchmarks.metrics.rates import rate


def test_accuracy_worked_out_by_hand() -> None:
    # Fold 0: mated 0.9, 0.2; other 0.1, 0.5. Fold 1: mated 0.8, 0.7; other 0.3, 0.4.
    scores = np.array([0.9, 0.2, 0.1, 0.5, 0.8, 0.7, 0.3, 0.4])
    same = np.array([True, True, False, False, True, True, False, False])
    fold = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    result = exact(scores, same, fold)
    # Fold 1 alone is parted best between 0.4 and 0.7: at 0.55 fold 0 has 0.9 and 0.1, 0.5 right, 0.2 wrong.
    # Fold 0 alone has 3 of 4 right between 0.1 and 0.2 and between 0.5 and 0.9: of two the upper middle one, 0.7.
    assert result.thresholds == pytest.approx((0.55, 0.7))
    assert result.folds == (0.75, 1.0)
    assert result.accuracy == 0.875
    assert result.standard_error == pytest.approx(0.125)


def test_by_every_convention_the_pairs_decided_rightly_are_counted_with_both_intervals() -> None:
    random = np.random.default_rng(3)
    same, fold = np.arange(400) % 2 == 0, np.arange(400) // 40
    people = random.integers(0, 50, 400)
    identities = people, np.where(same, people, (people + random.integers(1, 50, 400)) % 50)
    first = random.normal(size=(400, 6)).astype(np.float32)
    second = np.where(same[:, None], first, 0) + random.normal(size=(400, 6)).astype(np.float32)
    first, second = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (first, second))
    scores = np.einsum("ij,ij->i", first, second).astype(np.float32)

    for accuracy in by_every_convention(first, second, scores, same, fold, identities):
        right = accuracy.right
        assert (right.trials, right.rate) == (400, pytest.approx(accuracy.rate))
        assert right.ci95 == rate(right.hits, 400).ci95
        low, high = right.ci95_clustered
        assert low < right.rate < high
        assert high - low > right.ci95[1] - right.ci95[0]
    found = exact(scores, same, fold)
    decided = (scores >= np.array(found.thresholds)[fold]) == same  # folds are numbered from 0
    assert found.record(identities).right.ci95_clustered == rate_interval(decided, *identities)
    assert found.record(None).right == rate(int(decided.sum()), 400)


def test_a_pair_without_a_score_counts_as_not_accepted() -> None:
    scores = np.array([-np.inf, 0.9, -np.inf, 0.1])
    same = np.array([True, True, False, False])
    assert exact(np.tile(scores, 2), np.tile(same, 2), np.repeat([0, 1], 4)).accuracy == 0.75


@given(st.lists(st.tuples(st.integers(-9, 9), st.booleans()), min_size=1, max_size=40))
def test_no_threshold_is_better_than_the_best(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score / 10 for score, _ in pairs])
    same = np.array([is_same for _, is_same in pairs])

    def right(threshold: float) -> int:
        return int(((scores >= threshold) == same).sum())

    assert right(best_threshold(scores, same)) == max(map(right, np.linspace(-1.05, 1.05, 43)))  # between all scores


def test_insightfaces_convention_is_its_loop() -> None:
    """Squared distances 0 to 4 in steps of 0.01, the first threshold of the highest accuracy, accepted below it."""
    random = np.random.default_rng(0)
    same, fold = np.arange(400) % 2 == 0, np.arange(400) // 40
    scores = np.where(same, random.normal(0.4, 0.2, 400), random.normal(0.1, 0.2, 400)).clip(-1, 1)
    expected = []
    for held_out in range(10):
        train, test = fold != held_out, fold == held_out
        distances = 2 - 2 * scores
        right = [((distances[train] < t) == same[train]).mean() for t in np.arange(0, 4, 0.01)]
        best = np.arange(0, 4, 0.01)[int(np.argmax(right))]
        expected.append(((distances[test] < best) == same[test]).mean())
    found = insightface(scores, same, fold)
    assert found.folds == pytest.approx(expected)
    assert max(found.thresholds) <= 1


def test_spherefaces_convention_is_its_script() -> None:
    """The mean feature of the other folds is subtracted; 20,001 thresholds, mean of the best; ties are wrong."""
    random = np.random.default_rng(1)
    same, fold = np.arange(120) % 2 == 0, np.arange(120) // 30
    first = (random.normal(size=(120, 8)) + 0.5).astype(np.float32)
    second = np.where(same[:, None], first + random.normal(size=(120, 8)), random.normal(size=(120, 8)) + 0.5)
    second = second.astype(np.float32)
    expected = []
    for held_out in range(4):
        train, test = fold != held_out, fold == held_out
        mean = np.concatenate([first[train], second[train]]).astype(np.float64).mean(axis=0)
        a, b = first - mean, second - mean
        scores = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
        thresholds = np.arange(-10_000, 10_001)[:, None] / 10_000
        counts = (scores[train & same] > thresholds).sum(axis=1) + (scores[train & ~same] < thresholds).sum(axis=1)
        best = thresholds[counts == counts.max()].mean()
        right = (scores[test & same] > best).sum() + (scores[test & ~same] < best).sum()
        expected.append(right / test.sum())
    assert sphereface(first, second, same, fold).folds == pytest.approx(expected)


def test_a_pair_without_a_feature_is_not_accepted_by_sphereface_either() -> None:
    first = np.array([[1, 0], [np.nan, np.nan], [1, 0], [0, 1]] * 2, dtype=np.float32)
    second = np.array([[1, 0.1], [1, 0], [0, 1], [1, 0]] * 2, dtype=np.float32)
    same = np.array([True, True, False, False] * 2)
    assert sphereface(first, second, same, np.repeat([0, 1], 4)).folds == (0.75, 0.75)


def test_opensphere_flatters_because_it_sees_the_test_pairs() -> None:
    random = np.random.default_rng(2)
    same, fold = np.arange(60) % 2 == 0, np.arange(60) // 6
    scores = np.where(same, random.normal(0.2, 0.2, 60), random.normal(0, 0.2, 60))
    flattered = opensphere(scores, same, fold)
    assert len(set(flattered.thresholds)) == 1
    assert flattered.accuracy == pytest.approx(max(((scores >= t) == same).mean() for t in np.append(scores, 2)))
    assert flattered.accuracy > exact(scores, same, fold).accuracy
    assert "optimistic" in flattered.record(None).convention


def test_a_score_at_the_threshold_is_refused_by_insightface_and_wrong_for_sphereface() -> None:
    # Squared distances 0.992 and 1: the first threshold that parts them is 1.00, and a pair at just 1 is not accepted.
    scores, same = np.array([0.504, 0.5, 0.5, 0.1]), np.array([True, False, True, False])
    assert insightface(scores, same, np.array([0, 0, 1, 1])).folds[1] == 0.5
    # No threshold lies strictly between 0.4999 and 0.5: all are right about one of the two, and their mean is 0.
    assert _sphereface_threshold(np.array([0.5, 0.4999]), np.array([True, False])) == pytest.approx(0, abs=1e-9)
