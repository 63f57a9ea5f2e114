"""Photos that lie on their side or stand on their head without saying so: faces are looked for in four directions.

A detector finds turned faces rarely, unsurely, and with landmarks where those of an upright face would be; enrolled,
they match nobody. So a photo without one sure face is looked at turned, and the direction that makes it sure counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from faceid.vision.detection import Faces
from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2

# What is turned is a copy with at most this longer side, in pixels: more than detectors look at.
SIDE = 1600

Detect = Callable[[Sequence[UInt8Image]], list[Faces]]


@dataclass(frozen=True, eq=False)
class Turned:
    """The faces of a photo in its own pixels, and by how many quarters to the left it had to be turned, 0 to 3."""

    faces: Faces
    quarters: int = 0


def look_in_all_directions(
    detect: Detect, images: Sequence[UInt8Image], found: Sequence[Faces], sure: float
) -> list[Turned]:
    """Keep what was found where a score reaches `sure` (0..1); else take the direction whose best does, if any."""
    return [
        Turned(faces) if _best(faces) >= sure else _best_direction(detect, image, faces, sure)
        for image, faces in zip(images, found, strict=True)
    ]


def _best(faces: Faces) -> float:
    return float(faces.scores.max(initial=0))


def _best_direction(detect: Detect, image: UInt8Image, upright: Faces, sure: float) -> Turned:
    scale = min(1, SIDE / max(image.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    copy = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) if scale < 1 else image
    turned = detect([np.ascontiguousarray(np.rot90(copy, quarters)) for quarters in (1, 2, 3)])
    quarters = max((1, 2, 3), key=lambda quarters: _best(turned[quarters - 1]))
    faces = turned[quarters - 1]
    if _best(faces) < sure:
        return Turned(upright)
    return Turned(_enlarged(_turned_back(faces, quarters, width, height), image, width, height), quarters)


def _turned_back(faces: Faces, quarters: int, width: int, height: int) -> Faces:
    """Bring faces from the turned picture into the one of this size that was turned."""
    corners = faces.boxes[:, :2], faces.boxes[:, :2] + faces.boxes[:, 2:]
    # Edges of pixels turn about the picture's middle, their centres half a pixel further in.
    first, second = (_points_back(corner + 0.5, quarters, width, height) - 0.5 for corner in corners)
    low, high = np.minimum(first, second), np.maximum(first, second)
    landmarks = _points_back(faces.landmarks + 0.5, quarters, width, height) - 0.5
    return Faces(np.concatenate([low, high - low], axis=1), landmarks, faces.scores)


def _points_back(
    points: np.ndarray[tuple[int, ...], np.dtype[np.float32]], quarters: int, width: int, height: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    x, y = points[..., 0], points[..., 1]
    back = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[quarters]
    return np.stack(back, axis=-1).astype(np.float32)


def _enlarged(faces: Faces, image: UInt8Image, width: int, height: int) -> Faces:
    factor = np.array([image.shape[1] / width, image.shape[0] / height], np.float32)
    boxes = np.concatenate([(faces.boxes[:, :2] + 0.5) * factor - 0.5, faces.boxes[:, 2:] * factor], axis=1)
    return Faces(boxes, (faces.landmarks + 0.5) * factor - 0.5, faces.scores)
