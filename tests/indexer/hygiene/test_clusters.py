"""Faces into people: what is near is found exactly, chance likenesses do not chain, and people keep their numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.hygiene import graph as graph_of_pairs
from indexer.hygiene.clusters import cluster
from indexer.hygiene.graph import MOST, Pairs, near_pairs, with_new
from indexer.search.scores import canonical_scores
from tests.indexer.hygiene.faces import drawn_gallery


def graph(*edges):
    first, second, similarity = (np.array(column) for column in zip(*edges, strict=True))
    return Pairs(first.astype(np.int64), second.astype(np.int64), similarity.astype(np.float32))


def alone(count):
    return np.arange(count)


def as_sets(labels):
    return {frozenset(np.flatnonzero(labels == one).tolist()) for one in np.unique(labels)}


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(-0.2, 0.9), st.integers(0, 60))
def test_near_pairs_are_those_of_a_slow_loop(seed, at_least, start):
    vectors = drawn_gallery([3] * 20, seed)[0].vectors
    pairs = near_pairs(vectors, at_least, start)
    slow = [
        (i, j)
        for i in range(60)
        for j in range(i + 1, 60)
        if j >= start and canonical_scores(vectors[i], vectors[j]) >= at_least
    ]
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == slow
    assert (pairs.similarity == canonical_scores(vectors[pairs.first], vectors[pairs.second])).all()


def test_pairs_of_old_and_new_together_are_all_pairs():
    vectors = drawn_gallery([4] * 100)[0].vectors
    some = with_new(near_pairs(vectors[:250], 0.4), near_pairs(vectors, 0.4, 250), 400)
    every = near_pairs(vectors, 0.4)
    assert (some.first == every.first).all()
    assert (some.second == every.second).all()


def test_of_a_crowd_only_the_nearest_of_each_are_kept():
    vectors = drawn_gallery([300])[0].vectors
    pairs = near_pairs(vectors, -1.0)
    assert len(pairs.first) < 300 * MOST
    assert len(as_sets(cluster(pairs, alone(300)).labels)) == 1


@pytest.mark.parametrize("start", [0, 150])
def test_the_pairs_of_a_large_crowd_are_never_all_in_memory_and_the_same_are_kept(monkeypatch, start):
    vectors = drawn_gallery([300, 40])[0].vectors
    vectors[1::7] = vectors[0]  # copies of one photo tie
    whole = near_pairs(vectors, -1.0, start)
    joined, most = graph_of_pairs._joined, []
    monkeypatch.setattr(graph_of_pairs, "_BLOCK", 32)
    monkeypatch.setattr(graph_of_pairs, "_MANY", 1000)
    monkeypatch.setattr(
        graph_of_pairs, "_joined", lambda parts: most.append(sum(len(one.first) for one in parts)) or joined(parts)
    )
    pairs = near_pairs(vectors, -1.0, start)
    for name in ("first", "second", "similarity"):
        assert np.array_equal(getattr(pairs, name), getattr(whole, name))
    assert max(most) <= 2 * len(whole.first) + 32 * 32


def test_people_who_are_apart_are_found_again():
    embeddings, shows = drawn_gallery([5] * 60 + [1] * 40)
    labels = cluster(near_pairs(embeddings.vectors, 0.45), alone(340)).labels
    assert as_sets(labels) == as_sets(shows)
    assert (labels == [min(np.flatnonzero(shows == one)) for one in shows]).all()


def test_one_chance_likeness_does_not_join_two_people():
    edges = [(i, j, 0.7) for i in range(4) for j in range(i + 1, 4)]
    edges += [(i + 4, j + 4, 0.7) for i in range(4) for j in range(i + 1, 4)]
    labels = cluster(graph(*edges, (3, 4, 0.65)), alone(8)).labels
    assert labels.tolist() == [0] * 4 + [4] * 4


def test_two_faces_on_one_photo_are_two_people():
    pairs = graph((0, 1, 0.9), (0, 2, 0.8), (1, 2, 0.7))
    assert len(set(cluster(pairs, alone(3)).labels.tolist())) == 1
    labels = cluster(pairs, np.array([0, 0, 1])).labels
    assert labels[0] != labels[1]
    assert labels[2] == labels[0]


def test_a_face_between_two_people_is_unclear():
    edges = [(0, 1, 0.8), (0, 2, 0.8), (1, 2, 0.8), (3, 4, 0.8), (3, 5, 0.8), (4, 5, 0.8), (2, 6, 0.60), (5, 6, 0.61)]
    found = cluster(graph(*edges), alone(7))
    assert found.unclear.tolist() == [False] * 6 + [True]


def test_the_same_faces_give_the_same_people_every_time():
    embeddings, _ = drawn_gallery([3] * 200, seed=4)
    pairs = near_pairs(embeddings.vectors, 0.3)
    assert (cluster(pairs, alone(600)).labels == cluster(pairs, alone(600)).labels).all()


@pytest.mark.parametrize("seed", range(3))
def test_people_keep_their_numbers_when_photos_come(seed):
    embeddings, shows = drawn_gallery([6] * 80, seed)
    order = np.random.default_rng(seed).permutation(480)
    vectors, shows = embeddings.vectors[order], shows[order]
    before = cluster(near_pairs(vectors[:300], 0.45), alone(300)).labels
    after = cluster(near_pairs(vectors, 0.45), alone(480), before).labels
    assert (after[:300] == before).all()
    assert as_sets(after) == as_sets(shows)


def test_of_a_person_that_was_split_the_larger_part_keeps_the_number():
    pairs = graph((0, 1, 0.9), (0, 2, 0.9), (1, 2, 0.9), (3, 4, 0.9), (4, 5, 0.9), (3, 5, 0.9))
    before = np.array([3, 3, 3, 3, 3])  # the last of them leave with the new face
    labels = cluster(pairs, alone(6), before).labels
    assert len(set(labels.tolist())) in (1, 2)
    assert 3 in labels.tolist()


def test_a_face_that_parts_a_second_time_joins_nobody_by_its_number():
    before = np.array([-2, 0, 0, -2, -2])  # the first face has left the person 0, and with two others is -2
    labels = cluster(graph((1, 2, 0.9), (3, 4, 0.9), (0, 5, 0.9)), alone(6), before).labels
    assert as_sets(labels) == {frozenset(pair) for pair in ((0, 5), (1, 2), (3, 4))}
    assert (labels[1], labels[3]) == (0, -2)


def test_a_face_that_leaves_again_and_again_gives_no_two_people_one_number():
    stays = [(1, 2, 0.9), (1, 3, 0.9), (2, 3, 0.9)]
    goes = [(0, 4, 0.9), (0, 5, 0.9), (4, 5, 0.95)]
    second = cluster(graph((0, 1, 0.3), *stays, *goes), alone(6), np.zeros(4, np.int64)).labels
    assert second.tolist() == [-2, 0, 0, 0, -2, -2]
    further = [(0, 6, 0.9), (0, 7, 0.9), (6, 7, 0.95), (0, 8, 0.9), (6, 8, 0.95), (7, 8, 0.95)]
    leaves = [(0, 4, 0.3), (0, 5, 0.3), (4, 5, 0.9)]
    third = cluster(graph((0, 1, 0.3), *stays, *leaves, *further), alone(9), second).labels
    assert third[1:6].tolist() == [0, 0, 0, -2, -2], "numbers are kept, those below 0 too"
    assert len(set(third.tolist())) == 3
    assert len(set(third[[0, 6, 7, 8]].tolist())) == 1


def test_components_without_a_new_face_are_left_as_they_are():
    pairs = graph((0, 1, 0.9), (2, 3, 0.9))
    labels = cluster(pairs, alone(4), np.array([0, 1, 2])).labels
    assert labels.tolist() == [0, 1, 2, 2]


def test_no_faces_and_no_pairs():
    nothing = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    assert cluster(nothing, alone(0)).labels.tolist() == []
    assert cluster(nothing, alone(3)).labels.tolist() == [0, 1, 2]
