"""Quality: is a detected face good enough to enrol?  Four measures, each with a limit and a reason code.

A poor template attracts everybody's probes, so faces under a limit are rejected at enrolment; when identifying,
quality is only reported.
"""

from dataclasses import dataclass

import numpy as np

from faceid.vision.alignment import REFERENCE_112X112, Points, align
from faceid.vision.detection import Faces
from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2


@dataclass(frozen=True)
class Limits:
    """What a face must have to be enrolled; the defaults reject about one in a hundred everyday photos."""

    face_size: float = 32.0  # pixels, the shorter side of the box: below it the network only sees interpolation
    detection_score: float = 0.9  # probability given by the detector, 0..1
    sharpness: float = 15.0  # variance of the Laplacian of the face aligned to 112x112
    turn: float = 1.0  # see `turn`: the nose tip stands over one eye, a profile
    lean: float = 60.0  # see `lean`, in degrees: above it the landmarks are those of no face


@dataclass(frozen=True)
class Quality:
    """The four measures of one face and what they add up to."""

    face_size: float
    detection_score: float
    sharpness: float
    turn: float
    lean: float = 0.0

    def reason_codes(self, limits: Limits) -> tuple[str, ...]:
        """Return why the face is rejected, worst first in the order of the checks; empty if it is good enough."""
        checks = (
            ("face_too_small", self.face_size < limits.face_size),
            ("low_detection_score", self.detection_score < limits.detection_score),
            ("blurred", self.sharpness < limits.sharpness),
            ("extreme_pose", self.turn > limits.turn),
            ("odd_landmarks", self.lean > limits.lean),
        )
        return tuple(code for code, failed in checks if failed)

    @property
    def overall(self) -> float:
        """The worst measure on a scale from 0 (unusable) to 1 (as good as recognition can use)."""
        shares = (self.face_size / 112, self.detection_score, self.sharpness / 100, 1 - self.turn)
        return float(np.clip(min(shares), 0, 1)) if self.lean <= Limits().lean else 0.0


def measure_quality(image: UInt8Image, faces: Faces, quarters: int = 0) -> list[Quality]:
    """Measure the faces of one photo (uint8 RGB [H, W, 3]); the same for every network, whatever its input size.

    `quarters` is by how many quarters the photo must be turned to the left to be upright.
    """
    sizes = faces.boxes[:, 2:].min(axis=1, initial=np.inf)
    crops = align(image, faces.landmarks, REFERENCE_112X112, (112, 112))
    return [
        Quality(float(size), float(score), sharpness(crop), turn(points), lean(points, quarters))
        for size, score, crop, points in zip(sizes, faces.scores, crops, faces.landmarks, strict=True)
    ]


def sharpness(crop: UInt8Image) -> float:
    """Return the variance of the Laplacian of a grey crop (Pech-Pacheco et al. 2000): low is blurred."""
    return float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def turn(landmarks: Points) -> float:
    """Return how far the face is turned away from the camera, from its landmarks [5, 2]: 0 frontal, 1 near profile.

    The nose tip is expressed in the frame of the eyes and the mouth; it leaves the middle line with yaw and the
    middle height with pitch. The larger of the two shifts counts, each in units of half the frame.
    """
    eye_middle = landmarks[:2].mean(axis=0, dtype=np.float64)
    mouth_middle = landmarks[3:].mean(axis=0, dtype=np.float64)
    across = (landmarks[1] - landmarks[0] + landmarks[4] - landmarks[3]).astype(np.float64) / 2
    down = mouth_middle - eye_middle
    frame = np.column_stack([across, down])
    if abs(np.linalg.det(frame)) < 1e-6:
        return np.inf
    x, y = np.linalg.solve(frame, landmarks[2] - eye_middle)
    # A frontal nose tip lies on the middle line, 0.495 of the way from the eyes to the mouth (the reference points).
    return float(max(abs(x), abs(y - 0.495)) / 0.5)


def lean(landmarks: Points, quarters: int = 0) -> float:
    """Return by how many degrees, 0 to 180, the way from the eyes to the mouth leads elsewhere than down.

    Of landmarks [5, 2] in a photo that must be turned by `quarters` to the left. 180 where they are those of no face:
    mirrored, or the eyes closer or wider than any face has them (a fifth or five times the way to the mouth).
    """
    eye_middle, mouth_middle = (points.mean(axis=0, dtype=np.float64) for points in (landmarks[:2], landmarks[3:]))
    across = (landmarks[1] - landmarks[0]).astype(np.float64)
    down = mouth_middle - eye_middle
    wide, high = np.hypot(*across), np.hypot(*down)
    mirrored = across[0] * down[1] - across[1] * down[0] <= 0
    if mirrored or not high / 5 <= wide <= high * 5:
        return 180.0
    angle = np.degrees(np.arctan2(down[0], down[1])) + 90 * quarters
    return float(abs((angle + 180) % 360 - 180))
