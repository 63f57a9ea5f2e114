"""Which way up a photo is: the orientation tag, and nothing else, out of metadata that may hold anything.

Phones and editors write odd, cut and contradictory metadata; none of it may cost a photo, so the one tag is looked for
by its bytes, and whatever cannot be understood means "as stored".
"""

import re
import struct

ORIENTATION = 0x0112
AS_STORED = 1
# Of the TIFF types an orientation may come in: BYTE, SHORT (the right one), LONG.
_TYPES = {1: "B", 3: "H", 4: "I"}
_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])")


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """Return the orientation, 1 (as stored) to 8, of EXIF data with or without its prefix, else of XMP data."""
    return _of_exif(exif.removeprefix(b"Exif\0\0")) or _of_xmp(xmp) or AS_STORED


def _of_exif(tiff: bytes) -> int | None:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return None
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    count = int.from_bytes(tiff[start : start + 2], "little" if order == "<" else "big")
    # The count may lie: only entries that are there are looked at.
    for place in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, number = struct.unpack_from(order + "HHI", tiff, place)
        if tag == ORIENTATION and number and kind in _TYPES:
            (value,) = struct.unpack_from(order + _TYPES[kind], tiff, place + 8)
            if 1 <= value <= 8:
                return int(value)
    return None


def _of_xmp(xmp: bytes) -> int | None:
    found = _XMP.search(xmp)
    return int(found[1]) if found else None
