"""What is drawn onto a face hides what it should, and nothing else."""

from collections.abc import Callable

import numpy as np
import pytest

from training.covers import EYES, draw_mask, draw_sunglasses

NOSE, MOUTH = (56, 72), [(42, 92), (71, 92)]


def changed(draw: Callable[..., np.ndarray], side: int, seed: int) -> np.ndarray:
    """Where the middle 112x112 pixels of a green face are another colour: bool [112, 112]."""
    face = np.full((side, side, 3), (0, 255, 0), np.uint8)
    different = (draw(face, np.random.default_rng(seed)).astype(int) != face).any(2)
    border = (side - 112) // 2
    return different[border : border + 112, border : border + 112]


@pytest.mark.parametrize("side", [112, 120])
def test_a_mask_hides_nose_and_mouth_and_no_eye(side: int) -> None:
    for seed in range(20):
        hidden = changed(draw_mask, side, seed)
        assert all(hidden[y, x] for x, y in [NOSE, *MOUTH])
        assert not any(hidden[int(y), int(x)] for x, y in EYES)


@pytest.mark.parametrize("side", [112, 120])
def test_sunglasses_hide_the_eyes_and_no_mouth(side: int) -> None:
    for seed in range(20):
        hidden = changed(draw_sunglasses, side, seed)
        assert all(hidden[round(y), round(x)] for x, y in EYES)
        assert not any(hidden[y, x] for x, y in MOUTH)


def test_the_same_draw_makes_the_same_picture() -> None:
    face = np.random.default_rng(1).integers(0, 256, (120, 120, 3), np.uint8)
    for draw in (draw_mask, draw_sunglasses):
        one, other, another = (draw(face, np.random.default_rng(seed)) for seed in (4, 4, 5))
        assert np.array_equal(one, other)
        assert not np.array_equal(one, another)
