"""What worse photos cost: the validation people found again by probes that are smaller, blurred, turned or covered.

The enrolled photos stay as they are; the probes are made worse. A face of s pixels is what an aligner would make of a
photo in which the 112x112 crop has s x s pixels: averaged down (INTER_AREA), then sampled linearly.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from faceid.models.embedding import Embedder
from faceid.models.model_file import Model
from faceid.vision.opencv import cv2
from indexer.records import FloatMatrix
from training.augment import CROP, UInt8Image, centre_crops, motion_kernel
from training.covers import draw_mask, draw_sunglasses
from training.data.faces import FaceSource
from training.validation import Validation, validate

BATCH = 256
SEED = 7
SIZES = (64, 48, 32, 24, 16)
BLURS = (1, 2, 3)
QUALITIES = (30, 15, 7)
TURNS = (10, 20, 30)

Damage = Callable[[UInt8Image, np.random.Generator], UInt8Image]


def measure_degraded(models: Sequence[Model], faces: FaceSource) -> Iterator[tuple[str, list[Validation]]]:
    """For each kind of damage, its name and the figures of each model on these faces of people."""
    embedders = [Embedder(model, precision="auto") for model in models]
    enrolled = [_embed(embedder, faces, _none) for embedder in embedders]
    for name, damage in DAMAGES.items():
        probes = [_embed(embedder, faces, damage) for embedder in embedders]
        yield (
            name,
            [validate(some, faces.labels, whole) for some, whole in zip(probes, enrolled, strict=True)],
        )


def table(names: Sequence[str], rows: Iterator[tuple[str, list[Validation]]]) -> Iterator[str]:
    """Write a Markdown table line by line: accuracy / TAR at FAR 1e-3 / FNIR at FPIR 1 %, in percent."""
    yield f"| probes | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for damage, figures in rows:
        cells = (f"{100 * each.accuracy:.1f} / {100 * each.tar:.1f} / {100 * each.fnir:.1f}" for each in figures)
        yield f"| {damage} | {' | '.join(cells)} |"


def _embed(embedder: Embedder, faces: FaceSource, damage: Damage) -> FloatMatrix:
    rows = []
    for start in range(0, len(faces.labels), BATCH):
        chosen = np.arange(start, min(start + BATCH, len(faces.labels)))
        # A face is damaged alike whoever looks at it.
        worse = [
            damage(face, np.random.default_rng([SEED, index]))
            for index, face in zip(chosen.tolist(), faces.read(chosen), strict=True)
        ]
        rows.append(embedder.embed(centre_crops(np.stack(worse), embedder.spec.input_size)))
    return np.concatenate(rows)


def _none(face: UInt8Image, _: np.random.Generator) -> UInt8Image:
    return face


def _small(face: UInt8Image, _: np.random.Generator, size: int) -> UInt8Image:
    side = len(face)
    small = max(1, round(side * size / CROP))
    shrunk = cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (side, side), interpolation=cv2.INTER_LINEAR))


def _blurred(face: UInt8Image, _: np.random.Generator, deviation: float) -> UInt8Image:
    return np.asarray(cv2.GaussianBlur(face, (0, 0), deviation))


def _moved(face: UInt8Image, random: np.random.Generator, length: int) -> UInt8Image:
    """Smear along a line of a direction that is drawn."""
    return np.asarray(cv2.filter2D(face, -1, motion_kernel(length, random.uniform(0, np.pi))))


def _compressed(face: UInt8Image, _: np.random.Generator, quality: int) -> UInt8Image:
    encoded = cv2.imencode(".jpg", face[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))


def _turned(face: UInt8Image, random: np.random.Generator, degrees: float) -> UInt8Image:
    """Turn about the middle to one side or the other, as by landmarks that are off."""
    side = len(face)
    middle = ((side - 1) / 2, (side - 1) / 2)
    matrix = cv2.getRotationMatrix2D(middle, degrees * random.choice([-1.0, 1.0]), 1.0)
    return np.asarray(cv2.warpAffine(face, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE))


def _dark(face: UInt8Image, random: np.random.Generator) -> UInt8Image:
    """Leave a sixth of the light, and add the noise of a sensor that has so little."""
    noisy = face / 6 + random.normal(0, 4, face.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _grey(face: UInt8Image, _: np.random.Generator) -> UInt8Image:
    return np.repeat(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)


DAMAGES: dict[str, Damage] = {
    "as they are": _none,
    **{f"face of {size} px": partial(_small, size=size) for size in SIZES},
    "mask": draw_mask,
    "sunglasses": draw_sunglasses,
    **{f"blur, {deviation} px": partial(_blurred, deviation=deviation) for deviation in BLURS},
    "moved, 9 px": partial(_moved, length=9),
    **{f"JPEG, quality {quality}": partial(_compressed, quality=quality) for quality in QUALITIES},
    **{f"turned, {degrees} degrees": partial(_turned, degrees=degrees) for degrees in TURNS},
    "dark, with noise": _dark,
    "grey": _grey,
}
"""Kinds of damage by name; lengths are in pixels of the 112x112 crop."""
