"""A detector that keeps the best faces of a photo: a crowd must not cost what a thousand photos cost."""

from collections.abc import Sequence

from faceid.vision.detection import Detector, Faces
from faceid.vision.images import UInt8Image


class BoundedDetector:
    """Another detector, with at most `most` faces a photo."""

    def __init__(self, detector: Detector, most: int) -> None:
        self._detector = detector
        self._most = most
        # Passed on as it is: without one, the pipeline has a value of its own (`faceid.pipeline`).
        self.sure_score: float = getattr(detector, "sure_score", 1e-9)

    @property
    def digest(self) -> str:
        """What tells the detector within from another."""
        return self._detector.digest

    def detect(self, images: Sequence[UInt8Image]) -> list[Faces]:
        """Find the faces of each image, best first."""
        return [
            faces.take((-faces.scores).argsort(kind="stable")[: self._most].tolist())
            if len(faces) > self._most
            else faces
            for faces in self._detector.detect(images)
        ]
