"""Photos in: a file of any common format becomes RGB uint8 pixels and a digest, or a typed error that names the file.

The header is read before the pixels, so that a small file cannot ask for a huge amount of memory, and one
bad photo is one `ImageError`, never a crash.
"""

import hashlib
import io
import os
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from indexer.errors import FaceIdError
from indexer.text import printable

UInt8Image = NDArray[np.uint8]  # [H, W, 3], RGB

# Pillow reads many more formats; these are the ones photographs come in, and a short list is a small attack surface.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
MAX_BYTES = 256 * 2**20
# The largest phone sensors have 200 Mpx; decoded, that is 600 MB.
MAX_PIXELS = 200_000_000

# Our own limit is checked on the header; Pillow's would only warn, or stop at another number.
Pillow.MAX_IMAGE_PIXELS = None


class ImageError(FaceIdError):
    """A photo that cannot be used; `reason_code` is one of the words listed in docs/records.md."""

    def __init__(self, source: str | os.PathLike[str], reason_code: str, reason: str) -> None:
        self.source = printable(source)
        super().__init__(f"{self.source}: {reason}")
        self.reason_code = reason_code


@dataclass(frozen=True)
class Photo:
    """A decoded photo: `pixels` uint8 RGB [H, W, 3], upright; `digest` the SHA-256 of the file's bytes (32 bytes)."""

    path: Path
    digest: bytes
    pixels: UInt8Image


def read_photo(path: Path) -> Photo:
    """Read, check and decode one photo; see `read_bytes` and `decode` for the errors."""
    data = read_bytes(path)
    return Photo(path, digest(data), decode(data, path))


def digest(data: bytes) -> bytes:
    """Return the SHA-256 (32 bytes) by which a photo is known again, wherever it lies and whatever it is called."""
    return hashlib.sha256(data).digest()


def read_bytes(path: Path) -> bytes:
    """Read a regular file of at most `MAX_BYTES`.

    Raises ImageError: `unreadable` (missing, no permission, a link loop, not a regular file), `empty`, `too_large`.
    """
    try:
        # Checked before opening: opening a named pipe would wait for a writer for ever.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(path, "unreadable", "not a regular file")
        if status.st_size == 0:
            raise ImageError(path, "empty", "the file has no bytes")
        if status.st_size > MAX_BYTES:
            raise ImageError(path, "too_large", f"{status.st_size:,} bytes; at most {MAX_BYTES:,} are read")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(path, "unreadable", f"cannot be read ({reason})") from error


def decode(data: bytes, path: str | os.PathLike[str]) -> UInt8Image:
    """Decode to RGB uint8 [H, W, 3], EXIF orientation applied; grey, alpha, palette, CMYK and 16-bit become RGB.

    Transparent pixels are laid on white. Raises ImageError: `not_an_image`, `too_large` (pixels), `animated`,
    `unreadable` (truncated or damaged pixels). `path` is only used to name the photo in the error.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF warns; the pixels decide whether the photo is usable
            with Pillow.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_header(image, path)
                return np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError as error:
        raise ImageError(path, "not_an_image", f"not a photo in one of {', '.join(FORMATS)}") from error
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(path, "too_large", "does not fit in memory") from error
    # Pillow's decoders raise whatever a damaged file makes them stumble over, also SyntaxError and struct.error.
    except Exception as error:
        raise ImageError(path, "unreadable", f"truncated or damaged ({error})") from error


def _check_header(image: Pillow.Image, path: str | os.PathLike[str]) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        reason = f"{width} x {height} pixels; at most {MAX_PIXELS:,} are decoded"
        raise ImageError(path, "too_large", reason)
    if image.format != "TIFF" and getattr(image, "n_frames", 1) > 1:
        # A TIFF's further pages are thumbnails or masks; an animation has no one moment to identify.
        raise ImageError(path, "animated", "an animation; save one frame as a photo")


def _to_rgb(image: Pillow.Image) -> Pillow.Image:
    if image.mode in ("I;16", "I;16L", "I;16B", "I"):
        # Pillow clips instead of scaling when it narrows 16 bits to 8.
        return Pillow.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined white")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Pillow.new("RGBA", rgba.size, "white")
        return Pillow.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
