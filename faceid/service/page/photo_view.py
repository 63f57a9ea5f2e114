"""A photo as the answer's page shows it: small, with the boxes of its faces; the server keeps nothing of it."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from PIL import Image

from faceid.records import AnswerRecord
from faceid.vision.images import ImageError
from faceid.vision.picture import Picture

_MOST_PIXELS = 1280  # a side
_QUALITY = 85


@dataclass(frozen=True)
class SeenFace:
    """One face: its number on the photo, what was answered, its box (x, y, width, height) in the shown pixels."""

    number: int
    answer: AnswerRecord
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class PhotoView:
    """One photo: its faces, or (`without`) the answer that says why there is none. `address` None: not decodable."""

    source: str
    address: str | None
    width: int
    height: int
    faces: tuple[SeenFace, ...]
    without: AnswerRecord | None


def views_of(pictures: Sequence[Picture], answers: Sequence[AnswerRecord]) -> list[PhotoView]:
    """Return each photo with its answers, which are in the order of the photos."""
    return [_view(picture, of_photo) for picture, of_photo in zip_longest(pictures, _by_photo(answers))]


def _by_photo(answers: Sequence[AnswerRecord]) -> list[list[AnswerRecord]]:
    """Part the answers by photo: faces are counted from 0 in each, and one without a face has a single answer."""
    parted: list[list[AnswerRecord]] = []
    for answer in answers:
        if not answer["face_index"]:
            parted.append([])
        parted[-1].append(answer)
    return parted


def _view(picture: Picture, answers: Sequence[AnswerRecord]) -> PhotoView:
    without = answers[0] if answers[0]["face_index"] is None else None
    try:
        pixels = picture.read().decode()
    except ImageError:
        return PhotoView(picture.source, None, 0, 0, (), without)
    image = Image.fromarray(pixels.rgb)
    full_width = image.width * pixels.reduction
    image.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    scale = image.width / full_width
    faces = [
        SeenFace(number, answer, _scaled(answer["box"], scale))
        for number, answer in enumerate(answers, start=1)
        if answer["box"] is not None
    ]
    return PhotoView(picture.source, _address(image), image.width, image.height, tuple(faces), without)


def _scaled(box: Sequence[float], scale: float) -> tuple[float, float, float, float]:
    x, y, width, height = (round(side * scale, 1) for side in box)
    return x, y, max(width, 1.0), max(height, 1.0)


def _address(image: Image.Image) -> str:
    encoded = io.BytesIO()
    image.save(encoded, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
