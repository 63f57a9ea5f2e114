"""One photo as the engine takes it (a file, the bytes of one, pixels, a Pillow image) and what names it in answers."""

import hashlib
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image as Pillow

from faceid.vision.apart import DecodeFailed
from faceid.vision.decoding import MAX_PIXELS, Pixels, announced_pixels, pixels_of
from faceid.vision.images import ImageError, UInt8Image, decode, digest, is_folder, read_bytes
from indexer.text import printable

# What may stand for a photo wherever one is taken. An array is RGB uint8 [H, W, 3], as all images in here.
Content = str | os.PathLike[str] | bytes | bytearray | memoryview | UInt8Image | Pillow.Image

# A batch of photos is read before any is decoded: the bytes of larger ones are not kept for that long.
KEPT_BYTES = 4 * 2**20


class Picture:
    """A photo and what names it in answers.

    `content` is a path, the bytes of a file (JPEG, PNG, ...), RGB pixels uint8 [H, W, 3] or a Pillow image; files are
    opened when the engine comes to them, so that one that is missing or damaged costs only its own answer. `source`
    (default: the path) names the photo in answers and in the gallery; `time` is its place in a video, in seconds. With
    `reason_code` the picture cannot be used, and why (a listing found that out). Raises TypeError for another kind of
    content, ValueError for an array that is no RGB image and a time that is no finite number.
    """

    __slots__ = ("content", "reason_code", "source", "time")

    def __init__(
        self,
        content: Content,
        source: str | None = None,
        time: float | None = None,
        *,
        reason_code: str | None = None,
    ) -> None:
        self.content = _checked(content)
        if source is not None and not isinstance(source, str):
            raise TypeError(f"source must be a text that names the picture, not {type(source).__name__}")
        if time is not None and not math.isfinite(time):
            raise ValueError(f"time must be a finite number of seconds, not {time}")
        self.source = printable(self.content if isinstance(self.content, Path) else "picture")
        if source is not None:
            self.source = printable(source)
        self.time = time
        self.reason_code = reason_code

    def __repr__(self) -> str:
        return f"Picture({self.source!r})"

    @property
    def path(self) -> Path | None:
        """The file; None for a picture that is none."""
        return self.content if isinstance(self.content, Path) else None

    @property
    def address(self) -> str:
        """What a gallery notes as the template's source: the file's absolute path, else the picture's name."""
        return printable(self.path.absolute()) if self.path else self.source

    def read(self) -> "ReadPicture":
        """Read the bytes and their digest, without decoding them; raises ImageError."""
        if isinstance(self.content, Path):
            if is_folder(self.content):
                raise ImageError(self.source, "unreadable", "a folder; photos_in lists the photos of folders")
            data = read_bytes(self.content, self.source)
            return ReadPicture(self, data if len(data) <= KEPT_BYTES else None, digest(data), announced_pixels(data))
        if isinstance(self.content, bytes):
            if not self.content:
                raise ImageError(self.source, "empty", "no bytes")
            return ReadPicture(self, self.content, digest(self.content), announced_pixels(self.content))
        pixels = _pixels(self.content, self.source) if isinstance(self.content, Pillow.Image) else self.content
        if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
            height, width = pixels.shape[:2]
            raise ImageError(self.source, "too_large", f"{width} x {height} pixels; at most {MAX_PIXELS:,} are taken")
        return ReadPicture(self, pixels, _digest_of_pixels(pixels), pixels.shape[0] * pixels.shape[1])

    def pixels(self) -> UInt8Image:
        """Return the pixels, RGB uint8 [H, W, 3], upright, halved above 64 megapixels; raises ImageError."""
        return self.read().decode().rgb


@dataclass(frozen=True, eq=False)
class ReadPicture:
    """A picture that was read, and the SHA-256 (32 bytes) by which it is known again.

    `data` are its bytes or pixels; None for a large file, which is read once more to be decoded: a batch of them would
    fill the memory. `announced` is how many pixels it will have.
    """

    picture: Picture
    data: bytes | UInt8Image | None
    digest: bytes
    announced: int

    def decode(self) -> Pixels:
        """Return the pixels, upright; raises ImageError."""
        if self.picture.reason_code is not None:
            raise ImageError(self.picture.source, self.picture.reason_code, "given up before it was decoded")
        if isinstance(self.data, np.ndarray):
            return Pixels(self.data)
        return decode(self.data if self.data is not None else self._read_again(), self.picture.source)

    def _read_again(self) -> bytes:
        assert self.picture.path is not None
        data = read_bytes(self.picture.path, self.picture.source)
        if digest(data) != self.digest:
            raise ImageError(self.picture.source, "unreadable", "it was changed while it was being read")
        return data


def as_pictures(photos: Picture | Content | Iterable[Picture | Content]) -> Iterator[Picture]:
    """Yield pictures of one photo or of many; those without a name get their number, `picture 1` and so on.

    Raises TypeError and ValueError as `Picture`: for a list at once, for another iterable when it comes to the photo.
    """
    if is_one_photo(photos):
        photos = [cast(Content, photos)]
    if not isinstance(photos, Iterable):
        raise TypeError(f"photos must be a picture or several (paths, bytes, arrays), not {type(photos).__name__}")
    pictures = (as_picture(cast(Content, photo), number) for number, photo in enumerate(photos, start=1))
    return iter(list(pictures)) if isinstance(photos, list | tuple) else pictures


def as_picture(photo: Picture | Content, number: int) -> Picture:
    """Return the picture of a photo; one without a name gets its number."""
    if isinstance(photo, Picture):
        return photo
    return Picture(photo, None if isinstance(photo, str | os.PathLike) else f"picture {number}")


def is_one_photo(photos: object) -> bool:
    """Say whether this is one photo, and not several of them."""
    if isinstance(photos, np.ndarray):
        return photos.ndim != 4  # [N, H, W, 3] are the frames of a video
    return isinstance(photos, Picture | str | os.PathLike | bytes | bytearray | memoryview | Pillow.Image)


def _checked(content: object) -> Path | bytes | UInt8Image | Pillow.Image:
    if isinstance(content, str | os.PathLike):
        return Path(content)
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if isinstance(content, Pillow.Image):
        return content
    if not isinstance(content, np.ndarray):
        raise TypeError(
            f"a photo is a path, the bytes of a file, an RGB array or a Pillow image, not {type(content).__name__}"
        )
    if content.dtype != np.uint8 or content.ndim != 3 or content.shape[2] != 3 or 0 in content.shape:
        raise ValueError(f"pixels must be RGB uint8 [H, W, 3], not {content.dtype} {list(content.shape)}")
    return cast(UInt8Image, content)


def _pixels(image: Pillow.Image, source: str) -> UInt8Image:
    try:
        return pixels_of(image)
    except DecodeFailed as error:
        raise ImageError(source, error.reason_code, str(error)) from error
    # A lazily opened file is decoded here, and decoders raise whatever a damaged file makes them stumble over.
    except Exception as error:
        raise ImageError(source, "unreadable", f"the image cannot be read ({error})") from error


def _digest_of_pixels(pixels: UInt8Image) -> bytes:
    height, width = pixels.shape[:2]
    sha = hashlib.sha256(f"pixels {height}x{width}\n".encode())
    sha.update(np.ascontiguousarray(pixels).data)
    return sha.digest()
