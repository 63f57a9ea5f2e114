"""A JPEG file looked through before it is decoded: its size, what it will cost, whether its tail is there.

Only the first picture is kept (phones put further ones behind it, cameras a film), without its metadata: decoders warn
about odd metadata or stumble over it, and of all of it only the orientation is wanted.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

END = b"\xff\xd9"
_SOS, _EOI, _JFIF, _ADOBE, _COMMENT, _DRI = 0xDA, 0xD9, 0xE0, 0xEE, 0xFE, 0xDD
# JFIF and Adobe say which colours the components are; whatever else applications have put in is left out.
_LEFT_OUT = {_EOI, _COMMENT, *range(0xE0, 0xF0)} - {_JFIF, _ADOBE}
# Start of frame: the codes C0 to CF without those of tables (C4, CC) and the reserved one (C8).
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length: TEM, the restarts, the start of the file
_MARKER = re.compile(rb"\xff+([^\xff\x00])", re.DOTALL)
_AFTER_SCAN = re.compile(rb"\xff+([^\xff\x00\xd0-\xd7])", re.DOTALL)
# Between two of these lie so many blocks; they are numbered 0 to 7, over and over, anew in each scan.
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
COEFFICIENTS = 64
# A file may be made of millions of empty segments, or of markers alone; of a photo's, the largest has thousands, and a
# restart marker for each block at most.
_MOST_SEGMENTS = 2**16
_MOST_RESTARTS = 2**22


class JpegError(ValueError):
    """The file has no frame or no scan, or they cannot be read."""


@dataclass
class JpegFile:
    """What the markers say; `clean` are the bytes to decode, without metadata and without an end marker.

    `width` and `height` in pixels as stored; `complete` whether the end marker is there; `refined` whether every
    coefficient of every component has had its last scan, so that nothing but rows of that scan can be missing; `lost`
    the share of a scan, 0 to 1, whose restart markers are missing from their numbering.
    """

    width: int = 0
    height: int = 0
    progressive: bool = False
    scans: int = 0
    lost: float = 0
    complete: bool = False
    clean: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    # By component: how many low bits of each coefficient are still to come; None before its first scan.
    missing_bits: dict[int, list[int | None]] = field(default_factory=dict)

    @property
    def components(self) -> int:
        """How many colour components there are, 1 to 4 in what is decoded."""
        return len(self.missing_bits)

    @property
    def refined(self) -> bool:
        """Whether every coefficient has had its last scan."""
        return all(bits == 0 for component in self.missing_bits.values() for bits in component)


def look_through(data: bytes) -> JpegFile:
    """Walk the markers of a JPEG file up to its end or to where it breaks off. Raises JpegError."""
    file, kept, restarts, left = JpegFile(), [data[:2]], False, _MOST_RESTARTS
    for code, start, end in _segments(data):
        body = data[start + 4 : end]
        if code == _EOI:
            file.complete = True
        elif code in _FRAMES:
            _read_frame(file, code, body)
        elif code == _DRI:
            restarts = True
        elif code == _SOS:
            scan, end = end, _scan_end(data, end)
            _read_scan(file, body)
            if restarts:
                left -= _count_restarts(file, islice(_RESTART.finditer(data, scan, end), left))
        elif code == 0xE1:
            _read_metadata(file, body)
        if code not in _LEFT_OUT:
            kept.append(data[start:end])
    if not file.missing_bits or not file.scans:
        raise JpegError("no picture in it")
    # Half a marker at the cut would swallow the end marker that the decoder is given.
    file.clean = b"".join(kept).rstrip(b"\xff")
    return file


def announced_size(data: bytes) -> tuple[int, int]:
    """Return the width and height of the first frame; zeros without one."""
    for code, start, _ in _segments(data):
        if code in _FRAMES and start + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, start + 5)
            return width, height
    return 0, 0


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (code, start, end) of each whole segment; of a scan the header alone. A file of too many ends there."""
    place = 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, place)
        if found is None:
            return
        code, start = found[1][0], found.end() - 2
        if code in _ALONE:
            place = found.end()
            continue
        if code == _EOI:
            yield code, start, found.end()
            return
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if end > len(data) or end < start + 4:
            return
        yield code, start, end
        place = _scan_end(data, end) if code == _SOS else end


def _scan_end(data: bytes, place: int) -> int:
    found = _AFTER_SCAN.search(data, place)
    return found.start() if found else len(data)


def _read_frame(file: JpegFile, code: int, body: bytes) -> None:
    if file.missing_bits or len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise JpegError("a damaged frame header")
    file.height, file.width = struct.unpack_from(">HH", body, 1)
    file.progressive = code in _PROGRESSIVE
    file.missing_bits = {body[6 + 3 * i]: [None] * COEFFICIENTS for i in range(body[5])}


def _read_scan(file: JpegFile, body: bytes) -> None:
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count:
        raise JpegError("a damaged scan header")
    first, last, bits = body[1 + 2 * count : 4 + 2 * count]
    band = range(first, min(last, COEFFICIENTS - 1) + 1) if file.progressive else range(COEFFICIENTS)
    for component in body[1 : 1 + 2 * count : 2]:
        missing = file.missing_bits.get(component)
        if missing is not None:
            for coefficient in band:
                missing[coefficient] = bits & 15 if file.progressive else 0
    file.scans += 1


def _count_restarts(file: JpegFile, markers: Iterator[re.Match[bytes]]) -> int:
    """Note what share of a scan is lost; return how many restart markers it has."""
    before, lost, count = 7, 0, 0
    for marker in markers:
        number = marker[1][0] & 7
        lost += (number - before - 1) % 8
        before, count = number, count + 1
    file.lost = max(file.lost, lost / (count + lost + 1))
    return count


def _read_metadata(file: JpegFile, body: bytes) -> None:
    if body.startswith(b"Exif\0\0"):
        file.exif = file.exif or body
    elif body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
        file.xmp = file.xmp or body
