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
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from faceid.vision.openers import opener
from faceid.vision.strips import load, strips

_EXIF = re.compile(rb"Exif\0\0(?=II\*\0|MM\0\*)")


def main() -> None:
    """Answer one request."""
    ask, answer = sys.stdin.buffer, sys.stdout.buffer
    request = json.loads(ask.readline())
    _bound(request["memory"], request["seconds"])
    Pillow.MAX_IMAGE_PIXELS = None  # this process is ours, and whoever asks has limits of his own
    try:
        image = _open(request["format"], ask.read(request["bytes"]))
        _say(answer, {"width": image.width, "height": image.height, "mode": image.mode, "moving": _moves(image)})
        if line := ask.readline():
            _decode(image, json.loads(line)["reduction"], answer)
    except MemoryError:
        _say(answer, {"error": "too_large", "reason": "does not fit in the memory that one photo may take"})
    # Pillow's decoders raise whatever a damaged file makes them stumble over, also SyntaxError and struct.error.
    except Exception as error:
        _say(answer, {"error": "unreadable", "reason": f"truncated or damaged ({error})"})


def _bound(memory: int, seconds: int) -> None:
    """Limit this process to so many bytes beyond what it has, and to so many seconds of CPU, where the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        # At the soft limit the signal says why; at the hard one, which must lie higher, the process is just gone.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        own = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (own + memory, own + memory))


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
    for number, strip in enumerate(strips(image, still)):
        if number == 0:
            _say(answer, facts | {"mode": strip.mode})
        answer.write(strip.tobytes("raw", strip.mode))


def _say(answer: BinaryIO, facts: dict[str, Any]) -> None:
    answer.write(json.dumps(facts).encode() + b"\n")
    answer.flush()
