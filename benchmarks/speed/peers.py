"""What others made, as our tasks take it: the `mtcnn` package on TensorFlow."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from faceid.vision.detection import Faces
from faceid.vision.images import UInt8Image
from faceid.vision.mtcnn import MIN_FACE_SIZE, SCALE_FACTOR, THRESHOLDS

BATCH = 16  # photos per call, where photos are given in batches

Detect = Callable[[Sequence[UInt8Image]], list[Faces]]


def package_detector() -> Detect:
    """Return the package's detector in our terms: a list of images in, `Faces` out, floats not rounded to pixels."""
    from mtcnn import MTCNN  # imports TensorFlow, so only where it is wanted

    detector = MTCNN()
    settings = dict(zip(("threshold_pnet", "threshold_rnet", "threshold_onet"), THRESHOLDS, strict=True))

    def detect(images: Sequence[UInt8Image]) -> list[Faces]:
        rows = detector.detect_faces(
            images[0] if len(images) == 1 else list(images),
            output_type="numpy",
            box_format="xyxy",
            min_face_size=MIN_FACE_SIZE,
            scale_factor=SCALE_FACTOR,
            **settings,
        )
        return [package_faces(rows, index) for index in range(len(images))]

    return detect


def package_faces(rows: npt.NDArray[Any], index: int) -> Faces:
    """Turn the package's rows [n, 16] (image, x1, y1, x2, y2, score, five x, five y) of one image into `Faces`."""
    rows = rows.reshape(-1, 16)
    rows = rows[rows[:, 0] == index].astype(np.float32)
    boxes = np.concatenate([rows[:, 1:3], rows[:, 3:5] - rows[:, 1:3]], axis=1)
    return Faces(boxes, rows[:, 6:].reshape(-1, 2, 5).transpose(0, 2, 1), rows[:, 5])
