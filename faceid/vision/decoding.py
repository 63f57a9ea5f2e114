"""The bytes of a photo become RGB pixels, here or in a process of its own, within limits on pixels, time and memory.

What a file announces is looked at before its pixels. JPEG, PNG, WebP and plain bitmaps of usual size are decoded here,
at full speed; what has a rich format or costs more is decoded where it can be given up (`apart`). Nothing that belongs
to the program around us is touched: neither warnings, nor Pillow's limits or plugins.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageFile
from PIL.Image import DecompressionBombError

from faceid.vision import apart, deep_colour, jpeg_file, png_file, webp_file
from faceid.vision.apart import Child, Decoded, DecodeFailed
from faceid.vision.deep_grey import to_eight_bits
from faceid.vision.jpeg_file import JpegFile
from faceid.vision.memory_budget import process_budget
from faceid.vision.openers import FORMATS, format_of, opened
from faceid.vision.orientation import AS_STORED, ORIENTATION, orientation
from faceid.vision.strips import REDUCED_IN_DECODING, load, strips

# The largest phone sensors have 200 Mpx.
MAX_PIXELS = 200_000_000
# Larger photos are halved while they are decoded. The detector looks for faces on a copy of 1600 pixels, and the
# smallest it finds there still has 100 pixels in the halved photo, about as many as networks look at.
MAX_KEPT_PIXELS = 64_000_000
# A progressive JPEG costs its size once a scan: editors write 10 scans, and nobody needs more than these.
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 2_000_000_000
# A JPEG that costs more than so many pixels is decoded apart: 2 to 3 s of an idle core.
_MAX_SCANNED_HERE = 300_000_000
_USUAL_PIXELS = 16_000_000
# How many of its rows a JPEG without its tail must have.
LEAST_SHARE_OF_ROWS = 0.95
_HIGHEST_BLOCK = 16  # rows that a JPEG codes together, with its colours at half the height
# Blocks that are missing become a middle grey; in CMYK, of four components, another flat colour.
_FILLING, _CMYK = 128, 4
_FILLED = 8  # so many pixels are looked at: the width of a block

_LONGEST_HEADER = 2**16  # bytes of a bitmap's: Pillow reads that of a PNM byte by byte, comments of any length too

# Bytes a pixel: Pillow's own picture, and what decoders hold beside it (planes, wide samples, a canvas).
_PICTURE_BYTES = 4
_DECODER_BYTES = {"AVIF": 12, "HEIC": 12, "WebP": 12, "JPEG 2000": 16, "TIFF": 1}
_COEFFICIENT_BYTES = 2
_BUDGET = process_budget(apart.MEMORY)

# Pillow's decoders in C; those of run-length bitmaps and of textual PNM are written in Python and take minutes.
_FAST_CODECS = {"raw", "zip", "jpeg"}

# What brings a picture stored with this orientation upright (EXIF 2.32, table 6); [H, W, 3].
_TURNS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


@dataclass(frozen=True, eq=False)
class Pixels:
    """A decoded photo: `rgb` uint8 [H, W, 3], upright.

    `reduction` (1 or 2) is how many of the photo's pixels a side became one: what is measured in `rgb` is multiplied by
    it to be in pixels of the photo. `remarks` are reason codes that did not cost the photo: `truncated`.
    """

    rgb: NDArray[np.uint8]
    reduction: int = 1
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Source:
    """What there is to decode: the format, its bytes, what the header announces, and the metadata about what is up."""

    name: str
    data: bytes
    width: int = 0  # 0: the child will say
    height: int = 0
    exif: bytes = b""
    xmp: bytes = b""
    coefficients: int = 0  # held while decoding, of the photo's full size whatever the reduction
    deep: bool = False  # 16 bits a colour
    tables: int = 0  # bytes of codes; most photos have few, and none is refused for those it may have

    @property
    def reduction(self) -> int:
        return 2 if self.width * self.height > MAX_KEPT_PIXELS else 1

    @property
    def memory(self) -> int:
        """Bytes that decoding takes, about."""
        decoded = self.width * self.height // (self.reduction**2 if self.name in REDUCED_IN_DECODING else 1)
        lower_half = deep_colour.BYTES_A_PIXEL if self.deep and self.reduction == 1 else 0
        a_pixel = _PICTURE_BYTES + _DECODER_BYTES.get(self.name, 0) + lower_half
        return self.coefficients * _COEFFICIENT_BYTES + decoded * a_pixel + len(self.data)


def decode_bytes(data: bytes) -> Pixels:
    """Decode the bytes of a file; see `faceid.vision.images.decode`.

    Raises DecodeFailed, and whatever Pillow's decoders raise on a damaged file.
    """
    match name := format_of(data):
        case "JPEG":
            return _decode_jpeg(data)
        case "PNG":
            png = png_file.look_through(data)
            source = _Source(name, png.clean, png.width, png.height, png.exif, png.xmp, deep=png.deep_colours)
            return _decode_still(source, png.frames)
        case "WebP":
            webp = webp_file.look_through(data)
            source = _Source(name, data, webp.width, webp.height, webp.exif, webp.xmp, tables=webp.tables)
            return _decode_still(source, webp.frames)
        case "BMP" | "PNM":
            return _decode_bitmap(name, data)
        case "HEIC" if find_spec("pillow_heif") is None:
            raise DecodeFailed(
                "needs_plugin", "HEIC is read with the plugin pillow-heif: pip install 'faceid-engine[heif]'"
            )
        case str():
            return _decode_in_child(_Source(name, data))
        case None:
            raise DecodeFailed("not_an_image", f"not a photo in one of {', '.join(FORMATS)}")


def pixels_of(image: Pillow.Image) -> NDArray[np.uint8]:
    """Return the pixels of a Pillow image of any mode, upright and never halved.

    Raises DecodeFailed, and whatever Pillow raises where a file is decoded only now, and damaged.
    """
    width, height = image.size
    if not width * height:
        raise DecodeFailed("empty", f"{width} x {height} pixels")
    _check_size(width, height)
    image.load()  # turns some, and tells of it
    pixels = _eight_bits(Decoded(_array(image, reduction=1)))
    return np.ascontiguousarray(_TURNS[_said_orientation(image)](pixels))


def announced_pixels(data: bytes) -> int:
    """Return how many pixels a file will have in memory, by its header; as many as usual where it does not say."""
    size = announced_size(data)
    return size[0] * size[1] // _Source("", b"", *size).reduction ** 2 if size else _USUAL_PIXELS


def announced_size(data: bytes) -> tuple[int, int] | None:
    """Return the width and height that the header of a JPEG, PNG or WebP says; None for other files."""
    match format_of(data):
        case "JPEG":
            return jpeg_file.announced_size(data)
        case "PNG":
            return png_file.announced_size(data)
        case "WebP":
            return webp_file.announced_size(data)
        case _:
            return None


def _decode_jpeg(data: bytes) -> Pixels:
    file = jpeg_file.look_through(data)
    scanned = file.width * file.height * file.scans
    _check_size(file.width, file.height)
    if file.scans > MAX_SCANS or scanned > MAX_SCANNED_PIXELS:
        reason = f"{file.scans} scans of {file.width} x {file.height} pixels; at most {MAX_SCANS} scans, and "
        raise DecodeFailed("too_slow", f"{reason}{MAX_SCANNED_PIXELS:,} pixels in all of them, are decoded")
    if not file.refined:
        raise _cut(0)
    stored = replace(file, exif=b"", xmp=b"")
    pixels = _decode_clean_jpeg(stored)
    upright = replace(pixels, rgb=_upright(pixels.rgb, file.exif, file.xmp))
    # The end marker alone proves little: what mends files puts one behind any part of a photo.
    ended = file.complete and not _ends_in_filling(pixels.rgb, file.components)
    share = min(1 - file.lost, 1.0 if ended else _share_of_rows(stored))
    if share < LEAST_SHARE_OF_ROWS:
        raise _cut(share)
    return upright if file.complete and share == 1 else replace(upright, remarks=("truncated",))


def _cut(share: float) -> DecodeFailed:
    return DecodeFailed("unreadable", f"truncated: {share:.0%} of its rows are there")


def _ends_in_filling(rgb: NDArray[np.uint8], components: int) -> bool:
    """Say whether the picture, as stored, ends in what decoders put where blocks are missing; some whole ones do."""
    end = rgb[-1, -_FILLED:]
    return bool((end == (_FILLING if components < _CMYK else end[-1])).all())


def _share_of_rows(stored: JpegFile) -> float:
    """Say what share of the picture the file holds: what stays the same whatever follows where it breaks off."""
    first, second = (_decode_clean_jpeg(stored, _noise(seed)).rgb for seed in (1, 2))
    # Not by `==`: atheris keeps the result of each that it traces.
    same = ~(first ^ second).max(axis=2).astype(bool)
    changed = np.flatnonzero(~same.all(axis=1))
    # Behind the blocks of the first row that changes nothing is there, though it is the same grey both times.
    return float(same[: changed[0] + _HIGHEST_BLOCK].sum() / same.size) if len(changed) else 1.0


def _noise(seed: int) -> bytes:
    # Longer than a row of blocks; without 0xff, which would begin a marker.
    return random.Random(seed).randbytes(2**16).replace(b"\xff", b"")


def _decode_clean_jpeg(file: JpegFile, tail: bytes = b"") -> Pixels:
    pixels = file.width * file.height
    coefficients = pixels * file.components if file.scans > 1 else 0
    data = file.clean + tail + jpeg_file.END
    source = _Source("JPEG", data, file.width, file.height, file.exif, file.xmp, coefficients)
    return _decode_in_child(source) if pixels * file.scans > _MAX_SCANNED_HERE else _decode_here(source)


def _decode_still(source: _Source, frames: int) -> Pixels:
    if frames > 1:
        raise _moving()
    _check_size(source.width, source.height)
    return _decode_here(source) if source.reduction == 1 and _torn_ones_fail() else _decode_in_child(source)


def _decode_bitmap(name: str, data: bytes) -> Pixels:
    image = opened(name, data[:_LONGEST_HEADER])
    source = _Source(name, data, *image.size, deep=deep_colour.is_deep(image))
    _check_size(*image.size)
    fast = source.reduction == 1 and all(tile.codec_name in _FAST_CODECS for tile in image.tile)
    return _decode_here(source) if fast and _torn_ones_fail() else _decode_in_child(source)


def _torn_ones_fail() -> bool:
    """Say whether Pillow refuses torn pictures here, as it does unless the program around us has told it not to."""
    return not ImageFile.LOAD_TRUNCATED_IMAGES


def _decode_here(source: _Source) -> Pixels:
    try:
        with _reserved(source):
            image = opened(source.name, source.data)
            if image.size != (source.width, source.height):  # a second header, whose size nobody has looked at
                raise DecodeFailed("unreadable", f"damaged: it says {image.width} x {image.height} pixels elsewhere")
            return _finished(Decoded(_array(image, load(image, source.reduction))), source)
    except DecompressionBombError:  # a limit of the program around us, where Pillow looks at it; ours are kept
        return _decode_in_child(source)


def _decode_in_child(source: _Source) -> Pixels:
    with Child(source.name, source.data) as child:
        header = child.header()
        if header.moving:
            raise _moving()
        _check_size(header.width, header.height)
        source = replace(source, width=header.width, height=header.height, deep=header.deep)
        with _reserved(source):
            decoded = child.decode(source.reduction, MAX_KEPT_PIXELS)
    return _finished(decoded, source)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DecodeFailed("too_large", f"{width} x {height} pixels; at most {MAX_PIXELS:,} are decoded")


@contextmanager
def _reserved(source: _Source) -> Iterator[None]:
    if source.memory > apart.MEMORY:
        reason = (
            f"{source.width} x {source.height} pixels of {source.name} take {source.memory / 1e6:,.0f} MB to decode"
        )
        raise DecodeFailed("too_large", f"{reason}; at most {apart.MEMORY / 1e6:,.0f} MB are used")
    with _BUDGET.reserved(source.memory + source.tables):
        yield


def _moving() -> DecodeFailed:
    return DecodeFailed("animated", "an animation; save one frame as a photo")


def _array(image: Pillow.Image, reduction: int) -> NDArray[Any]:
    """Put the strips together: [H, W, 3] uint8, or [H, W] int32 or float32 for deep greys."""
    width, height = (-(-side // reduction) for side in image.size)
    pixels: NDArray[Any] | None = None
    top = 0
    for strip in strips(image, reduction):
        rows = np.asarray(strip)
        if pixels is None:
            pixels = np.empty((height, width, *rows.shape[2:]), rows.dtype)
        pixels[top : top + len(rows)] = rows
        top += len(rows)
    assert pixels is not None
    return pixels


def _finished(decoded: Decoded, source: _Source) -> Pixels:
    return Pixels(_upright(_eight_bits(decoded), source.exif or decoded.exif, source.xmp), source.reduction)


def _eight_bits(decoded: Decoded) -> NDArray[np.uint8]:
    if decoded.pixels.ndim > 2:
        return decoded.pixels
    grey = to_eight_bits(decoded.pixels)
    return np.repeat((255 - grey if decoded.white_is_zero else grey)[..., np.newaxis], 3, axis=2)


def _said_orientation(image: Pillow.Image) -> int:
    """Return the orientation that Pillow finds, or was given; where it stumbles, what the metadata hold."""
    with suppress(Exception):  # of whatever else is in the metadata
        said = image.getexif().get(ORIENTATION, AS_STORED)
        if isinstance(said, int):
            return said if said in _TURNS else AS_STORED
    exif = image.info.get("exif")
    return orientation(exif) if isinstance(exif, bytes) else AS_STORED


def _upright(stored: NDArray[np.uint8], exif: bytes, xmp: bytes) -> NDArray[np.uint8]:
    return np.ascontiguousarray(_TURNS[orientation(exif, xmp)](stored))
