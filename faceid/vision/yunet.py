"""YuNet through OpenCV: a second detector, small and quick, with a weights file that the user names.

Wu, Peng, Yu: YuNet, a tiny millisecond-level face detector, 2023. The file is OpenCV Zoo's
`face_detection_yunet_2023mar.onnx`; it is not in this package.
"""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from faceid.vision.detection import DetectorError, Faces
from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2
from indexer.regular_file import read_regular
from indexer.text import printable

SCORE = 0.6  # least score of a face; OpenCV's examples take 0.6 to 0.9
OVERLAP, MOST_FACES = 0.3, 5000  # intersection over union above which the weaker of two boxes goes; faces a photo
_LARGEST = 64 * 2**20  # bytes of a file of weights; the one in use has 233 thousand
# Its faces are 10 to 300 pixels wide (OpenCV's documentation): a photo is searched at each of these longer sides that
# it reaches, so that the small faces of a large photo are found and a face that fills it, too.
SIDES = (640, 1600)


class YuNetDetector:
    """Finds faces with YuNet. Many threads may use one at once."""

    def __init__(self, weights: str | Path, min_face_size: int = 20) -> None:
        """Read the weights file; `min_face_size` (px) is the smallest face that is kept.

        Raises DetectorError for a file that cannot be read or is no YuNet, ValueError for a size below 1.
        """
        if min_face_size < 1:
            raise ValueError(f"min_face_size must be at least 1 px; got {min_face_size}")
        self.min_face_size = min_face_size
        self._path = printable(weights)
        try:
            self._weights = np.frombuffer(read_regular(Path(weights), _LARGEST), np.uint8)
        except (OSError, ValueError) as error:
            raise DetectorError(f"{self._path}: the detector's weights cannot be read ({error})") from error
        self.digest = hashlib.sha256(b"yunet" + self._weights.tobytes()).hexdigest()
        self._of_thread = threading.local()  # OpenCV's object remembers the size of its input
        self._net()

    def detect(self, images: Sequence[UInt8Image]) -> list[Faces]:
        """Find the faces of each image [H, W, 3] uint8 RGB; raises DetectorError for an image of another kind."""
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise DetectorError(f"images must be RGB uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
        return [self._detect(image) for image in images]

    def _detect(self, image: UInt8Image) -> Faces:
        longer = max(image.shape[:2])
        sides = [side for side in SIDES[:-1] if side < longer] + [min(longer, SIDES[-1])]
        rows = np.concatenate([self._rows(image, side / longer) for side in sides])
        rows = rows[rows[:, 2:4].min(axis=1) >= self.min_face_size]
        kept = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 14].tolist(), SCORE, OVERLAP)
        order = np.asarray(kept, np.intp).reshape(-1)  # the best score first
        return Faces(rows[:, :4], rows[:, 4:14].reshape(-1, 5, 2), np.clip(rows[:, 14], 0, 1)).take(order)

    def _rows(self, image: UInt8Image, scale: float) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Search a copy of the image: rows [n, 15] of x, y, width, height, five points and the score."""
        height, width = image.shape[:2]
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        copy = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
        net = self._net()
        net.setInputSize(size)
        _, found = net.detect(np.ascontiguousarray(copy[:, :, ::-1]))
        if found is None:
            return np.empty((0, 15), np.float32)
        rows = np.array(found, np.float32)
        rows[:, :14] *= np.tile(np.array([width / size[0], height / size[1]], np.float32), 7)
        corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        corners = np.clip(corners, 0, np.array([width, height, width, height], np.float32) - 1)
        rows[:, :4] = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        return rows

    def _net(self) -> Any:
        if not hasattr(self._of_thread, "net"):
            try:
                self._of_thread.net = cv2.FaceDetectorYN.create(
                    "onnx", self._weights, np.empty(0, np.uint8), (0, 0), SCORE, OVERLAP, MOST_FACES
                )
            except cv2.error as error:
                raise DetectorError(f"{self._path}: not a YuNet that OpenCV can run ({error.err})") from error
        return self._of_thread.net


def make_yunet(*, device: str, min_face_size: int, weights: Path | None) -> YuNetDetector:
    """Make the detector from the user's file; raises DetectorError without one, or for a device but the processor."""
    if device != "cpu":
        raise DetectorError(f"YuNet runs on the processor, not on {device}; use --device cpu or --detector mtcnn")
    if weights is None:
        raise DetectorError("YuNet's weights are not in this package: name the file with --detector-weights FILE")
    return YuNetDetector(weights, min_face_size)
