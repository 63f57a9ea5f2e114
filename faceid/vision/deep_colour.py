"""PNGs of 16 bits a colour of which only the lower ones are used: Pillow keeps the upper eight, and sees them black."""

import numpy as np
from numpy.typing import NDArray

from faceid.vision.deep_grey import to_eight_bits

BYTES_A_PIXEL = 32  # samples of 16 bits, and what is made of them on the way


def scaled_colours(png: bytes) -> NDArray[np.uint8] | None:
    """Return the colours, uint8 [H, W, 3] as stored, scaled by what they hold; None where OpenCV reads no 16 bits.

    Transparent pixels are laid on white.
    """
    from faceid.vision.opencv import cv2  # slow to load, and few photos are such

    samples = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16 or samples.ndim != 3:
        return None
    colours = to_eight_bits(samples[..., 2::-1])
    if samples.shape[2] == 3:
        return colours
    seen = samples[..., 3:].astype(np.float32) / 65535
    return np.rint(255 - (255 - colours.astype(np.float32)) * seen).astype(np.uint8)
