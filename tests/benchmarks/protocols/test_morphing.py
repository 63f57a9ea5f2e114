"""Morphing figures against cases worked out by hand, and the bound that no morph beats."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.morphing import (
    NOBODY,
    Morphs,
    asked_and_got,
    bscer,
    contributor_scores,
    curve,
    genuine_scores,
    impostor_scores,
    map_matrix,
    mmpmr,
    people_of,
    random_partners,
    worst_cases,
)
from indexer.decision.morph import look_alikes, midpoints, pair_score_of, threshold_of


def at(*degrees):
    """Unit vectors of the plane at these angles."""
    radians = np.deg2rad(np.array(degrees, float))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


# Ann's document at 0 and live photos at 10 and 60, Bob's at 90 and 80, Cleo's at 100 and 150.
PEOPLE = people_of(
    at(0, 10, 60, 90, 80, 100, 150), ["Ann", "Ann", "Ann", "Bob", "Bob", "Cleo", "Cleo"], ["Ann", "Bob", "Cleo"], 2
)


def test_the_first_photo_is_the_document_and_the_others_are_live():
    assert np.allclose(PEOPLE.documents, at(0, 90, 100))
    assert np.allclose(PEOPLE.live[0], at(10, 60))
    assert PEOPLE.attempts.tolist() == [2, 1, 1]
    with pytest.raises(ProtocolError, match="Dan has no live photo"):
        people_of(at(0), ["Dan"], ["Dan"], 2)


def test_a_morph_passes_where_live_photos_of_both_reach_the_threshold():
    morphs = Morphs(at(45), np.array([0]), np.array([1]))
    scores = contributor_scores(PEOPLE, morphs)
    assert np.allclose(scores, [[np.cos(np.deg2rad([35, 15])), [np.cos(np.deg2rad(35)), NOBODY]]], atol=1e-6)
    assert mmpmr(scores, morphs, 0.81).hits == 1
    assert mmpmr(scores, morphs, 0.82).hits == 0


def test_genuine_and_impostor_scores_and_the_rows_of_a_curve():
    assert np.allclose(genuine_scores(PEOPLE), np.cos(np.deg2rad([10, 10, 50])), atol=1e-6)
    assert np.allclose(impostor_scores(PEOPLE), np.sort(np.cos(np.deg2rad([80, 150, 80, 60, 90, 20])))[::-1], atol=1e-6)
    assert bscer(genuine_scores(PEOPLE), 0.7).hits == 1
    worst = worst_cases(PEOPLE, look_alikes(PEOPLE.documents))
    (row,) = curve({"worst": (worst, contributor_scores(PEOPLE, worst))}, PEOPLE, [0.7])
    assert (row.bscer.hits, row.fmr) == (1, pytest.approx(1 / 6))


def test_look_alikes_and_partners():
    assert look_alikes(PEOPLE.documents).tolist() == [1, 2, 1]
    partner = random_partners(50, seed=3)
    assert sorted(partner.tolist()) == list(range(50))
    assert not (partner == np.arange(50)).any()


def test_the_attack_potential_by_hand():
    # One morph: system 1 takes both photos of both people, system 2 one of the second person.
    accepted = np.array([[[[True, True], [True, True]]], [[[True, True], [False, True]]]])
    assert map_matrix(accepted).tolist() == [[1.0, 1.0], [1.0, 0.0]]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000))
def test_no_morph_beats_the_bound_and_the_midpoint_reaches_it(seed):
    vectors = np.random.default_rng(seed).standard_normal((3, 8))
    p, q, m = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    bound = threshold_of(p @ q)
    assert min(m @ p, m @ q) <= bound + 1e-12
    middle = midpoints(p[None].astype(np.float32), q[None].astype(np.float32))[0]
    assert min(middle @ p, middle @ q) == pytest.approx(bound, abs=1e-6)
    assert pair_score_of(bound) == pytest.approx(p @ q)


def test_what_is_asked_of_the_worst_case_is_got_where_both_halves_are_alike():
    random = np.random.default_rng(1)
    centres = random.standard_normal((400, 16))
    photos = np.repeat(centres, 2, axis=0) + 0.4 * random.standard_normal((800, 16))
    photos = (photos / np.linalg.norm(photos, axis=1, keepdims=True)).astype(np.float32)
    names = [f"{number:03}" for number in range(400)]
    people = people_of(photos, np.repeat(names, 2).tolist(), names, 1)
    worst = worst_cases(people, look_alikes(people.documents))
    (row,) = asked_and_got("worst", people, worst, [0.2], seed=0)
    low, high = row.got.ci95_clustered or row.got.ci95
    assert low <= 0.2 + 0.12
    assert high >= 0.2 - 0.12
