"""The index refuses what FAISS swallows, and its top k is exact in canonical scores."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.errors import VectorError
from indexer.vector_index import VectorIndex, canonical_scores, score_error
from tests.indexer.made_up_people import unit_vectors


def oracle(index_ids, vectors, queries, k):
    """Every score by exact summation (math.fsum), sorted by score and id."""
    answers = []
    for query in queries:
        scores = [
            float(np.float32(math.fsum(float(a) * float(b) for a, b in zip(query, vector, strict=True))))
            for vector in vectors
        ]
        answers.append(sorted(zip(index_ids, scores, strict=True), key=lambda pair: (-pair[1], pair[0]))[:k])
    return answers


def filled(vectors, ids=None):
    index = VectorIndex(vectors.shape[1])
    index.add(np.arange(len(vectors)) if ids is None else ids, vectors)
    return index


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 60),
    copies=st.integers(1, 6),
    dimension=st.integers(2, 24),
    k=st.integers(1, 80),
)
def test_top_k_is_that_of_the_oracle_also_among_exact_duplicates(seed, count, copies, dimension, k):
    rng = np.random.default_rng(seed)
    vectors = np.repeat(unit_vectors(count, dimension, seed), copies, axis=0)
    ids = rng.permutation(10 * len(vectors))[: len(vectors)].astype(np.int64)
    queries = np.concatenate([vectors[:2], unit_vectors(2, dimension, seed + 1)])
    found, scores = filled(vectors, ids).search(queries, k)
    expected = oracle(ids.tolist(), vectors, queries, k)
    assert [list(zip(a, b, strict=True)) for a, b in zip(found.tolist(), scores.tolist(), strict=True)] == expected


def test_a_crowd_of_equals_is_ordered_by_id_even_beyond_every_shortlist():
    crowd = np.repeat(unit_vectors(1, 8), 5000, axis=0)
    ids = np.arange(5000)[::-1].copy()
    found, scores = filled(crowd, ids).search(crowd[:1], 7)
    assert found.tolist() == [[0, 1, 2, 3, 4, 5, 6]]
    assert len(set(scores[0].tolist())) == 1


def test_neighbours_closer_than_float32_rounding_come_in_canonical_order():
    # Thousands of vectors within a few ulp of each other: FAISS's own order among them is arbitrary.
    rng = np.random.default_rng(3)
    base = unit_vectors(1, 512)[0]
    crowd = base + rng.standard_normal((3000, 512)).astype(np.float32) * np.float32(2e-5)
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    found, scores = filled(crowd).search(base[None], 20)
    every = canonical_scores(base, crowd)
    order = np.lexsort((np.arange(len(crowd)), -every))[:20]
    assert found[0].tolist() == order.tolist()
    assert scores[0].tolist() == every[order].tolist()


def test_faiss_stays_within_the_error_bound_that_the_proof_uses():
    vectors = unit_vectors(2000, 512)
    index = filled(vectors)
    rough, places = index._index.search(vectors[:64], 2000)
    exact = canonical_scores(vectors[:64, None], vectors[places])
    assert np.abs(rough.astype(np.float64) - exact).max() < score_error(512) < 4e-5


def test_the_score_of_a_pair_does_not_depend_on_its_batch():
    vectors = unit_vectors(300, 512)
    index = filled(vectors)
    together = index.search(vectors[:50], 5)[1]
    alone = np.concatenate([index.search(vectors[i : i + 1], 5)[1] for i in range(50)])
    assert np.array_equal(together, alone)


def test_asking_for_more_than_there_is_gives_what_there_is():
    index = filled(unit_vectors(3))
    assert index.search(unit_vectors(2), 10)[0].shape == (2, 3)
    assert VectorIndex(16).search(unit_vectors(2), 10)[0].shape == (2, 0)


def test_removed_vectors_are_never_found_and_the_rest_keeps_its_ids():
    vectors = unit_vectors(100)
    index = filled(vectors, np.arange(100) * 7)
    index.remove(np.array([0, 7, 693]))
    assert len(index) == 97
    found = index.search(vectors, 1)[0]
    assert found[5, 0] == 35
    assert not set(found.ravel().tolist()) & {0, 7, 693}
    assert np.array_equal(index.vectors, vectors[2:99])
    index.add(np.array([0]), vectors[:1])
    assert index.search(vectors[:1], 1)[0].tolist() == [[0]]


@pytest.mark.parametrize(
    ("ids", "vectors", "why"),
    [
        ([5], unit_vectors(1), "already"),
        ([8, 8], unit_vectors(2), "twice"),
        ([-1], unit_vectors(1), "negative"),
        ([9], np.full((1, 16), np.nan, np.float32), "length nan"),
        ([9], np.full((1, 16), np.inf, np.float32), "length inf"),
        ([9], unit_vectors(1) * np.float32(1.002), "length 1.002"),
        ([9], np.zeros((1, 16), np.float32), "length 0"),
        ([9], unit_vectors(1, 17), "must be \\[n, 16\\]"),
        ([9], unit_vectors(1).astype(np.float64), "float32"),
        ([9], unit_vectors(1)[0], "must be \\[n, 16\\]"),
        ([9, 10], unit_vectors(1), "ids must be"),
    ],
)
def test_what_no_index_may_hold_is_refused_and_changes_nothing(ids, vectors, why):
    index = filled(unit_vectors(1), np.array([5]))
    with pytest.raises(VectorError, match=why):
        index.add(np.array(ids, np.int64), vectors)
    assert index.ids.tolist() == [5]


def test_a_query_that_is_no_embedding_is_refused():
    index = filled(unit_vectors(3))
    with pytest.raises(VectorError, match="length nan"):
        index.search(np.full((1, 16), np.nan, np.float32), 1)
    with pytest.raises(ValueError, match="at least 1"):
        index.search(unit_vectors(1), 0)
    with pytest.raises(VectorError, match="not in the index"):
        index.remove(np.array([77]))
