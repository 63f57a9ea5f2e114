"""Photos of people who do not exist, as files: drawn faces, turned, scaled and shifted, before a plain background."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.demo.face_model import FACE_LANDMARKS, FACE_SIDE, load_face_model
from faceid.vision.alignment import Points
from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2
from indexer.records import FloatMatrix, FloatVector

PHOTO_SIDE = 192
SCALE = (1.0, 1.2)  # photo pixels per pixel of the drawn face
TURN_DEGREES = 8.0
SHIFT_PIXELS = 10.0
MARGIN = 60  # pixels of the drawn face: room for neck and shoulders on the canvas
SHARPENING = 0.6  # unsharp mask, as cameras do it
GRAIN = 2.0  # grey levels, standard deviation: a sensor's noise
JPEG_QUALITY = 92
BLOCK = 64  # people drawn together, in one product of matrices


@dataclass(frozen=True, eq=False)
class DrawnPhoto:
    """A photo uint8 RGB [PHOTO_SIDE, PHOTO_SIDE, 3] and where its face's landmarks [5, 2] lie, in pixels (x, y)."""

    pixels: UInt8Image
    landmarks: Points


def write_people(folder: Path, people: int, photos_each: int, seed: int, *, prefix: str = "person") -> list[Path]:
    """Write photos of new people, FOLDER/person-0001/1.jpg and so on, and return their paths in that order.

    The same seed gives the same people; another seed gives others.
    """
    written = []
    for number, photos in enumerate(draw_people(people, photos_each, seed), start=1):
        home = folder / f"{prefix}-{number:04d}"
        home.mkdir(parents=True)
        for place, photo in enumerate(photos, start=1):
            written.append(home / f"{place}.jpg")
            Image.fromarray(photo.pixels).save(written[-1], quality=JPEG_QUALITY)
    return written


def draw_people(people: int, photos_each: int, seed: int) -> Iterator[list[DrawnPhoto]]:
    """Draw people one after the other, each with `photos_each` photos."""
    model = load_face_model()
    rng = np.random.default_rng(seed)
    for start in range(0, people, BLOCK):
        drawn = model.sample_people(min(BLOCK, people - start), rng)
        photos = [[take_photo(face, rng) for face in model.sample_faces(drawn, rng)] for _ in range(photos_each)]
        yield from (list(of_one) for of_one in zip(*photos, strict=True))


def take_photo(face: UInt8Image, rng: np.random.Generator) -> DrawnPhoto:
    """Put an aligned face [FACE_SIDE, FACE_SIDE, 3] on shoulders, these into a photo at a random place and angle."""
    matrix = _placement(rng)
    on_canvas = matrix.copy()
    on_canvas[:, 2] -= matrix[:, :2] @ np.array([MARGIN, MARGIN])
    figure = cv2.warpAffine(_figure(face, rng), on_canvas, (PHOTO_SIDE, PHOTO_SIDE), flags=cv2.INTER_CUBIC)
    photo = figure[..., :3] + (1 - figure[..., 3:]) * _background(rng)
    photo += GRAIN * rng.standard_normal((PHOTO_SIDE, PHOTO_SIDE, 1), np.float32)
    points = np.hstack([FACE_LANDMARKS, np.ones((5, 1), np.float32)])
    return DrawnPhoto(np.clip(np.rint(photo), 0, 255).astype(np.uint8), (points @ matrix.T).astype(np.float32))


def _placement(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the 2x3 matrix from the face's pixels to the photo's."""
    scale, angle = rng.uniform(*SCALE), rng.uniform(-TURN_DEGREES, TURN_DEGREES)
    middle = (FACE_SIDE - 1) / 2
    matrix = np.asarray(cv2.getRotationMatrix2D((middle, middle), angle, scale), np.float64)
    matrix[:, 2] += (PHOTO_SIDE - 1) / 2 - middle + rng.uniform(-SHIFT_PIXELS, SHIFT_PIXELS, 2)
    return matrix


def _figure(face: UInt8Image, rng: np.random.Generator) -> FloatMatrix:
    """Return head and shoulders on a canvas MARGIN wider on all sides: [side, side, 4], colour x cover, and cover."""
    sharp = face.astype(np.float32)
    sharp += SHARPENING * (sharp - cv2.GaussianBlur(sharp, (0, 0), 1.2))
    skin = np.median(face[78:100, 45:75].reshape(-1, 3), axis=0)  # between nose and chin
    clothes = rng.uniform(40, 170) + rng.uniform(-30, 30, 3)
    head, neck, body = _cover()
    figure = body * _opaque(clothes)
    figure += neck * (_opaque(0.75 * skin) - figure)  # in the shadow of the chin
    inner = figure[MARGIN:-MARGIN, MARGIN:-MARGIN]
    inner += head * (np.dstack([sharp, np.ones(sharp.shape[:2], np.float32)]) - inner)
    return figure


def _opaque(colour: NDArray[np.float64]) -> FloatVector:
    return np.append(colour, 1).astype(np.float32)


@cache
def _cover() -> tuple[FloatMatrix, FloatMatrix, FloatMatrix]:
    """Return what the head covers of the face's square, and neck and body of the canvas: 0..1, [side, side, 1]."""
    y, x = (np.mgrid[:FACE_SIDE, :FACE_SIDE] + 0.5) / FACE_SIDE * 2 - 1
    # An oval that narrows to the chin.
    radius = (np.abs(x / (1 - 0.22 * np.clip(y, 0, 1))) ** 2.6 + np.abs(y) ** 2.6) ** (1 / 2.6)
    head = np.clip((0.99 - radius) / 0.18, 0, 1).astype(np.float32)
    side = FACE_SIDE + 2 * MARGIN
    neck, body = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    cv2.ellipse(neck, (side // 2, MARGIN + 112), (27, 40), 0, 0, 360, 1.0, -1)
    cv2.ellipse(body, (side // 2, MARGIN + 180), (84, 54), 0, 0, 360, 1.0, -1)
    return head[..., None], *(cv2.GaussianBlur(shape, (0, 0), 2.5)[..., None] for shape in (neck, body))


def _background(rng: np.random.Generator) -> FloatMatrix:
    """Return a soft gradient between two muted colours [PHOTO_SIDE, PHOTO_SIDE, 3]."""
    low = rng.uniform(60, 190) + rng.uniform(-20, 20, 3)
    step = rng.uniform(-45, 45)
    angle = rng.uniform(0, 2 * np.pi)
    place = np.linspace(-0.5, 0.5, PHOTO_SIDE, dtype=np.float32)
    ramp = place[None, :] * np.float32(np.cos(angle)) + place[:, None] * np.float32(np.sin(angle))
    return low.astype(np.float32) + (ramp * np.float32(step))[..., None]
