"""A WebP file looked through before it is decoded: its size, whether it moves, which way up it is."""

import struct
from dataclasses import dataclass

_ANIMATION_FRAME = b"ANMF"
_MOST_CHUNKS = 2**16  # a file may be made of millions of empty ones
# What may be coded without loss: the picture, its alpha, a frame. Each 4 x 4 pixels may have prefix codes of their own,
# five that take 20 bits of the file at least, and these bytes of libwebp's tables, far more than the picture does.
_LOSSLESS = (b"VP8L", b"ALPH", _ANIMATION_FRAME)
_CODED_PIXELS, _MOST_CODES, _LEAST_BITS, _TABLE_BYTES = 16, 2**16, 20, 6000


@dataclass
class WebPFile:
    """What the chunks say: width and height in pixels (0 where they do not say), and the number of frames.

    `tables` are the bytes that a decoder may take beside the picture for its codes.
    """

    width: int = 0
    height: int = 0
    frames: int = 0
    exif: bytes = b""
    xmp: bytes = b""
    tables: int = 0


def look_through(data: bytes) -> WebPFile:
    """Walk the chunks of a WebP file."""
    file, place = WebPFile(*announced_size(data)), 12
    for _ in range(_MOST_CHUNKS):
        if place + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, place)
        file.frames += kind == _ANIMATION_FRAME
        if kind in _LOSSLESS:
            codes = min(file.width * file.height // _CODED_PIXELS, len(data) * 8 // _LEAST_BITS, _MOST_CODES)
            file.tables = codes * _TABLE_BYTES
        if kind == b"EXIF":
            file.exif = data[place + 8 : place + 8 + length]
        elif kind == b"XMP ":
            file.xmp = data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2
    return file


def announced_size(data: bytes) -> tuple[int, int]:
    """Return the width and height of the first chunk, which has them; zeros if it has not."""
    return _size(data[12:16], data[20:30])


def _size(kind: bytes, body: bytes) -> tuple[int, int]:
    if len(body) < 10:
        return 0, 0
    if kind == b"VP8X":  # the canvas, less one
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return 0, 0
