"""What any kind of index must keep: call `keeps_the_contract("its name")` in a test of yours."""

import numpy as np

from indexer.search.certified_search import Part, search
from indexer.search.index_kinds import load_kind
from indexer.search.scores import canonical_scores
from indexer.search.shortlist import Segment

DIMENSION = 64


def keeps_the_contract(name, slack=0.04):
    """Assert that a kind's lists are lists and its bounds bounds; `slack` is how loose a proved bound may be."""
    kind = load_kind(name)
    kind.check_machine()
    vectors = far_and_near()
    segment = Segment(np.arange(100, 100 + len(vectors)), vectors)
    for count in (1, 2, 70):
        asked = vectors[:: len(vectors) // count][:count]
        for live in (None, np.arange(len(vectors)) % 3 > 0, np.zeros(len(vectors), bool)):
            for width in (1, 300, len(vectors)):
                the_list_is_one(kind, segment, asked, width, live, slack)
    a_search_by_it_is_that_of_brute_force(name, segment, vectors[:3])


def far_and_near():
    """Vectors [n, D] of people with five photos each, their opposites, and the axes: both ends of every scale."""
    rng = np.random.default_rng(5)
    centres = np.repeat(rng.standard_normal((400, DIMENSION)), 5, axis=0)
    people = (centres + rng.standard_normal(centres.shape)).astype(np.float32)
    people /= np.linalg.norm(people, axis=1, keepdims=True)
    return np.concatenate([people, -people, np.eye(DIMENSION, dtype=np.float32)])


def the_list_is_one(kind, segment, queries, width, live, slack):
    shortlist = segment.under(kind).shortlist(queries, width, live)
    exact = canonical_scores(queries[:, None], segment.vectors[None])
    there = len(segment) if live is None else np.count_nonzero(live)
    assert shortlist.uppers.shape == shortlist.rows.shape
    assert shortlist.unseen.shape == (len(queries),)
    for uppers, rows, unseen, scores in zip(shortlist.uppers, shortlist.rows, shortlist.unseen, exact, strict=True):
        seen = rows[rows >= 0]
        assert len(set(seen.tolist())) == len(seen), "no row comes twice"
        assert live is None or live[seen].all(), "no row that is gone is listed"
        assert len(seen) >= min(width, there) or not kind.proves
        assert (scores[seen] <= uppers[rows >= 0]).all(), "a bound is above the score"
        outside = np.ones(len(scores), bool) if live is None else live.copy()
        outside[seen] = False
        assert scores[outside].max(initial=-9) <= unseen, "no row outside scores above `unseen`"
        if kind.proves:
            assert (uppers[rows >= 0] - scores[seen]).max(initial=0) < slack
            assert np.isfinite(unseen)


def a_search_by_it_is_that_of_brute_force(name, segment, queries):
    kind, owners = load_kind(name), np.arange(len(segment)) // 5
    found = search([Part(segment, owners)], queries, 7, kind=name, fast=not kind.proves)
    scores = canonical_scores(queries[:, None], segment.vectors[None])
    for place, one in enumerate(scores):
        best = np.full(owners.max() + 1, -9, np.float32)
        np.maximum.at(best, owners, one)
        order = np.lexsort((np.arange(len(best)), -best))[:7]
        if kind.proves:
            assert found.ids[place].tolist() == order.tolist()
            assert found.exact_candidates[place]
        assert found.scores[place].tolist() == best[found.ids[place]].tolist(), "scores are canonical, whoever is found"
        assert (one[found.rows[place] - 100] == found.scores[place]).all(), "the rows are those that scored"
