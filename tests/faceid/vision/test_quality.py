"""Quality: each defect is measured, named, and only rejected past its limit."""

import cv2
import numpy as np
import pytest

from faceid.vision.alignment import REFERENCE_112X112
from faceid.vision.detection import Faces
from faceid.vision.quality import Limits, Quality, measure_quality, sharpness, turn

GOOD = Quality(face_size=100, detection_score=0.99, sharpness=300, turn=0.1)


def texture(blur: float = 0) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), blur) if blur else noise


def test_a_good_face_has_no_reason() -> None:
    assert GOOD.reason_codes(Limits()) == ()


@pytest.mark.parametrize(
    ("defect", "code"),
    [
        ({"face_size": 31.9}, "face_too_small"),
        ({"detection_score": 0.5}, "low_detection_score"),
        ({"sharpness": 1.0}, "blurred"),
        ({"turn": 1.1}, "extreme_pose"),
    ],
)
def test_each_defect_has_its_reason_code(defect: dict[str, float], code: str) -> None:
    face = Quality(**({"face_size": 100, "detection_score": 0.99, "sharpness": 300, "turn": 0.1} | defect))
    assert face.reason_codes(Limits()) == (code,)
    assert face.overall < GOOD.overall


def test_a_limit_itself_is_good_enough() -> None:
    limits = Limits()
    face = Quality(limits.face_size, limits.detection_score, limits.sharpness, limits.turn)
    assert face.reason_codes(limits) == ()


def test_a_frontal_face_is_not_turned() -> None:
    assert turn(REFERENCE_112X112) < 0.1


def test_rolling_the_head_does_not_count_as_turning() -> None:
    rolled = cv2.transform(REFERENCE_112X112[None], cv2.getRotationMatrix2D((56, 56), 40, 1.3))[0]
    assert turn(rolled) == pytest.approx(turn(REFERENCE_112X112), abs=1e-4)


def test_the_nose_over_one_eye_is_a_profile() -> None:
    profile = REFERENCE_112X112.copy()
    profile[2, 0] = profile[0, 0]
    assert turn(profile) > 0.9


def test_collapsed_landmarks_count_as_fully_turned() -> None:
    assert turn(np.ones((5, 2), np.float32)) > Limits().turn


def test_blur_lowers_sharpness_below_its_limit() -> None:
    values = [sharpness(texture(blur)) for blur in (0, 1, 3, 8)]
    assert values == sorted(values, reverse=True)
    assert values[0] > Limits().sharpness > values[-1]


def test_sharpness_of_a_flat_face_is_zero_and_of_one_dot_is_known() -> None:
    assert sharpness(np.full((112, 112, 3), 9, np.uint8)) == 0
    dot = np.zeros((112, 112, 3), np.uint8)
    dot[50, 50] = 100
    # OpenCV's 3x3 Laplacian of one dot of 100: -400 in the middle, 100 at its four neighbours, mean 0.
    assert sharpness(dot) == pytest.approx((400**2 + 4 * 100**2) / 112**2)


def test_all_faces_of_a_photo_are_measured_in_order() -> None:
    # A photo of the size of a crop, with the landmarks on the reference points: each crop is the photo itself.
    boxes = np.array([[0, 0, 50, 70], [5, 5, 20, 18]], np.float32)
    found = Faces(boxes, np.stack([REFERENCE_112X112] * 2), np.array([0.9, 0.8], np.float32))
    measured = measure_quality(texture(1), found)
    assert [face.face_size for face in measured] == [50, 18]
    assert [face.detection_score for face in measured] == pytest.approx([0.9, 0.8])
    assert measured[0].sharpness == measured[1].sharpness == sharpness(texture(1))
    assert measure_quality(texture(), Faces.none()) == []
