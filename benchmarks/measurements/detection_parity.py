"""Compares our MTCNN with the `mtcnn` package on TensorFlow: does it find the same faces, and how fast is each.

    python -m benchmarks.measurements.detection_parity PHOTO_OR_FOLDER... [--limit 300] [--canvases 40]

Both get the same pixels and the same settings (min_face_size 20, scale factor 0.709, thresholds 0.6, 0.7, 0.8), and
each may choose what suits it best: photos one by one, or in batches.  Needs TensorFlow: `pip install tensorflow`.

Two differences are on purpose.  The package's suppression lets boxes that are already suppressed suppress others; ours
is the greedy one of the paper and keeps more faces that overlap.  The package divides crops by the photo's size and
pyramid positions by the nominal scale, which moves both by up to a few per cent of a face; ours are where they belong.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from benchmarks.speed.peers import BATCH, Detect, package_detector
from faceid.vision.detection import Faces
from faceid.vision.images import ImageError, UInt8Image, read_photo
from faceid.vision.mtcnn import MtcnnDetector

SAME_FACE_IOU = 0.5
CANVAS_HEIGHT, CANVAS_WIDTH, PHOTOS_PER_CANVAS = 480, 640, 5


@click.command(help=__doc__)
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--limit", default=300, show_default=True, help="Photos to take, sampled at random.")
@click.option("--canvases", default=40, show_default=True, help="640x480 pictures to compose of five photos each.")
@click.option("--seed", default=0, show_default=True)
def main(paths: tuple[Path, ...], limit: int, canvases: int, seed: int) -> None:
    """Print agreement and speed, for the photos and for canvases composed of them."""
    photos = read_sample(paths, limit, seed)
    package, detector = package_detector(), MtcnnDetector()
    for title, images in (("photos", photos), ("canvases", compose(photos, canvases, seed))):
        if images:
            click.echo(f"{title}: {len(images)}")
            theirs, their_seconds = fastest(package, images)
            ours, our_seconds = fastest(detector.detect, images)
            click.echo(agreement(theirs, ours).as_text())
            click.echo(speed_as_text(their_seconds, our_seconds, len(images)))


def read_sample(paths: Sequence[Path], limit: int, seed: int) -> list[UInt8Image]:
    """Read at most `limit` of the photos under the paths; files that are no photos are passed over."""
    files = sorted(file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    random.Random(seed).shuffle(files)
    photos: list[UInt8Image] = []
    for file in files:
        if len(photos) == limit:
            break
        try:
            photos.append(read_photo(file).pixels)
        except ImageError as error:
            click.echo(f"passed over: {error}", err=True)
    return photos


def compose(photos: Sequence[UInt8Image], count: int, seed: int) -> list[UInt8Image]:
    """Lay five photos, cut to fit, at random places on each of `count` grey canvases; later ones cover earlier ones."""
    generator = np.random.default_rng(seed)
    canvases = []
    for _ in range(count if photos else 0):
        canvas = np.full((CANVAS_HEIGHT, CANVAS_WIDTH, 3), generator.integers(256), np.uint8)
        for index in generator.integers(len(photos), size=PHOTOS_PER_CANVAS):
            photo = photos[index][:CANVAS_HEIGHT, :CANVAS_WIDTH]
            top = generator.integers(CANVAS_HEIGHT - photo.shape[0] + 1)
            left = generator.integers(CANVAS_WIDTH - photo.shape[1] + 1)
            canvas[top : top + photo.shape[0], left : left + photo.shape[1]] = photo
        canvases.append(canvas)
    return canvases


def fastest(detect: Detect, images: Sequence[UInt8Image]) -> tuple[list[Faces], dict[int, float]]:
    """Run one by one and in batches; return the faces found one by one, and the wall-clock seconds by batch size."""
    found: dict[int, list[Faces]] = {}
    seconds: dict[int, float] = {}
    for batch in (1, BATCH):
        detect(images[:batch])  # the first call pays for set-up
        start = time.perf_counter()
        found[batch] = [faces for i in range(0, len(images), batch) for faces in detect(images[i : i + batch])]
        seconds[batch] = time.perf_counter() - start
    return found[1], seconds


@dataclass(frozen=True)
class Agreement:
    """How far two detectors agree; a face is matched where boxes overlap with IoU >= 0.5."""

    theirs: int  # faces the package found
    ours: int
    theirs_matched: int  # of theirs, also found by ours
    ours_matched: int
    landmark_distances: npt.NDArray[np.float32]  # [matched, 5] px
    face_sizes: npt.NDArray[np.float32]  # [matched] px, square root of the package's box area

    def as_text(self) -> str:
        """Three lines for the terminal."""
        median, p95, most = np.percentile(self.landmark_distances, [50, 95, 100]) if self.theirs_matched else [0.0] * 3
        relative = np.median(self.landmark_distances / self.face_sizes[:, None]) if self.theirs_matched else 0.0
        return (
            f"  faces of the package found by ours: {self.theirs_matched} of {self.theirs}\n"
            f"  faces of ours found by the package: {self.ours_matched} of {self.ours}\n"
            f"  landmarks apart: median {median:.2f} px ({relative:.2%} of the face), 95th percentile {p95:.2f}, "
            f"most {most:.2f}"
        )


def agreement(theirs: Sequence[Faces], ours: Sequence[Faces]) -> Agreement:
    """Match each face with the one that overlaps it most, photo by photo."""
    matched_theirs = matched_ours = 0
    distances, sizes = [np.empty((0, 5), np.float32)], [np.empty(0, np.float32)]
    for expected, found in zip(theirs, ours, strict=True):
        if len(expected) and len(found):
            overlap = iou(expected.boxes, found.boxes)
            matched_ours += int((overlap.max(axis=0) >= SAME_FACE_IOU).sum())
            same = np.flatnonzero(overlap.max(axis=1) >= SAME_FACE_IOU)
            matched_theirs += len(same)
            apart = expected.landmarks[same] - found.landmarks[overlap[same].argmax(axis=1)]
            distances.append(np.linalg.norm(apart, axis=2))
            sizes.append(np.sqrt(expected.boxes[same, 2:].prod(axis=1)))
    return Agreement(
        sum(map(len, theirs)),
        sum(map(len, ours)),
        matched_theirs,
        matched_ours,
        np.concatenate(distances),
        np.concatenate(sizes),
    )


def iou(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return intersection over union [n, m] of boxes [n, 4] and [m, 4] (x, y, width, height)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    shared = (high - low).clip(min=0).prod(axis=2)
    whole = a[:, 2:].prod(axis=1)[:, None] + b[:, 2:].prod(axis=1)[None] - shared
    return np.asarray(shared / whole, dtype=np.float32)


def speed_as_text(theirs: dict[int, float], ours: dict[int, float], count: int) -> str:
    """Three lines for the terminal: photos a second by batch size, and the ratio of the best to the best."""
    lines = [
        f"  {name}: " + ", ".join(f"{count / seconds:.1f} a second in batches of {n}" for n, seconds in times.items())
        for name, times in (("package", theirs), ("ours", ours))
    ]
    return "\n".join([*lines, f"  ours is {min(theirs.values()) / min(ours.values()):.1f} times as fast, best to best"])


if __name__ == "__main__":
    main()
