"""Photos with the answers drawn on them: a box around each face, a name or "unknown", the similarity."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from faceid.results import Answer
from faceid.vision.images import ImageError, UInt8Image
from indexer.errors import FileNotWritten
from indexer.text import plain, printable

IDENTIFIED, UNKNOWN = (40, 160, 70), (200, 60, 40)
# JPEG holds 65,535 pixels a side; a copy to look at needs less.
MAX_SIDE = 16_384
# Letters are a sixth of their face high, and smaller where there is no room; below SMALLEST_TEXT nobody can read them.
LABEL_SHARE = 6
LABEL_WIDTH = 1.2  # of the face's
SMALLEST_TEXT, LARGEST_TEXT = 10, 200  # pixels
SHRINKING = 0.8
PADDING = 2

Rectangle = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Label:
    """A text, the size of its letters in pixels, and where its background lies."""

    text: str
    size: float
    place: Rectangle


def annotated(answers: Iterable[Answer], folder: Path) -> Iterator[Answer]:
    """Pass the answers on; when a photo's last answer has come, write the photo with its boxes to `folder`.

    Files are called by their place in the run and what is plain in the photo's name: 0001-visitor.jpg. Raises
    FileNotWritten where the folder does not take them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, (_, of_photo) in enumerate(groupby(answers, key=lambda answer: id(answer.picture)), start=1):
        drawn = list(of_photo)
        yield from drawn
        photo = drawn[0].picture
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(photo.source).stem)[:60]
        try:
            pixels = photo.read().decode()
        except ImageError:
            continue  # its answer has said so
        picture = draw(pixels.rgb, drawn, pixels.reduction)
        path = folder / f"{number:04d}-{stem}.jpg"
        try:
            picture.save(path, format="JPEG", quality=92)
        except OSError as error:
            raise FileNotWritten(f"{printable(path)}: cannot be written ({error.strerror or error})") from error


def draw(rgb: UInt8Image, answers: Iterable[Answer], reduction: int = 1) -> Image.Image:
    """Return a copy of the photo (uint8 RGB [H, W, 3]) with boxes and labels.

    `reduction` is how many pixels of the answers' boxes are one of `rgb`; a copy above MAX_SIDE is reduced further.
    """
    picture = Image.fromarray(rgb)
    factor = min(1.0, MAX_SIDE / max(picture.size))
    if factor < 1:
        width, height = (max(1, round(side * factor)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    seen = [answer for answer in answers if answer.box is not None]
    boxes = [_scaled(answer.box, factor / reduction) for answer in seen if answer.box is not None]
    canvas = ImageDraw.Draw(picture)
    for answer, (left, top, right, bottom) in zip(seen, boxes, strict=True):
        line = max(1, round(min(right - left, bottom - top) / 60))
        canvas.rectangle((left, top, max(right, left), max(bottom, top)), outline=_colour(answer), width=line)
    for answer, label in zip(seen, place_labels([_text(a) for a in seen], boxes, picture.size), strict=True):
        canvas.rectangle(label.place, fill=_colour(answer))
        corner = (label.place[0] + PADDING, label.place[1] + PADDING)
        canvas.text(corner, label.text, fill="white", font=ImageFont.load_default(label.size), anchor="lt")
    return picture


def place_labels(texts: list[str], boxes: list[Rectangle], size: tuple[int, int]) -> list[Label]:
    """Find places for the labels of faces in a picture of `size` (width, height), each beside its own face.

    Above, below, to the right or to the left of it, where they cover neither a face nor another label; smaller where
    there is no room. Where there is none even for the smallest letters, the place that covers least is taken.
    """
    labels: list[Label] = []
    for text, box in zip(texts, boxes, strict=True):
        labels.append(_place_label(text, box, [*boxes, *(label.place for label in labels)], size))
    return labels


def _place_label(text: str, box: Rectangle, taken: list[Rectangle], size: tuple[int, int]) -> Label:
    tried: list[tuple[float, Label]] = []
    for letters in _sizes(text, box):
        for place in _places(_extent(text, letters), box, size):
            covered = sum(_overlap(place, other) for other in taken)
            tried.append((covered, Label(text, letters, place)))
            if covered == 0:
                return tried[-1][1]
    return min(tried, key=lambda label: label[0])[1]


def _sizes(text: str, box: Rectangle) -> Iterator[float]:
    """Yield sizes of letters, the best first: a share of the face's height, and hardly wider than the face."""
    width, height = box[2] - box[0], box[3] - box[1]
    letters = min(height / LABEL_SHARE, LARGEST_TEXT)
    letters *= min(1, LABEL_WIDTH * width / _extent(text, max(letters, 1))[0])
    while letters > SMALLEST_TEXT:
        yield letters
        letters *= SHRINKING
    yield SMALLEST_TEXT


def _extent(text: str, letters: float) -> tuple[float, float]:
    left, top, right, bottom = ImageFont.load_default(letters).getbbox(text, anchor="lt")
    return right - left + 2 * PADDING, bottom - top + 2 * PADDING


def _places(extent: tuple[float, float], box: Rectangle, size: tuple[int, int]) -> Iterator[Rectangle]:
    """Yield the places beside a box that lie within the picture, the usual ones first."""
    width, height = extent
    left, top, right, bottom = box
    most_left, most_top = max(size[0] - 1 - width, 0), max(size[1] - 1 - height, 0)
    above, below = top - 1 - height, bottom + 1
    before, behind = left - 1 - width, right + 1
    middle = (left + right - width) / 2
    corners = [(x, y) for y in (above, below) for x in (left, right - width, middle)]
    corners += [(x, y) for x in (behind, before) for y in (top, bottom - height, (top + bottom - height) / 2)]
    for x, y in corners:
        x, y = min(max(x, 0), most_left), min(max(y, 0), most_top)
        yield x, y, x + width, y + height


def _overlap(one: Rectangle, other: Rectangle) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def _scaled(box: tuple[float, float, float, float], factor: float) -> Rectangle:
    x, y, width, height = (value * factor for value in box)
    return x, y, x + width, y + height


def _text(answer: Answer) -> str:
    name = plain(answer.identity.label if answer.identity else answer.decision)
    return f"{name} {answer.similarity:.2f}" if answer.similarity is not None else name


def _colour(answer: Answer) -> tuple[int, int, int]:
    return IDENTIFIED if answer.identity else UNKNOWN
