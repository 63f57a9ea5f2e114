"""A small picture as text, for pages that refer to nothing outside."""

import base64

from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2

_SIDE = 120  # pixels, the longer one
_QUALITY = 85


def picture_url(pixels: UInt8Image) -> str:
    """Return RGB pixels uint8 [H, W, 3], reduced, as a JPEG in a `data:` address."""
    factor = _SIDE / max(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return jpeg_url(jpeg.tobytes())


def jpeg_url(jpeg: bytes) -> str:
    """Return a JPEG in a `data:` address."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
