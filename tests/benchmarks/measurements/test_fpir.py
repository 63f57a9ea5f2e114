"""FPIR got is counted on people who set no threshold, and rows say which thresholds were measured."""

import numpy as np
import pytest

from benchmarks.measurements.extrapolation_errors import at_most, named, orders, rows
from benchmarks.measurements.fpir import calibrations, rescaled, searches, thresholds
from tests.benchmarks.metrics.test_extrapolation import feature_set
from tests.indexer.decision.test_decision import LADDER, calibration


def test_one_draw_is_a_gallery_its_strangers_and_the_second_photos_of_the_enrolled():
    random = np.random.default_rng(0)
    centres = random.standard_normal((50, 16))
    labels = np.array([f"p{number:02}" for number in range(50) for _ in range(2 if number % 5 == 0 else 1)])
    people = feature_set(centres[[int(label[1:]) for label in labels]] + 0.01, labels)
    drawn = searches(people.features, people.labels, 30, seed=1)
    assert len(drawn.strangers) == 20
    assert len(drawn.mated) == len(drawn.hits)
    assert 0 < len(drawn.mated) < 10  # those of the ten with a second photo that were drawn
    assert drawn.hits.all()
    np.testing.assert_allclose(drawn.mated, 1, atol=1e-6)
    assert drawn.strangers.max() < 0.99


def test_sizes_between_the_measured_ones_are_marked_extrapolated_and_shown_beside_counting():
    random = np.random.default_rng(1)
    features = feature_set(random.standard_normal((2500, 32)), [f"p{number}" for number in range(2500)])
    tables = calibrations(features.features, features.labels.tolist())
    rows_at_100 = {way: (basis, threshold) for way, basis, threshold in thresholds(tables, 0.1, 100)}
    assert rows_at_100["table"][0] == "measured"
    assert rows_at_100["measured at 300 only"][0] == "extrapolated"
    rows_at_500 = {way: (basis, threshold) for way, basis, threshold in thresholds(tables, 0.1, 500)}
    assert rows_at_500["table"][0] == "extrapolated"
    assert rows_at_500["table"][1] == pytest.approx(rows_at_500["table, rate rescaled and counted"][1], abs=0.02)


def test_counting_needs_three_events():
    source = calibration(LADDER, size=100)
    assert rescaled(source, 0.1, 1000) == pytest.approx(0.99, abs=0.001)  # 1 - 0.9^0.1 = 0.0105
    assert rescaled(source, 0.01, 1000) is None


def test_photos_without_names_are_named_by_their_folders(tmp_path):
    paths = np.array(["lfw/Ann/Ann_0001.jpg", "lfw/Bob/Bob_0001.jpg"])
    np.savez(tmp_path / "lfw.npz", features=np.eye(2, dtype=np.float32), labels=np.array(["", ""]), paths=paths)
    assert named(tmp_path / "lfw.npz").labels.tolist() == ["Ann", "Bob"]


def test_at_most_so_many_photos_of_a_person_the_first_ones():
    people = feature_set(np.eye(6), ["b", "a", "b", "b", "a", "b"])
    kept = at_most(2, people)
    assert kept.labels.tolist() == ["b", "a", "b", "a"]
    assert np.array_equal(kept.features, people.features[[0, 1, 2, 4]])


def test_one_photo_a_person_is_at_random_and_nobody_twice():
    people = feature_set(np.eye(20), [f"p{number % 7}" for number in range(20)])
    found = list(orders(people, 2))
    assert [name for name, _ in found] == ["shuffled", "one photo a person"] * 2 + ["as they come"]
    for name, order in found:
        labels = rows(people, order).labels
        assert len(labels) == (7 if name == "one photo a person" else 20)
        assert len(set(labels.tolist())) == 7
    assert not np.array_equal(found[0][1], found[2][1])
