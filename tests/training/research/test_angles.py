"""Angles between people: worked out by hand on a circle, and against every pair."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.records import FloatMatrix
from training.research.angles import draw_angles, measure_angles


def circle(*degrees: float) -> FloatMatrix:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_angles_on_a_circle_by_hand() -> None:
    # a at 0 and 20, b at 50 and 90, and one face of c, who does not count.
    angles = measure_angles(circle(0, 20, 50, 90, 55), np.array(["a", "a", "b", "b", "c"]))
    assert angles.own_centre == pytest.approx([20, 20, 40, 40], abs=1e-2)
    assert angles.other_centre == pytest.approx([70, 50, 40, 80], abs=1e-2)
    assert angles.within == pytest.approx([20, 40], abs=1e-2)
    assert angles.between == pytest.approx([30, 30], abs=1e-2)
    assert angles.ideal_margin == pytest.approx(-10, abs=1e-2)
    assert angles.people_within_criterion == 0.5


def test_faces_of_nobody_are_no_person() -> None:
    angles = measure_angles(circle(0, 20, 50, 90, 55, 180), np.array(["a", "a", "b", "b", "", ""]))
    assert angles.within == pytest.approx([20, 40], abs=1e-2)
    assert angles.between == pytest.approx([30, 30], abs=1e-2)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((60, 8))
    unit = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    labels = np.array([f"p{n % 13}" for n in range(60)])
    whole = measure_angles(unit, labels)
    monkeypatch.setattr("training.research.angles.BLOCK", 7)
    parts = measure_angles(unit, labels)
    for name in ("own_centre", "other_centre", "within", "between"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-3)
    cosines = unit @ unit.T
    same = labels[:, None] == labels
    expected = [np.degrees(np.arccos(cosines[labels == name][:, labels == name].min())) for name in np.unique(labels)]
    np.testing.assert_allclose(whole.within, expected, atol=1e-2)
    assert whole.between.min() == pytest.approx(np.degrees(np.arccos(cosines[~same].max())), abs=1e-2)


def test_people_with_one_face_only_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="two people or more"):
        measure_angles(circle(0, 90), np.array(["a", "b"]))


def test_the_histograms_are_drawn(tmp_path: Path) -> None:
    angles = measure_angles(circle(0, 20, 50, 90), np.array(["a", "a", "b", "b"]))
    draw_angles(angles, "by hand", tmp_path / "angles.png")
    with Image.open(tmp_path / "angles.png") as picture:
        assert picture.width > 500
