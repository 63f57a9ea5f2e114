"""The toy figure: a margin draws people together on the circle, and the picture is written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.research import toy


def test_angles_are_those_to_the_own_and_to_the_nearest_other_class_weight() -> None:
    weights = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    embedded = toy.Embedded("softmax", np.array([[5, 5], [0, -2]], np.float32), weights, np.array([0, 1]))
    own, other = toy.angles(embedded)
    assert own == pytest.approx([45, 180])
    assert other == pytest.approx([45, 90])


@pytest.mark.slow
def test_a_short_training_tells_the_people_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "STEPS", 60)
    monkeypatch.setattr(toy, "BATCH", 32)
    monkeypatch.setattr(toy, "WARMUP", 6)
    monkeypatch.setattr(toy, "FACES_EACH", 40)
    own, other = toy.angles(toy.embed_toy(toy.draw_faces(seed=1), "A-Softmax, m = 2", dimension=3, seed=1))
    assert np.mean(own < other) > 0.9


@pytest.mark.slow
def test_the_figure_has_every_loss_and_says_its_angles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "STEPS", 1)
    monkeypatch.setattr(toy, "BATCH", 8)
    monkeypatch.setattr(toy, "FACES_EACH", 4)
    lines = toy.write_toy_figure(tmp_path / "toy.png")
    assert [line.partition(":")[0] for line in lines] == list(toy.LOSSES)
    with Image.open(tmp_path / "toy.png") as picture:
        assert picture.width > 1000
