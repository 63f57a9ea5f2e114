"""Which format a file is in, by its first bytes, and the Pillow class that decodes it.

The classes are called themselves, not `Image.open`: that would mind the limit on pixels, and the plugins, of the
program around us. A short list is a small attack surface.
"""

import io
import re
from collections.abc import Callable
from importlib import import_module
from typing import IO

from PIL.ImageFile import ImageFile, _Tile

_CLASSES = {
    "JPEG": "PIL.JpegImagePlugin.JpegImageFile",
    "PNG": "PIL.PngImagePlugin.PngImageFile",
    "WebP": "PIL.WebPImagePlugin.WebPImageFile",
    "BMP": "PIL.BmpImagePlugin.BmpImageFile",
    "TIFF": "PIL.TiffImagePlugin.TiffImageFile",
    "GIF": "PIL.GifImagePlugin.GifImageFile",
    "PNM": "PIL.PpmImagePlugin.PpmImageFile",
    "JPEG 2000": "PIL.Jpeg2KImagePlugin.Jpeg2KImageFile",
    "AVIF": "PIL.AvifImagePlugin.AvifImageFile",
    "HEIC": "pillow_heif.HeifImageFile",
}
FORMATS = tuple(_CLASSES)
_DEEP_PNM = {"I": "I;16B", "RGB": "RGB;16B"}

UNKNOWN_PIXELS = "its pixels are of a kind that is not read"
# What Pillow says of sound files with, say, floating-point colours, 12 bits a sample in a JPEG, 10 a colour in a BMP.
_UNKNOWN = re.compile(r"unknown pixel mode|Unsupported BMP|cannot handle \d+-(bit|layer)|determine J2K image mode")

_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


class NotRead(Exception):
    """A sound file of a kind that is not read; its text says so."""


def format_of(data: bytes) -> str | None:
    """Return the format, one of FORMATS, or None for anything else."""
    for start, name in _STARTS:
        if data.startswith(start):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:1] == b"P" and data[1:2] in b"123456f" and data[2:3].isspace():
        return "PNM"
    return _of_brands(data) if data[4:8] == b"ftyp" else None


def _of_brands(data: bytes) -> str | None:
    """Tell the pictures in ISO's base media container apart; films are in it too."""
    end = min(int.from_bytes(data[:4], "big"), len(data), 1024)
    brands = {data[place : place + 4] for place in (8, *range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & _HEIF_BRANDS else None


def opened(name: str, data: bytes) -> ImageFile:
    """Open the bytes of a file of this format: its header is read, not yet the pixels. Raises ImportError (HEIC)."""
    module, _, attribute = _CLASSES[name].rpartition(".")
    opener: Callable[[IO[bytes]], ImageFile] = getattr(import_module(module), attribute)
    image = opener(io.BytesIO(data))
    image.tile = [_in_c(tile, image.mode) for tile in image.tile]
    return image


def reason_of(error: Exception) -> str:
    """Say what an error means that an image raised while it was opened or decoded."""
    if isinstance(error, NotRead):
        return str(error)
    return UNKNOWN_PIXELS if _UNKNOWN.search(str(error)) else f"truncated or damaged ({error})"


def _in_c(tile: _Tile, mode: str) -> _Tile:
    """Have whole bits (10, 12, 14, 16) of a PNM read as they are: Pillow scales them number by number, in Python."""
    most = tile.args[1] if tile.codec_name == "ppm" and isinstance(tile.args, tuple) else 0
    deep = most > 255 and most & (most + 1) == 0
    return tile._replace(codec_name="raw", args=_DEEP_PNM[mode]) if deep else tile
