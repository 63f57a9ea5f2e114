"""Photos in: a file of any common format becomes RGB uint8 pixels and a digest, or a typed error that names it."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faceid.vision.apart import DecodeFailed
from faceid.vision.decoding import Pixels, decode_bytes
from faceid.vision.openers import reason_of
from indexer.errors import FaceIdError
from indexer.regular_file import open_regular
from indexer.text import printable

UInt8Image = NDArray[np.uint8]  # [H, W, 3], RGB

MAX_BYTES = 256 * 2**20

_ESCAPED = re.compile(rb"\\x([89a-f][0-9a-f])")


class ImageError(FaceIdError):
    """A photo that cannot be used; `reason_code` is one of the words listed in docs/records.md."""

    def __init__(self, source: str | os.PathLike[str], reason_code: str, reason: str) -> None:
        self.source = printable(source)
        super().__init__(f"{self.source}: {reason}")
        self.reason_code, self.reason = reason_code, reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str, str]]:
        """Let it be sent from a worker."""
        return type(self), (self.source, self.reason_code, self.reason)


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo: `pixels` uint8 RGB [H, W, 3], upright; `digest` the SHA-256 of the file's bytes (32 bytes).

    `reduction` and `remarks` as in `faceid.vision.decoding.Pixels`.
    """

    path: Path
    digest: bytes
    pixels: UInt8Image
    reduction: int = 1
    remarks: tuple[str, ...] = ()


def read_photo(path: Path) -> Photo:
    """Read, check and decode one photo; see `read_bytes` and `decode` for the errors."""
    data = read_bytes(path)
    decoded = decode(data, path)
    return Photo(path, digest(data), decoded.rgb, decoded.reduction, decoded.remarks)


def digest(data: bytes) -> bytes:
    """Return the SHA-256 (32 bytes) by which a photo is known again, wherever it lies and whatever it is called."""
    return hashlib.sha256(data).digest()


def is_folder(path: Path) -> bool:
    """Say whether it is one; a path that cannot be looked at is none, and `read_bytes` says why."""
    try:
        return path.is_dir()
    except OSError:  # an overlong name, or no permission on the way to it
        return False


def is_file(path: Path) -> bool:
    """Say whether it is a file; a path that cannot be looked at is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def spellings(source: str) -> list[Path]:
    """Return which files `printable` may have named so: bytes that are not UTF-8 stand there as `\\xNN`."""
    encoded = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), source.encode())
    return [Path(one) for one in dict.fromkeys((source, os.fsdecode(encoded)))]


def file_named(source: str) -> Path:
    """Return the path of the file that a gallery, or an answer, names so."""
    found = spellings(source)
    return next(filter(is_file, found), found[0])


def read_bytes(path: Path, source: str | None = None) -> bytes:
    """Read a regular file of at most `MAX_BYTES`; `source` names it in errors (None: its path).

    Raises ImageError: `unreadable` (missing, no permission, a link loop, not a regular file), `empty`, `too_large`.
    """
    named = path if source is None else source
    try:
        with open_regular(Path(path)) as file:
            status = os.fstat(file.fileno())
            if status.st_size == 0:
                raise ImageError(named, "empty", "the file has no bytes")
            if status.st_size > MAX_BYTES:
                raise ImageError(named, "too_large", f"{status.st_size:,} bytes; at most {MAX_BYTES:,} are read")
            return file.read(MAX_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(named, "unreadable", f"cannot be read ({reason})") from error


def decode(data: bytes, source: str | os.PathLike[str]) -> Pixels:
    """Decode the bytes of a file; `source` names the photo in the error.

    Grey, alpha (laid on white), palette, CMYK and deep greys become RGB; the orientation in the metadata is obeyed, and
    nothing else of it is looked at. Photos above MAX_KEPT_PIXELS come halved. A JPEG that lacks its tail comes with the
    remark `truncated` if 95 % of its rows are there.

    Raises ImageError: `not_an_image`, `needs_plugin` (HEIC), `animated`, `too_large` (pixels, or the memory to decode
    them), `too_slow` (scans, or the seconds to decode them), `unreadable` (truncated or damaged).
    """
    try:
        return decode_bytes(data)
    except DecodeFailed as error:
        raise ImageError(source, error.reason_code, str(error)) from error
    except MemoryError as error:
        raise ImageError(source, "too_large", "does not fit in memory") from error
    # Pillow's decoders raise whatever a damaged file makes them stumble over, also SyntaxError and struct.error.
    except Exception as error:
        raise ImageError(source, "unreadable", reason_of(error)) from error
