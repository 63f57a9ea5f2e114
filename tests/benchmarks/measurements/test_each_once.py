"""A set with each person once, by the judgement of another network."""

import numpy as np
import pytest

from benchmarks.measurements.each_once import known_pairs, level_of, once
from faceid.feature_set import FeatureSet
from tests.indexer.made_up_people import unit_vectors


def at_angles(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_who_shows_an_earlier_person_goes_and_who_is_only_linked_by_that_stays():
    # 0 and 20 degrees are one person, 20 and 40 too; 40 is not near enough to 0, and 20 is gone.
    assert once(at_angles(0, 20, 40, 120), np.cos(np.radians(25))) == [0, 2, 3]


def test_the_level_is_the_rate_of_different_people_without_those_known_to_be_one(tmp_path):
    vectors = unit_vectors(400, 64, 3)
    vectors[1] = vectors[0]
    names = np.array([f"p{i:03d}" for i in range(400)])
    pairs = FeatureSet(vectors, names, names, "", "drawn")
    (tmp_path / "known.txt").write_text("duplicate:p000+p001\nstranger:p007_0001\n")
    known = known_pairs(tmp_path / "known.txt")
    assert known == {frozenset(("p000", "p001"))}
    scores = (vectors @ vectors.T)[np.triu_indices(400, 1)]
    for rate in (1e-3, 1e-4):
        level = level_of(pairs, known, rate)
        others = np.sort(scores)[:-1]  # without the known pair
        assert (others >= level).sum() == pytest.approx(rate * len(scores), abs=1)
    assert level_of(pairs, set(), 1e-5) > level_of(pairs, known, 1e-5)
