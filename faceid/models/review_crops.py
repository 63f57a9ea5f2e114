"""Crops that show no face, and faces with their copies, drawn: what a review of a gallery compares templates with."""

import numpy as np
from numpy.typing import NDArray

from faceid.models.trial_crops import trial_crops
from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2

_OF_EACH = 8


def broken_crops(height: int, width: int) -> UInt8Image:
    """Draw crops of what a detector or a cut may leave: RGB uint8 [kinds, n, height, width, 3], the same every time.

    Flat, shaded and grainy walls, faces in the dark, blurred away, of a few pixels, cut off, and corners of faces.
    """
    random = np.random.default_rng(np.random.PCG64(0))
    faces = trial_crops(height, width)
    crops = []
    for number in range(_OF_EACH):
        face = faces[number % len(faces)]
        crops.append(
            [
                _flat(height, width, random),
                _shaded(height, width, random),
                _grainy(height, width, random),
                (face * random.uniform(0, 0.06)).astype(np.uint8),
                cv2.GaussianBlur(face, (0, 0), width * random.uniform(0.1, 0.2)),
                _coarse(face, int(random.integers(3, 7))),
                _cut_off(face, random),
                _corner(face, random),
            ]
        )
    return np.array(crops).swapaxes(0, 1)


def _flat(height: int, width: int, random: np.random.Generator) -> UInt8Image:
    return np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)


def _shaded(height: int, width: int, random: np.random.Generator) -> UInt8Image:
    ends = random.integers(0, 256, (2, 3))
    share = np.linspace(0, 1, height)[:, None, None]
    shaded = ends[0] * (1 - share) + ends[1] * share
    return np.broadcast_to(shaded, (height, width, 3)).astype(np.uint8)


def _grainy(height: int, width: int, random: np.random.Generator) -> UInt8Image:
    grain = random.normal(random.uniform(30, 225, 3), random.uniform(2, 30), (height, width, 3))
    return np.clip(grain, 0, 255).astype(np.uint8)


def _coarse(face: UInt8Image, pixels: int) -> UInt8Image:
    small = cv2.resize(face, (pixels, pixels), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, face.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def _cut_off(face: UInt8Image, random: np.random.Generator) -> UInt8Image:
    """Smear the last line of what is left over the rest, as an edge of a photo is."""
    cut = int(face.shape[0] * random.uniform(0.1, 0.4))
    return np.concatenate([face[:cut], np.repeat(face[cut - 1 : cut], face.shape[0] - cut, axis=0)])


def _corner(face: UInt8Image, random: np.random.Generator) -> UInt8Image:
    high, wide = (int(side * random.uniform(0.2, 0.3)) for side in face.shape[:2])
    y, x = (int(random.integers(0, 2)) * (whole - part) for whole, part in zip(face.shape, (high, wide), strict=False))
    return np.asarray(cv2.resize(face[y : y + high, x : x + wide], face.shape[1::-1]), np.uint8)


def with_copies(crops: UInt8Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return crops [n, H, W, 3] several times over, and for each a copy: smaller, moved a little, as a JPEG."""
    random = np.random.default_rng(np.random.PCG64(0))
    many = np.repeat(crops, _OF_EACH, axis=0)
    return many, np.stack([_copy(crop, random) for crop in many])


def _copy(crop: UInt8Image, random: np.random.Generator) -> UInt8Image:
    size = crop.shape[1::-1]
    factor = random.uniform(0.6, 0.95)
    small = cv2.resize(crop, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    moved = np.array([[1, 0, random.normal(0, 0.7)], [0, 1, random.normal(0, 0.7)]])
    shifted = cv2.warpAffine(cv2.resize(small, size), moved, size, borderMode=cv2.BORDER_REPLICATE)
    _, jpeg = cv2.imencode(".jpg", shifted, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(50, 91))])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
