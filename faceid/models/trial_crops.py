"""Crops to try a network with: drawn faces. A black image or noise is nothing that a face network was made for."""

import numpy as np
from numpy.typing import NDArray


def trial_crops(height: int, width: int) -> NDArray[np.uint8]:
    """Draw three different faces: uint8 RGB [3, height, width, 3], the same every time."""
    random = np.random.default_rng(0)
    faces = [
        _face(height, width, skin=(205, 160, 130), wide=0.38, dark=40),
        _face(height, width, skin=(120, 85, 65), wide=0.31, dark=20),
        _face(height, width, skin=(235, 200, 180), wide=0.44, dark=70),
    ]
    grain = random.integers(-12, 13, (3, height, width, 3))
    return np.clip(np.stack(faces) + grain, 0, 255).astype(np.uint8)


def _face(height: int, width: int, skin: tuple[int, int, int], wide: float, dark: int) -> NDArray[np.float64]:
    """Draw an oval with eyes, nose and mouth on a background that darkens to the right."""
    y, x = np.mgrid[0:height, 0:width]
    y, x = (y + 0.5) / height, (x + 0.5) / width
    face = np.repeat((150 - 90 * x)[..., np.newaxis], 3, axis=2)
    for left, top, half_width, half_height, colour in (
        (0.5, 0.52, wide, 0.47, skin),
        (0.5 - wide / 2, 0.42, 0.07, 0.04, (dark,) * 3),
        (0.5 + wide / 2, 0.42, 0.07, 0.04, (dark,) * 3),
        (0.5, 0.6, 0.05, 0.1, tuple(0.8 * value for value in skin)),
        (0.5, 0.8, 0.16, 0.04, (150, dark, dark)),
    ):
        inside = ((x - left) / half_width) ** 2 + ((y - top) / half_height) ** 2 < 1
        face[inside] = colour
    return face
