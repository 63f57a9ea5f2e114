"""Which format a file is in, by its first bytes, and the Pillow class that decodes it.

The classes are called themselves, not `Image.open`: that would mind the limit on pixels, and the plugins, of the
program around us. A short list is a small attack surface.
"""

from collections.abc import Callable
from importlib import import_module
from typing import IO

from PIL.ImageFile import ImageFile

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


def opener(name: str) -> Callable[[IO[bytes]], ImageFile]:
    """Return what opens a file of this format: it reads the header, not yet the pixels. Raises ImportError (HEIC)."""
    module, _, attribute = _CLASSES[name].rpartition(".")
    found: Callable[[IO[bytes]], ImageFile] = getattr(import_module(module), attribute)
    return found
