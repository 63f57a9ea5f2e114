"""One index over several segments: tombstones, filters and revisions that follow one another."""

import itertools

import numpy as np
import pytest

from indexer.search.codes import encode
from indexer.search.identity_index import Entries, IdentityIndex
from indexer.search.vector_index import canonical_scores
from tests.indexer.made_up_people import unit_vectors

VECTORS = unit_vectors(3000, 64)
OWNERS = np.arange(3000) % 700


def segments(owners, cuts=(0, 2000, 2900, 3000)):
    """Three segments, the first with codes as a file would bring them."""
    return [
        Entries(np.arange(a, b), owners[a:b], VECTORS[a:b], encode(VECTORS[a:b]) if a == 0 else None)
        for a, b in itertools.pairwise(cuts)
    ]


def best(owners, query, k):
    scores = canonical_scores(query, VECTORS)
    people = np.unique(owners[owners >= 0])
    each = [(-float(scores[owners == person].max()), int(person)) for person in people]
    return [(person, -score) for score, person in sorted(each)[:k]]


def answers(found):
    return [list(zip(*one, strict=True)) for one in zip(found.ids.tolist(), found.scores.tolist(), strict=True)]


@pytest.mark.parametrize("kind", ["flat", "int8"])
def test_several_segments_with_tombstones_are_one_index(kind):
    owners = np.where(np.arange(3000) % 3 == 0, -1, OWNERS)
    queries = np.concatenate([VECTORS[:4], unit_vectors(2, 64, 7)])
    found = IdentityIndex(segments(owners), 64, kind=kind).search(queries, 5)
    assert answers(found) == [best(owners, query, 5) for query in queries]
    assert found.exact_candidates.all()


@pytest.mark.parametrize("kind", ["flat", "int8"])
def test_a_search_within_some_identities_sees_no_other(kind):
    index = IdentityIndex(segments(OWNERS), 64, kind=kind)
    within = np.array([3, 8, 15, 600])
    found = index.search(VECTORS[:3], 10, within=within)
    expected = np.where(np.isin(OWNERS, within), OWNERS, -1)
    assert answers(found) == [best(expected, query, 10) for query in VECTORS[:3]]
    assert index.search(VECTORS[:1], 10, within=np.array([9999])).ids.shape == (1, 0)


def test_the_next_revision_uses_what_was_prepared_and_leaves_the_last_one_as_it_was():
    first = segments(OWNERS)
    before = IdentityIndex(first, 64, kind="int8")
    expected = answers(before.search(VECTORS[:4], 5))
    changed = OWNERS.copy()
    changed[:10] = -1  # the people of the first four vectors lose these templates
    second = [
        Entries(one.ids, changed[one.ids], one.vectors, one.codes) for one in first[:2]
    ]  # and the last segment is gone
    after = IdentityIndex(second, 64, before, kind="int8")
    gone = np.where(np.arange(3000) >= 2900, -1, changed)
    assert answers(after.search(VECTORS[:4], 5)) == [best(gone, query, 5) for query in VECTORS[:4]]
    assert answers(before.search(VECTORS[:4], 5)) == expected
    prepared = [[part.prepared for part in index._index._parts] for index in (before, after)]
    assert prepared[0][:2] == prepared[1]


def test_vectors_are_read_by_the_rows_that_are_needed_and_no_others():
    class Spied:
        """Stands for the vectors of a mapped file."""

        shape, touched = VECTORS.shape, 0

        def __len__(self):
            return len(VECTORS)

        def __getitem__(self, rows):
            assert not isinstance(rows, slice)
            type(self).touched += len(rows)
            return VECTORS[rows]

    codes = encode(VECTORS)
    index = IdentityIndex([Entries(np.arange(3000), OWNERS, Spied(), codes)], 64, kind="int8")
    found = index.search(VECTORS[5:6], 3)
    assert answers(found) == [best(OWNERS, VECTORS[5], 3)]
    assert 0 < Spied.touched < 300
