"""Masks and sunglasses drawn onto aligned faces: where eyes, nose and mouth lie is known there."""

from functools import cache

import numpy as np
import numpy.typing as npt

from faceid.vision.opencv import cv2

UInt8Image = npt.NDArray[np.uint8]
Opacity = npt.NDArray[np.float32]

CROP = 112
# In pixels of the 112x112 crop: a mask from the bridge of the nose to below the chin, and glasses about the eyes.
MASK = np.array([[20, 60], [56, 57], [92, 60], [88, 90], [75, 107], [56, 114], [37, 107], [24, 90]], np.float64)
EYES = np.array([[38.3, 51.7], [73.5, 51.5]])
ARM = np.array([40.0, 0.0])  # from a glass to beyond the face
THICKNESS = np.array([0.0, 1.5])  # half of a bar's
JITTER = 3.0  # of each corner
MASK_COLOURS = ((150, 185, 210), (225, 225, 225), (35, 35, 38), (120, 110, 105), (60, 75, 120), (190, 150, 160))
DARK = (5, 60)  # grey levels of glasses
VARIANTS = 64
SOFT = 0.7  # of the edges, standard deviation in pixels


def draw_mask(face: UInt8Image, random: np.random.Generator) -> UInt8Image:
    """Draw a mask over nose, mouth and chin of an aligned face [side, side, 3]."""
    return cover(face, mask_opacity(len(face), random), mask_colour(random))


def draw_sunglasses(face: UInt8Image, random: np.random.Generator) -> UInt8Image:
    """Draw dark glasses over the eyes of an aligned face [side, side, 3]."""
    return cover(face, glasses_opacity(len(face), random), glasses_colour(random))


def mask_opacity(side: int, random: np.random.Generator) -> Opacity:
    """Draw the shape of a mask: 0 where the face is seen, 1 where it is not, [side, side]."""
    corners = MASK + random.uniform(-JITTER, JITTER, MASK.shape)
    return _filled(side, [corners])


def glasses_opacity(side: int, random: np.random.Generator) -> Opacity:
    """Draw the shape of sunglasses: two glasses, the bridge and the arms."""
    wide, high = random.uniform(13, 17), random.uniform(9, 13)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    corners = random.uniform(2, 4)  # 2 is an ellipse, more is nearer to a rectangle
    rim = np.stack([wide * _power(np.cos(turn), corners), high * _power(np.sin(turn), corners)], axis=1)
    centres = EYES + random.uniform((-1, 1), (1, 3))
    left, right = centres
    bars = [_bar(left, right), _bar(left, left - ARM), _bar(right, right + ARM)]
    return _filled(side, [centre + rim for centre in centres] + bars)


def mask_colour(random: np.random.Generator) -> tuple[float, float, float]:
    """Draw one of the usual colours, more or less lit."""
    light = random.uniform(0.7, 1.1)
    red, green, blue = MASK_COLOURS[random.integers(len(MASK_COLOURS))]
    return light * red, light * green, light * blue


def glasses_colour(random: np.random.Generator) -> tuple[float, float, float]:
    """Draw a dark grey."""
    grey = random.uniform(*DARK)
    return grey, grey, grey


def cover(face: UInt8Image, opacity: Opacity, colour: tuple[float, float, float]) -> UInt8Image:
    """Lay a colour over a face where it is opaque."""
    mixed = face + opacity[:, :, None] * (np.array(colour, np.float32) - face)
    covered: UInt8Image = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return covered


@cache
def opacities(side: int) -> tuple[Opacity, Opacity]:
    """Shapes drawn ahead, where one a face would be too slow: masks and glasses, each [VARIANTS, side, side]."""
    random = np.random.default_rng(VARIANTS)
    masks, glasses = (
        np.stack([shape(side, random) for _ in range(VARIANTS)]) for shape in (mask_opacity, glasses_opacity)
    )
    return masks, glasses


def _filled(side: int, shapes: list[npt.NDArray[np.float64]]) -> Opacity:
    canvas = np.zeros((side, side), np.uint8)
    for shape in shapes:
        cv2.fillPoly(canvas, [np.rint(shape + (side - CROP) / 2).astype(np.int32)], 255)
    opacity: Opacity = np.asarray(cv2.GaussianBlur(canvas, (0, 0), SOFT), np.float32) / np.float32(255)
    return opacity


def _power(values: npt.NDArray[np.float64], corners: float) -> npt.NDArray[np.float64]:
    """Bend a circle's coordinate towards a rectangle's (a superellipse)."""
    bent: npt.NDArray[np.float64] = np.sign(values) * np.abs(values) ** (2 / corners)
    return bent


def _bar(start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([start - THICKNESS, end - THICKNESS, end + THICKNESS, start + THICKNESS])
