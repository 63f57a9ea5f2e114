"""One search over several segments: tombstones, and revisions that follow one another."""

import itertools

import numpy as np
import pytest

from indexer.search.certified_search import Part, search
from indexer.search.codes import encode
from indexer.search.scores import canonical_scores
from indexer.search.shortlist import Segment
from tests.indexer.made_up_people import unit_vectors

VECTORS = unit_vectors(3000, 64)
OWNERS = np.arange(3000) % 700


def parts(owners, cuts=(0, 2000, 2900, 3000)):
    """Three segments, the first with codes as a file would bring them."""
    return [
        Part(Segment(np.arange(a, b), VECTORS[a:b], encode(VECTORS[a:b]) if a == 0 else None), owners[a:b])
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
    found = search(parts(owners), queries, 5, kind=kind)
    assert answers(found) == [best(owners, query, 5) for query in queries]
    assert found.exact_candidates.all()


def test_the_next_revision_uses_what_was_prepared_and_leaves_the_last_one_as_it_was():
    before = parts(OWNERS)
    expected = answers(search(before, VECTORS[:4], 5, kind="int8"))
    changed = OWNERS.copy()
    changed[:10] = -1  # the people of the first four vectors lose these templates
    after = [Part(one.segment, changed[one.segment.ids]) for one in before[:2]]  # and the last segment is gone
    prepared = [dict(one.segment._prepared) for one in after]
    gone = np.where(np.arange(3000) >= 2900, -1, changed)
    assert answers(search(after, VECTORS[:4], 5, kind="int8")) == [best(gone, query, 5) for query in VECTORS[:4]]
    assert answers(search(before, VECTORS[:4], 5, kind="int8")) == expected
    assert [one.segment._prepared for one in after] == prepared


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
    found = search([Part(Segment(np.arange(3000), Spied(), codes), OWNERS)], VECTORS[5:6], 3, kind="int8")
    assert answers(found) == [best(OWNERS, VECTORS[5], 3)]
    assert 0 < Spied.touched < 300
