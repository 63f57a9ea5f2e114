"""A PNG file looked through before it is decoded: whether it moves, which way up it is, and the chunks that matter.

Text, profiles and times are left out: a decoder may stumble over them, and a few bytes of them can unpack to gigabytes.
"""

import re
import struct
import zlib
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_XMP_KEY = b"XML:com.adobe.xmp\0"
# As ImageMagick and ExifTool wrote it before the chunk eXIf existed.
_EXIF_KEY = re.compile(rb"Raw profile type (exif|APP1)\0")
_MOST_CHUNKS = 2**16  # a file may be made of millions of empty ones; writers put 4,096 bytes or more into one
_MAX_PROFILE = 2**20  # bytes; EXIF data in other formats is at most 64 KiB


@dataclass
class PngFile:
    """What the chunks say: width and height in pixels, the number of frames, and in `clean` the bytes to decode."""

    width: int = 0
    height: int = 0
    clean: bytes = b""
    frames: int = 1
    exif: bytes = b""
    xmp: bytes = b""

    @property
    def deep_colours(self) -> bool:
        """Whether it has 16 bits a sample and more than one sample a pixel: colours, or a grey with its alpha."""
        depth, kind = self.clean[24:25], self.clean[25:26]
        return depth == b"\x10" and kind in (b"\2", b"\4", b"\6")


def look_through(data: bytes) -> PngFile:
    """Walk the chunks of a PNG file up to its end or to where it breaks off; one of too many ends there."""
    file, kept, place = PngFile(*announced_size(data)), [SIGNATURE], len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        if place + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if kind in _KEPT:
            kept.append(data[place:end])
        elif end <= len(data):
            _read_metadata(file, kind, data[place + 8 : end - 4])
        if kind == b"IEND":
            break
        place = end
    file.clean = b"".join(kept)
    return file


def whole(data: bytes) -> bytes:
    """Return a file's picture and orientation alone; no bytes unless all its chunks are there, and one header.

    Some readers go on behind the last chunk, take memory for whatever is announced, and unpack every text.
    """
    place, headers, kept = len(SIGNATURE), 0, [SIGNATURE]
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        headers += kind == b"IHDR"
        if kind in _KEPT or kind == b"eXIf":
            kept.append(data[place : place + 12 + length])
        place += 12 + length
        if kind == b"IEND":
            return b"".join(kept) if headers == 1 and place <= len(data) else b""
    return b""


def announced_size(data: bytes) -> tuple[int, int]:
    """Return the width and height of the header, which is the first chunk; zeros without one."""
    if len(data) < 24 or data[12:16] != b"IHDR":
        return 0, 0
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _read_metadata(file: PngFile, kind: bytes, body: bytes) -> None:
    if kind == b"acTL" and len(body) >= 4:
        file.frames = max(1, int.from_bytes(body[:4], "big"))
    elif kind == b"eXIf":
        file.exif = body
    elif kind == b"iTXt" and body.startswith(_XMP_KEY):
        file.xmp = body
    elif kind in (b"zTXt", b"tEXt") and (key := _EXIF_KEY.match(body)) and not file.exif:
        file.exif = _raw_profile(body[key.end() :], packed=kind == b"zTXt")


def _raw_profile(body: bytes, packed: bool) -> bytes:
    """Unpack `name length hexadecimal-digits`; empty if it is anything else."""
    try:
        text = zlib.decompressobj().decompress(body[1:], _MAX_PROFILE) if packed else body[:_MAX_PROFILE]
        return bytes.fromhex("".join(text.decode("ascii").split()[2:]))
    except (zlib.error, ValueError):
        return b""
