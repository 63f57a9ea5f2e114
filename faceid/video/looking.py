"""Finding the faces of frames: everywhere, or between full scans only near where the last frame had them."""

from collections.abc import Sequence

import numpy as np

from faceid.pipeline import Pipeline
from faceid.video.frames import Frame
from faceid.vision.detection import Faces
from faceid.vision.images import UInt8Image

_AROUND = 2.2  # sides of the square that is searched near a face, in sides of its box: it may move by half its size

Region = tuple[int, int, int, int]  # left, top, right, bottom


class Looker:
    """Finds the faces of frames that come one after the other; every `full_scan_every`-th is searched everywhere.

    The others are searched near the faces of the frame before: who comes in is found at the next full scan.
    """

    def __init__(self, pipeline: Pipeline, full_scan_every: int = 1) -> None:
        if full_scan_every < 1:
            raise ValueError(f"full_scan_every must be 1 or more, not {full_scan_every}")
        self._pipeline = pipeline
        self._every = full_scan_every
        self._since = 0
        self._shot: int | None = None
        self._last = Faces.none()

    def find(self, frames: Sequence[Frame]) -> list[Faces]:
        """Return the faces of each frame, in order; frames that are all searched everywhere are searched together."""
        if self._every == 1:
            return self._pipeline.detect([frame.pixels for frame in frames])
        return [self._find_one(frame) for frame in frames]

    def _find_one(self, frame: Frame) -> Faces:
        full = frame.shot != self._shot or self._since % self._every == 0
        self._since = 1 if full else self._since + 1
        self._shot = frame.shot
        if full:
            (self._last,) = self._pipeline.detect([frame.pixels])
        else:
            self._last = self._near(frame.pixels)
        return self._last

    def _near(self, pixels: UInt8Image) -> Faces:
        regions = regions_around(self._last, pixels.shape[1], pixels.shape[0])
        if not regions:
            return Faces.none()
        crops = [np.ascontiguousarray(pixels[top:bottom, left:right]) for left, top, right, bottom in regions]
        found = [
            _moved(faces, left, top)
            for faces, (left, top, _, _) in zip(self._pipeline.detect(crops), regions, strict=True)
        ]
        return Faces(
            np.concatenate([faces.boxes for faces in found]),
            np.concatenate([faces.landmarks for faces in found]),
            np.concatenate([faces.scores for faces in found]),
        )


def regions_around(faces: Faces, width: int, height: int) -> list[Region]:
    """Return the regions of a picture around faces; those that overlap are one, so that no face is found twice."""
    regions: list[Region] = []
    for x, y, w, h in faces.boxes.tolist():
        half = _AROUND * max(w, h) / 2
        region = _clipped((x + w / 2 - half, y + h / 2 - half, x + w / 2 + half, y + h / 2 + half), width, height)
        while touching := next((one for one in regions if _touch(one, region)), None):
            regions.remove(touching)
            region = (
                min(region[0], touching[0]),
                min(region[1], touching[1]),
                max(region[2], touching[2]),
                max(region[3], touching[3]),
            )
        regions.append(region)
    return regions


def _clipped(sides: tuple[float, float, float, float], width: int, height: int) -> Region:
    left, top, right, bottom = sides
    return max(0, int(left)), max(0, int(top)), min(width, int(right) + 1), min(height, int(bottom) + 1)


def _touch(one: Region, other: Region) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _moved(faces: Faces, left: int, top: int) -> Faces:
    shift = np.array([left, top], np.float32)
    boxes = np.concatenate([faces.boxes[:, :2] + shift, faces.boxes[:, 2:]], axis=1)
    return Faces(boxes, faces.landmarks + shift, faces.scores)
