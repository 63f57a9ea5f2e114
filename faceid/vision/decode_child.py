"""Decodes one photo in a process of its own, which `apart` starts, bounds and ends.

Hostile files of rich formats can keep a decoder busy for hours or bring it down; here that costs one photo. Asked with
a line of JSON and the file's bytes, it answers with a line about the header; told to go on, with a line about the
picture and its pixels. NumPy is not imported, so that the process starts fast.
"""

import io
import json
import math
import re
import sys
from typing import Any, BinaryIO

from PIL import Image as Pillow
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from faceid.process_limits import limit_this_process
from faceid.vision.openers import opener
from faceid.vision.strips import DEEP_MODES, load, strips

# What Pillow says of a sound TIFF with, say, floating-point colours or greys of 64 bits.
_UNKNOWN_PIXELS = "unknown pixel mode"
_EXIF = re.compile(rb"Exif\0\0(?=II\*\0|MM\0\*)")


def main() -> None:
    """Answer one request."""
    ask, answer = sys.stdin.buffer, sys.stdout.buffer
    request = json.loads(ask.readline())
    limit_this_process(request["memory"], request["seconds"])
    Pillow.MAX_IMAGE_PIXELS = None  # this process is ours, and whoever asks has limits of his own
    try:
        image = _open(request["format"], ask.read(request["bytes"]))
        _say(answer, {"width": image.width, "height": image.height, "mode": image.mode, "moving": _moves(image)})
        if line := ask.readline():
            _decode(image, json.loads(line)["reduction"], answer)
    except MemoryError:
        _say(answer, {"error": "too_large", "reason": "does not fit in the memory that one photo may take"})
    except SyntaxError as error:
        sound = str(error) == _UNKNOWN_PIXELS
        reason = "its pixels are of a kind that is not read" if sound else f"truncated or damaged ({error})"
        _say(answer, {"error": "unreadable", "reason": reason})
    # Pillow's decoders raise whatever a damaged file makes them stumble over, also struct.error.
    except Exception as error:
        _say(answer, {"error": "unreadable", "reason": f"truncated or damaged ({error})"})


def _open(name: str, data: bytes) -> ImageFile:
    if name == "AVIF":
        # Its orientation is part of the picture; Pillow would rewrite the EXIF data and stumble over odd tags.
        data = _EXIF.sub(b"Exif\0\0\0\0\0\0", data)
    return opener(name)(io.BytesIO(data))


def _moves(image: ImageFile) -> bool:
    # A TIFF's further pages are thumbnails or masks, a HEIC file's are bursts: their first picture is the photo.
    return image.format not in ("TIFF", "HEIF") and bool(getattr(image, "is_animated", False))


def _decode(image: ImageFile, reduction: int, answer: BinaryIO) -> None:
    still = load(image, reduction)
    # TIFF and HEIC are upright by now; the others have no such metadata.
    exif = image.info.get("exif", b"") if image.format == "AVIF" else b""
    facts = {"width": math.ceil(image.width / still), "height": math.ceil(image.height / still), "exif": exif.hex()}
    unsigned, white_is_zero = _of_deep_grey(image)
    for number, strip in enumerate(strips(image, still)):
        if number == 0:
            deep = strip.mode in DEEP_MODES
            mode = "U" if strip.mode == "I" and unsigned else strip.mode
            _say(answer, facts | {"mode": mode, "white_is_zero": white_is_zero and deep})
        answer.write(strip.tobytes("raw", strip.mode))


def _of_deep_grey(image: ImageFile) -> tuple[bool, bool]:
    """Say what Pillow leaves open of a TIFF's greys above 8 bits: that 32 bits have no sign, and that zero is white."""
    if not isinstance(image, TiffImageFile):
        return False, False
    tags = image.tag_v2
    unsigned = image.mode == "I" and tags.get(SAMPLEFORMAT, (1,))[0] == 1 and tags.get(BITSPERSAMPLE, (1,))[0] == 32
    return unsigned, tags.get(PHOTOMETRIC_INTERPRETATION) == 0


def _say(answer: BinaryIO, facts: dict[str, Any]) -> None:
    answer.write(json.dumps(facts).encode() + b"\n")
    answer.flush()
