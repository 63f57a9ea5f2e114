"""Greys of more than 8 bits become 8 by what they hold: cameras store 10, 12 or 14 bits in 16, scanners floats."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceid.vision.deep_colour import OUTLIERS

_SAMPLE = 2**20  # so many pixels of a large picture tell


def to_eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale int32, uint32 or float32 [H, W] to uint8, by what all but the thousandth at either end hold.

    Integers are shifted so that the highest of the bits in use becomes the highest of eight: 4095 of 12 bits in 16 is
    white, and so is 65535. Floats count as 0..1 or 0..255 where they fit that, else from their least to their greatest;
    what is not finite is black. Negative values raise the black to the least of them.
    """
    if values.dtype.kind == "f":
        return _floats(np.nan_to_num(values, nan=0, posinf=0, neginf=0))
    low, high = (int(value) for value in _range(values))
    base = min(low, 0)
    shift = max((high - base).bit_length() - 8, 0)
    risen = values.astype(np.int64) - base if base else values
    return (risen.clip(0, (256 << shift) - 1) >> shift).astype(np.uint8)


def _floats(values: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = (float(value) for value in _range(values))
    if low < 0 or high > 255:
        values, scale = values.clip(low, high) - low, 255 / max(high - low, 1e-30)
    else:
        scale = 255.0 if high <= 1 else 1.0
    return np.rint(values.clip(0, 255 / scale) * scale).astype(np.uint8)


def _range(values: NDArray[Any]) -> NDArray[Any]:
    sample = values.ravel()[:: max(values.size // _SAMPLE, 1)]
    found: NDArray[Any] = np.quantile(sample, (OUTLIERS, 1 - OUTLIERS), method="nearest")
    return found
