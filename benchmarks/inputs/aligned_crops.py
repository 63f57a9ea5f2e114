"""Photos that are aligned crops already: brought to a network's input without looking for a face.

An aligned crop is square and shows the face as the 112x112 reference crop of the field does, with or without an even
border around it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from faceid.models.embedding import Embedder
from faceid.models.model_file import ModelSpec
from faceid.pipeline import DECODE_THREADS
from faceid.vision.alignment import align, reference_points
from faceid.vision.images import ImageError, UInt8Image, decode
from indexer.records import FloatMatrix

REFERENCE_SIDE = 112
# A border of more than 24 pixels is no border: it is a photo.
LARGEST_SIDE = 160
NOT_ALIGNED = "not_an_aligned_crop"


def input_crop(pixels: UInt8Image, spec: ModelSpec, source: str | Path) -> UInt8Image:
    """Return the network's input [height, width, 3] of an aligned crop: the middle of it, at the network's scale.

    Raises ImageError (`not_an_aligned_crop`, naming `source`) unless it is square, with a side of 112 to 160 pixels.
    """
    height, width, _ = pixels.shape
    if height != width or not REFERENCE_SIDE <= width <= LARGEST_SIDE:
        raise ImageError(
            source,
            NOT_ALIGNED,
            f"{width}x{height} is no aligned crop: square, with a side of {REFERENCE_SIDE} to {LARGEST_SIDE} pixels",
        )
    points = reference_points(REFERENCE_SIDE, REFERENCE_SIDE) + np.float32((width - REFERENCE_SIDE) / 2)
    crop: UInt8Image = align(pixels, points[None], spec.reference_points, spec.input_size)[0]
    return crop


def embed_encoded(embedder: Embedder, images: Sequence[bytes], source: Path) -> FloatMatrix:
    """Embed encoded aligned crops (JPEG and the like): unit rows float32 [n, D], NaN for one that cannot be used."""

    def crop(image: bytes) -> UInt8Image | None:
        try:
            return input_crop(decode(image, source).rgb, embedder.spec, source)
        except ImageError:
            return None

    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        crops = list(pool.map(crop, images))
    rows = np.full((len(images), embedder.dimension), np.nan, np.float32)
    usable = [number for number, one in enumerate(crops) if one is not None]
    if usable:
        rows[usable] = embedder.embed(np.stack([one for one in crops if one is not None]))
    return rows
