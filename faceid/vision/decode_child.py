"""Decodes one photo in a process of its own, which `apart` starts, bounds and ends.

Hostile files of rich formats can keep a decoder busy for hours or bring it down; here that costs one photo. Asked with
a line of JSON and the file's bytes, it answers with a line about the header; told to go on, with a line about the
picture and its pixels. NumPy is not imported, so that the process starts fast.
"""

import json
import math
import re
import sys
from typing import Any, BinaryIO

from PIL import Image as Pillow
from PIL import ImagePalette, TiffImagePlugin
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, COLORMAP, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from faceid.process_limits import limit_this_process
from faceid.vision import deep_colour
from faceid.vision.openers import UNKNOWN_PIXELS, NotRead, opened, reason_of
from faceid.vision.strips import DEEP_MODES, load, strips

# Tags of a TIFF, and what they say: a smaller copy of a picture that lies elsewhere in the file, each sample in a plane
# of its own.
_KIND_OF_PAGE, _FURTHER_PICTURES, _PLANES = 254, 330, 284
_REDUCED, _SEPARATE = (1, 3, 5, 7), 2
# What Pillow makes of planes is wrong for these: it loses the second, or takes numbers below zero for others.
_NOT_IN_PLANES = ("LA", "La", "PA", "LAB")
# What says, in the container of AVIF, that an item (with a number of 16 or of 32 bits) is EXIF data.
_EXIF = re.compile(rb"(infe(?:\x02.{5}|\x03.{7})\0\0)Exif", re.DOTALL)


def main() -> None:
    """Answer one request."""
    ask, answer = sys.stdin.buffer, sys.stdout.buffer
    request = json.loads(ask.readline())
    limit_this_process(request["memory"], request["seconds"])
    Pillow.MAX_IMAGE_PIXELS = None  # this process is ours, and whoever asks has limits of his own
    _read_tiffs_by_libtiff()
    try:
        image = _open(request["format"], ask.read(request["bytes"]))
        deep = deep_colour.is_deep(image)
        _say(answer, {"width": image.width, "height": image.height, "deep": deep, "moving": _moves(image)})
        if line := ask.readline():
            _decode(image, json.loads(line)["reduction"], answer)
    except MemoryError:
        _say(answer, {"error": "too_large", "reason": "does not fit in the memory that one photo may take"})
    # Pillow's decoders raise whatever a damaged file makes them stumble over, also SyntaxError and struct.error.
    except Exception as error:
        _say(answer, {"error": "unreadable", "reason": reason_of(error)})


def _read_tiffs_by_libtiff() -> None:
    """Have libtiff decode TIFFs of any kind: Pillow's own way mistakes planes, and colours at half the size."""
    TiffImagePlugin.READ_LIBTIFF = True
    # It gives samples in the order of this machine, whatever the file's.
    orders = (TiffImagePlugin.II, TiffImagePlugin.MM)
    native, other = orders if sys.byteorder == "little" else orders[::-1]
    for kind, modes in list(TiffImagePlugin.OPEN_INFO.items()):
        if kind[0] == native:
            TiffImagePlugin.OPEN_INFO[other, *kind[1:]] = modes


def _open(name: str, data: bytes) -> ImageFile:
    if name == "AVIF":
        # Its orientation is part of the picture; libavif refuses odd EXIF data, and Pillow would stumble over odd tags.
        data = _EXIF.sub(rb"\1none", data)
    image = opened(name, data)
    if isinstance(image, TiffImageFile):
        _check_tiff(image)
    return image


def _check_tiff(image: TiffImageFile) -> None:
    tags = image.tag_v2
    if tags.get(_KIND_OF_PAGE) in _REDUCED and _FURTHER_PICTURES in tags:
        raise NotRead("a raw photo, of which only a small preview could be read; save it as JPEG")
    if tags.get(_PLANES) == _SEPARATE and image.mode in _NOT_IN_PLANES:
        raise NotRead(UNKNOWN_PIXELS)
    if image.mode == "P" and max(tags[COLORMAP]) < 256:  # by programs that took the 16 bits of a colour for 8
        image.palette = ImagePalette.raw("RGB;L", bytes(tags[COLORMAP]))


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
