"""Uploaded photos as the engine takes them: never more than the settings allow, never a name that is a path."""

from faceid.service.settings import Settings
from faceid.vision.decoding import announced_pixels
from faceid.vision.picture import Picture

_LONGEST_NAME = 255


def picture_of(data: bytes, name: str, settings: Settings, reason_code: str | None = None) -> Picture:
    """Return the picture of some bytes; `name` is a label that answers bear, nothing is ever opened by it.

    One that is larger than the settings allow, as far as its header tells, gets the reason `too_large`, and is never
    decoded.
    """
    # A form may name an encoding of its own, whose texts no JSON takes.
    label = name[:_LONGEST_NAME].encode("utf-8", "backslashreplace").decode() or "photo"
    if reason_code is None and data and _is_too_large(data, settings):
        reason_code = "too_large"
    return Picture(b"" if reason_code else data, label, reason_code=reason_code)


def _is_too_large(data: bytes, settings: Settings) -> bool:
    return len(data) > settings.photo_bytes or announced_pixels(data) > settings.photo_pixels
