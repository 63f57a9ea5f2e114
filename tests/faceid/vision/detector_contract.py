"""What every `faceid.vision.detection.Detector` must do: `check_detector` runs on any implementation."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from faceid.vision.detection import Detector, Faces
from faceid.vision.images import UInt8Image


def check_detector(detector: Detector, photos: list[UInt8Image]) -> None:
    """Fail where the detector breaks the contract; each photo [H, W, 3] uint8 RGB shows one upright face or more."""
    assert re.fullmatch("[0-9a-f]{64}", detector.digest), "a hex SHA-256 tells it from other detectors"
    assert detector.detect([]) == [], "no photos, no results"
    empty = detector.detect([np.zeros((40, 60, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)])
    assert [len(faces) for faces in empty] == [0, 0], "a photo without a face gives no face, a tiny one too"

    before = [photo.copy() for photo in photos]
    found = detector.detect(photos)
    assert len(found) == len(photos), "one result a photo, in order"
    assert all(np.array_equal(photo, copy) for photo, copy in zip(photos, before, strict=True)), "photos stay as given"
    for faces, photo in zip(found, photos, strict=True):
        _check_faces(faces, photo)
    for one, photo in zip(found, photos, strict=True):
        _check_same(one, detector.detect([photo])[0])
    views = [np.asfortranarray(photo) for photo in photos]
    for one, other in zip(found, detector.detect(views), strict=True):
        _check_same(one, other)
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(found * 4, pool.map(lambda photo: detector.detect([photo])[0], photos * 4), strict=True):
            _check_same(one, other)


def _check_faces(faces: Faces, photo: UInt8Image) -> None:
    height, width = photo.shape[:2]
    n = len(faces)
    assert n >= 1, "the face is found"
    assert faces.boxes.shape == (n, 4)
    assert faces.landmarks.shape == (n, 5, 2)
    assert faces.scores.shape == (n,)
    assert {faces.boxes.dtype, faces.landmarks.dtype, faces.scores.dtype} == {np.dtype(np.float32)}
    assert all(np.isfinite(values).all() for values in (faces.boxes, faces.landmarks, faces.scores))
    assert (faces.scores[:-1] >= faces.scores[1:]).all(), "the best score first"
    assert ((faces.scores >= 0) & (faces.scores <= 1)).all(), "a score is a probability"
    x, y, w, h = faces.boxes.T
    inside = (x >= -0.5) & (y >= -0.5) & (w > 0) & (h > 0) & (x + w <= width + 0.5) & (y + h <= height + 0.5)
    assert inside.all(), "boxes lie inside the photo"
    left_eye, right_eye, nose, left_mouth, right_mouth = faces.landmarks[0]
    assert left_eye[0] < right_eye[0], "left as seen in the photo"
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def _check_same(one: Faces, other: Faces) -> None:
    assert len(one) == len(other), "the same photo gives the same faces, alone, in a batch and from any thread"
    assert np.allclose(one.boxes, other.boxes, atol=0.1)
    assert np.allclose(one.landmarks, other.landmarks, atol=0.1)
    assert np.allclose(one.scores, other.scores, atol=1e-3)
