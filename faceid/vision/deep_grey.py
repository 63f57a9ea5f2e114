"""Greys of more than 8 bits become 8 by what they hold: cameras store 10, 12 or 14 bits in 16, scanners floats."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale int32 or float32 [H, W] to uint8.

    Integers are shifted so that the highest of the bits in use becomes the highest of eight: 4095 of 12 bits in 16 is
    white, and so is 65535. Floats count as 0..1 or 0..255 where they fit that, else from their least to their greatest;
    what is not finite is black. Negative values raise the black to the least of them.
    """
    if values.dtype.kind == "f":
        return _floats(np.nan_to_num(values, nan=0, posinf=0, neginf=0))
    low, high = (int(value) for value in (values.min(), values.max()))
    base = min(low, 0)
    shift = max((high - base).bit_length() - 8, 0)
    risen = values.astype(np.int64) - base if base else values
    return (risen >> shift).astype(np.uint8)


def _floats(values: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        values, scale = values - low, 255 / max(high - low, 1e-30)
    else:
        scale = 255.0 if high <= 1 else 1.0
    return np.rint(values * scale).clip(0, 255).astype(np.uint8)
