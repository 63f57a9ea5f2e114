"""What any index elsewhere must keep: call `keeps_the_contract` with one that is open and holds nothing yet."""

import numpy as np

from indexer.outside.outside import Mark
from indexer.search.scores import canonical_scores, score_error
from tests.indexer.made_up_people import unit_vectors

MARK = Mark("some-uuid", "a" * 64, "max", 1, 7, (3, 12345), 300, 300)


def keeps_the_contract(index, dimension=64, count=300):
    """Assert that what is put in is found, by its float32 inner product, and that what is taken out is gone."""
    assert index.mark() is None
    assert index.count() == 0
    index.make("a" * 64, dimension)
    vectors, ids = unit_vectors(count, dimension, seed=3), np.arange(5, 5 + count)
    index.put(ids, vectors)
    index.put(ids[:50], vectors[:50])  # twice is once
    index.settle()
    assert index.count() == count
    assert index.mark() is None
    index.set_mark(MARK)
    assert index.mark() == MARK

    the_list_is_that_of_brute_force(index, ids, vectors)
    assert index.held(np.array([1, 5, 6, 5 + count])).tolist() == [5, 6]

    index.remove(np.array([5, 6, 10**9]))
    index.scrub()
    assert index.count() == count - 2
    assert not len(index.held(np.array([5, 6])))
    the_list_is_that_of_brute_force(index, ids[2:], vectors[2:])

    index.put(ids[2:3], vectors[:1])  # another vector in its place
    assert index.shortlist(vectors[:1], 1).ids.tolist() == [[int(ids[2])]]

    index.make("b" * 64, dimension)
    assert index.mark() is None
    assert index.count() == 0
    index.drop()
    assert index.mark() is None
    assert index.count() == 0


def the_list_is_that_of_brute_force(index, ids, vectors):
    queries = np.concatenate([vectors[:4], unit_vectors(3, vectors.shape[1], seed=9)])
    exact = canonical_scores(queries[:, None], vectors[None])
    error = score_error(vectors.shape[1])
    for width in (1, 20, len(ids), 2 * len(ids)):
        listed = index.shortlist(queries, width)
        there = min(width, len(ids))
        assert listed.ids.shape == listed.scores.shape == (len(queries), there)
        assert (np.diff(listed.scores, axis=1) <= 0).all(), "the best comes first"
        for its, scores, truth in zip(listed.ids, listed.scores, exact, strict=True):
            assert len(set(its.tolist())) == there
            places = np.searchsorted(ids, its)
            assert (np.abs(truth[places] - scores) <= error).all()
            if index.exhaustive:
                outside = np.delete(truth, places)
                assert outside.max(initial=-9) <= scores[-1] + error, "nobody outside scores higher"
