"""The picture of a face that a gallery may keep: the aligned face, as a small JPEG for people to see."""

import io

from PIL import Image

from faceid.vision.images import UInt8Image

_QUALITY = 90


def face_picture(crop: UInt8Image) -> bytes:
    """Return an aligned face (RGB uint8 [H, W, 3]) as JPEG: some 5,000 bytes."""
    encoded = io.BytesIO()
    Image.fromarray(crop).save(encoded, format="JPEG", quality=_QUALITY)
    return encoded.getvalue()
