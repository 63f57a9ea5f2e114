"""Whether a process that lives long grows: its memory while photos are identified and enrolled one a call.

    python -m benchmarks.measurements.growth [--calls 1000]

A call enrols one photo (every other one under a new name) and identifies another, with a writer that flushes now and
then, removes people and erases them: what a service does all day. The gallery's size stays between two bounds, so that
memory that grows is memory that is kept for nothing.
"""

import io
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image
from tabulate import tabulate

from benchmarks.demo.people import write_people
from benchmarks.measurements.guest import resident
from faceid import FaceEngine, Gallery, PersonPhoto, user_threshold

PEOPLE, MOST = 20, 40
STEPS = 10
FLUSHED_EVERY = 25


@click.command(help=__doc__)
@click.option("--calls", type=click.IntRange(min=STEPS), default=1000, show_default=True)
def main(calls: int) -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        photos = write_people(Path(folder) / "people", PEOPLE, 2, 7)
        rows = []
        for done in _calls(Path(folder), photos, calls):
            if done % (calls // STEPS) == 0:
                rows.append((done, resident()))
    print(tabulate(rows, headers=("calls", "MiB resident"), tablefmt="github", floatfmt=".0f"))


def _calls(folder: Path, photos: list[Path], calls: int) -> Iterator[int]:
    """Yield how many calls are done, from 0 on."""
    engine, threshold = FaceEngine(), user_threshold(0.5)
    with Gallery.open(folder / "gallery", create=engine.binding) as gallery:
        yield 0
        for number, photo in zip(range(calls), itertools.cycle(photos), strict=False):
            new = folder / "photo.png"
            new.write_bytes(_another(photo, number))  # other bytes: a photo that is known would not be looked at
            engine.enroll(gallery, PersonPhoto(new, f"person {number % MOST}"), restore=True)
            engine.identify(gallery, photo.read_bytes(), threshold)
            if number % FLUSHED_EVERY == FLUSHED_EVERY - 1:
                gallery.flush()
                people = gallery.identities()
                gallery.remove(people[0].id)
                gallery.erase(people[-1].id)
            yield number + 1


def _another(photo: Path, number: int) -> bytes:
    """Return a photo that shows the same and is another file: one grey level of one pixel apart."""
    pixels = np.asarray(Image.open(photo).convert("RGB")).copy()
    place = np.unravel_index(number % pixels.size, pixels.shape)
    pixels[place] ^= 1
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
