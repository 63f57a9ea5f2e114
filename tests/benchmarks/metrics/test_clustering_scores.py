"""BCubed and pairwise measures against cases worked out by hand, and against scikit-learn's pairs."""

import numpy as np
import pytest
from sklearn.metrics.cluster import pair_confusion_matrix

from benchmarks.metrics.clustering_scores import clustering_scores


def values(scores):
    return [getattr(scores, name).value for name in scores.__dataclass_fields__]


def test_the_example_of_two_people_by_hand():
    # People a a a b b; clusters {a a b} {a b}.
    scores = clustering_scores(np.array([0, 0, 1, 0, 1]), np.array([0, 0, 0, 1, 1]))
    precision = (2 / 3 + 2 / 3 + 1 / 2 + 1 / 3 + 1 / 2) / 5
    recall = (2 / 3 + 2 / 3 + 1 / 3 + 1 / 2 + 1 / 2) / 5
    f = 2 * precision * recall / (precision + recall)
    assert values(scores) == pytest.approx([precision, recall, f, 1 / 4, 1 / 4, 1 / 4])
    assert scores.bcubed_f.ci95_clustered is None


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    clusters, people = random.integers(0, 30, 200), random.integers(0, 40, 200)
    (_, wrong), (missed, right) = pair_confusion_matrix(people, clusters)
    scores = clustering_scores(clusters, people, replicates=2)
    assert scores.pair_precision.value == pytest.approx(right / (right + wrong))
    assert scores.pair_recall.value == pytest.approx(right / (right + missed))


def test_everybody_alone_is_precise_and_all_in_one_recalls_all():
    people = np.repeat(np.arange(20), 3)
    alone = clustering_scores(np.arange(60), people)
    assert values(alone)[:2] == pytest.approx([1, 1 / 3])
    assert values(alone)[3:5] == [1, 0]
    together = clustering_scores(np.zeros(60, np.int64), people)
    assert values(together)[:2] == pytest.approx([1 / 20, 1])
    assert together.pair_recall.value == 1


def test_clusters_without_an_error_have_no_interval_that_says_there_can_be_none():
    people = np.repeat(np.arange(20), 3)
    sorted_rightly = clustering_scores(people, people)
    assert values(sorted_rightly) == [1] * 6
    assert [getattr(sorted_rightly, name).ci95_clustered for name in sorted_rightly.__dataclass_fields__] == [None] * 6
    torn = clustering_scores(np.where(np.arange(60) == 59, 99, people), people)
    assert torn.bcubed_precision.ci95_clustered is None  # nobody is with somebody else
    low, high = torn.bcubed_recall.ci95_clustered
    assert low < torn.bcubed_recall.value < high == 1


def test_the_interval_contains_the_truth_of_the_law_that_the_people_came_from():
    """Each person is kept together or split evenly in two, with even odds: recall is 3/4 on average."""
    inside = 0
    for draw in range(40):
        random = np.random.default_rng(draw)
        people = np.repeat(np.arange(100), 4)
        split = random.random(100) < 0.5
        clusters = people * 2 + (split[people] & (np.arange(400) % 2 == 1))
        low, high = clustering_scores(clusters, people, replicates=200).bcubed_recall.ci95_clustered
        inside += low <= 0.75 <= high
    assert inside >= 34
