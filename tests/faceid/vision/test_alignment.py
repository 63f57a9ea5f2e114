"""Alignment: landmarks land on the reference points, at every scale, without aliasing."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceid.vision.alignment import REFERENCE_112X112, align, centre_points, reference_points, similarity_transform


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def test_the_reference_points_are_those_of_the_field() -> None:
    assert reference_points(112, 96)[0].tolist() == pytest.approx([30.2946, 51.6963])
    assert reference_points(112, 112)[:, 0].tolist() == pytest.approx([38.2946, 73.5318, 56.0252, 41.5493, 70.7299])


def test_half_size_reference_points_follow_pixel_centres() -> None:
    # A point on the boundary between pixels 0 and 1 (0.5) lies in the middle of the half-size pixel 0.
    np.testing.assert_allclose(reference_points(56, 56), (REFERENCE_112X112 - 0.5) / 2, atol=1e-5)


def test_agreed_shapes_are_cases_of_the_crops_that_training_uses() -> None:
    for shape in ((112, 96), (112, 112), (64, 64)):
        np.testing.assert_allclose(centre_points(*shape), reference_points(*shape), atol=1e-5)
    # 96x80: six sevenths of 112x112, 8 columns off on either side.
    np.testing.assert_allclose(centre_points(96, 80)[0], [38.7946 * 6 / 7 - 8.5, 52.1963 * 6 / 7 - 0.5], atol=1e-4)


def test_other_shapes_have_no_agreed_reference() -> None:
    with pytest.raises(ValueError, match="100x90"):
        reference_points(100, 90)


@given(
    scale=st.floats(0.05, 20),
    angle=st.floats(-3.1, 3.1),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_a_similarity_is_recovered_exactly(scale: float, angle: float, shift: tuple[float, float]) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    source = ((REFERENCE_112X112 - shift) @ np.linalg.inv(turn).T).astype(np.float64)
    matrix = similarity_transform(source, REFERENCE_112X112)
    np.testing.assert_allclose(apply(matrix, source), REFERENCE_112X112, atol=1e-2)


def test_noisy_landmarks_get_the_least_squares_fit() -> None:
    # The independent oracle: the same problem as a linear system in (a, b, tx, ty), solved by lstsq.
    rng = np.random.default_rng(0)
    source = (REFERENCE_112X112 * 1.7 + rng.normal(0, 3, (5, 2))).astype(np.float32)
    rows = [[x, -y, 1, 0] for x, y in source] + [[y, x, 0, 1] for x, y in source]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), REFERENCE_112X112.T.ravel(), rcond=None)[0]
    expected = [[a, -b, tx], [b, a, ty]]
    np.testing.assert_allclose(similarity_transform(source, REFERENCE_112X112), expected, atol=1e-4)


def test_identity_landmarks_copy_the_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    crop = align(image, REFERENCE_112X112[None], REFERENCE_112X112, (112, 112))
    np.testing.assert_array_equal(crop[0], image)


def test_a_dot_at_a_landmark_appears_at_its_reference_point() -> None:
    image = np.zeros((300, 300, 3), dtype=np.uint8)
    landmarks = REFERENCE_112X112 * 1.4 + [30, 40]
    for x, y in landmarks:
        cv2.circle(image, (round(float(x)), round(float(y))), 3, (255, 255, 255), -1)
    crop = align(image, landmarks.astype(np.float32)[None], REFERENCE_112X112, (112, 112))[0]
    for x, y in REFERENCE_112X112:
        assert crop[round(float(y)), round(float(x))].min() > 200


@pytest.mark.parametrize("scale", [2.5, 5.0, 12.0])
def test_a_large_face_keeps_its_geometry_and_is_not_aliased(scale: float) -> None:
    # A smooth ramp keeps its values wherever the pixels come from; a fine checkerboard must average to grey.
    side = round(112 * scale)
    landmarks = ((REFERENCE_112X112 + 0.5) * scale - 0.5).astype(np.float32)[None]
    ramp = np.repeat(np.linspace(0, 255, side)[None, :, None], side, axis=0).repeat(3, axis=2).astype(np.uint8)
    crop = align(ramp, landmarks, REFERENCE_112X112, (112, 112))[0].astype(float)
    expected = (np.arange(112) + 0.5) * scale / side * 255
    np.testing.assert_allclose(crop[56, 5:-5, 0], expected[5:-5], atol=2.5)

    checkers = (np.indices((side, side)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    grey = align(checkers, landmarks, REFERENCE_112X112, (112, 112))[0, 20:-20, 20:-20]
    assert abs(grey.mean() - 127.5) < 8
    assert grey.std() < 40


def test_faces_at_the_border_are_black_outside() -> None:
    image = np.full((112, 112, 3), 200, dtype=np.uint8)
    crop = align(image, (REFERENCE_112X112 - 50)[None], REFERENCE_112X112, (112, 112))[0]
    assert crop[:40].max() == 0
    assert crop[60:, 60:].min() == 200


def test_no_face_gives_no_crop_and_equal_points_do_not_crash() -> None:
    image = np.zeros((50, 50, 3), dtype=np.uint8)
    assert align(image, np.empty((0, 5, 2), np.float32), REFERENCE_112X112, (112, 96)).shape == (
        0,
        112,
        96,
        3,
    )
    assert align(image, np.full((1, 5, 2), 7, np.float32), REFERENCE_112X112, (112, 112)).shape == (
        1,
        112,
        112,
        3,
    )
