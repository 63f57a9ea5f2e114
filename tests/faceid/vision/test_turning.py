"""Photos on their side or on their head: the direction in which the detector is sure is found, the face is in place."""

from collections.abc import Sequence

import numpy as np
import pytest

from faceid.vision.alignment import REFERENCE_112X112, align
from faceid.vision.detection import Faces
from faceid.vision.images import UInt8Image
from faceid.vision.quality import Limits, lean, measure_quality
from faceid.vision.turning import look_in_all_directions

MARK = (250, 10, 10)


class MarkDetector:
    """Finds an upright face where the mark is in the upper left quarter of the picture: 112x112 from the mark on."""

    def __init__(self) -> None:
        self.looked_at = 0

    def detect(self, images: Sequence[UInt8Image]) -> list[Faces]:
        self.looked_at += len(images)
        return [self._detect(image) for image in images]

    def _detect(self, image: UInt8Image) -> Faces:
        rows, columns = np.nonzero((image == MARK).all(axis=2))
        y, x = float(rows.min()), float(columns.min())
        upright = y < image.shape[0] / 2 and x < image.shape[1] / 2
        box = np.array([[x, y, 112, 112]], np.float32)
        score = np.array([0.999 if upright else 0.9], np.float32)
        return Faces(box, (REFERENCE_112X112 + np.array([x, y], np.float32))[None], score)


def marked() -> UInt8Image:
    picture = np.random.default_rng(0).integers(0, 200, (300, 400, 3), dtype=np.uint8)
    picture[20, 30] = MARK
    return picture


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_the_crop_of_a_turned_photo_is_that_of_the_upright_one(quarters: int) -> None:
    upright, detector = marked(), MarkDetector()
    stored = np.ascontiguousarray(np.rot90(upright, -quarters))
    (turned,) = look_in_all_directions(detector.detect, [stored], detector.detect([stored]), sure=0.99)
    assert turned.quarters == quarters
    expected = align(upright, MarkDetector().detect([upright])[0].landmarks, REFERENCE_112X112, (112, 112))
    np.testing.assert_allclose(
        align(stored, turned.faces.landmarks, REFERENCE_112X112, (112, 112)).astype(int), expected.astype(int), atol=1
    )
    x, y, width, height = turned.faces.boxes[0]
    left, top, right, bottom = (round(float(v + 0.5)) for v in (x, y, x + width, y + height))
    np.testing.assert_array_equal(np.rot90(stored[top:bottom, left:right], quarters), upright[20:132, 30:142])
    assert measure_quality(stored, turned.faces, turned.quarters)[0].lean == pytest.approx(0, abs=3)


def test_a_sure_face_is_not_looked_at_again() -> None:
    detector, photo = MarkDetector(), marked()
    look_in_all_directions(detector.detect, [photo], detector.detect([photo]), sure=0.99)
    assert detector.looked_at == 1


def test_where_no_direction_is_sure_the_photo_stays_as_it_is() -> None:
    detector, photo = MarkDetector(), marked()
    (turned,) = look_in_all_directions(detector.detect, [photo], detector.detect([photo]), sure=0.9999)
    assert turned.quarters == 0
    assert len(turned.faces) == 1


def test_a_large_photo_is_turned_small_and_its_faces_are_in_its_own_pixels() -> None:
    photo = np.zeros((2000, 3200, 3), np.uint8)
    photo[1900:, 3100:] = MARK  # on its head, the mark is in the upper left corner
    detector = MarkDetector()
    (turned,) = look_in_all_directions(detector.detect, [photo], detector.detect([photo]), sure=0.99)
    assert turned.quarters == 2
    x, y, width, height = turned.faces.boxes[0]
    assert (x + width, y + height) == pytest.approx((3199.5, 1999.5), abs=2)
    assert (width, height) == pytest.approx((224, 224), abs=1)


@pytest.mark.parametrize("degrees", [0, 30, 90, 180, 270])
def test_a_leaning_face_leans_by_its_angle(degrees: int) -> None:
    turn = np.deg2rad(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned = (REFERENCE_112X112 @ matrix.T).astype(np.float32)
    assert lean(turned) == pytest.approx(min(degrees, 360 - degrees), abs=2)


def test_landmarks_of_no_face_are_rejected() -> None:
    mirrored = REFERENCE_112X112[[1, 0, 2, 4, 3]]
    squeezed = REFERENCE_112X112 * np.array([0.1, 1], np.float32)
    for landmarks in (mirrored, squeezed, np.ones((5, 2), np.float32)):
        assert lean(landmarks) > Limits().lean


def test_a_face_on_its_head_is_not_enrolled() -> None:
    upside_down = (REFERENCE_112X112 * -1 + 112).astype(np.float32)
    faces = Faces(np.array([[0, 0, 112, 112]], np.float32), upside_down[None], np.array([0.99], np.float32))
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    (quality,) = measure_quality(noise, faces)
    assert quality.reason_codes(Limits()) == ("odd_landmarks",)
    assert quality.overall == 0
