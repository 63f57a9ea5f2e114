"""Photos with the answers drawn on them: a box around each face, a name or "unknown", the similarity."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from faceid.results import Answer
from faceid.vision.images import ImageError

IDENTIFIED, UNKNOWN = (40, 160, 70), (200, 60, 40)


def annotated(answers: Iterable[Answer], folder: Path) -> Iterator[Answer]:
    """Pass the answers on; when a photo's last answer has come, write the photo with its boxes to `folder`.

    Files are called by their place in the run and what is plain in the photo's name: 0001-visitor.jpg.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, (_, of_photo) in enumerate(groupby(answers, key=lambda answer: id(answer.picture)), start=1):
        drawn = list(of_photo)
        yield from drawn
        photo = drawn[0].picture
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(photo.source).stem)[:60]
        try:
            pixels = photo.pixels()
        except ImageError:
            continue  # its answer has said so
        picture = Image.fromarray(pixels)
        for answer in drawn:
            _draw(picture, answer)
        picture.save(folder / f"{number:04d}-{stem}.jpg", quality=92)


def _draw(picture: Image.Image, answer: Answer) -> None:
    if answer.box is None:
        return
    canvas = ImageDraw.Draw(picture)
    x, y, w, h = answer.box
    colour = IDENTIFIED if answer.identity else UNKNOWN
    line = max(2, round(min(picture.size) / 200))
    canvas.rectangle((x, y, x + w, y + h), outline=colour, width=line)
    font = ImageFont.load_default(size=max(10, min(picture.size) / 22))
    name = answer.identity.name if answer.identity else answer.decision
    text = f"{name} {answer.similarity:.2f}" if answer.similarity is not None else name
    _, _, text_width, text_height = canvas.textbbox((0, 0), text, font=font)
    left = min(max(x, 0), max(picture.width - text_width - 4, 0))
    top = y - text_height - 4 if y >= text_height + 4 else min(y + h, picture.height - text_height - 4)
    canvas.rectangle((left, top, left + text_width + 4, top + text_height + 4), fill=colour)
    canvas.text((left + 2, top + 1), text, fill="white", font=font)
