"""Two faces in one frame: landmarks fall where they are said to, and a warp brings both to the mean."""

import numpy as np

from benchmarks.inputs.morphs import FRAME, REFERENCE, average, framed, warp


def dots(points, size=FRAME):
    """A black picture with a white dot at each point."""
    image = np.zeros((size, size, 3), np.uint8)
    for x, y in np.rint(points).astype(int):
        image[y - 3 : y + 4, x - 3 : x + 4] = 255
    return image


def test_a_frame_has_the_landmarks_where_it_says():
    points = (REFERENCE * 1.3 + 20).astype(np.float32)
    frame, found = framed(dots(points, 320), points)
    assert np.allclose(found, REFERENCE, atol=0.01)
    for x, y in np.rint(found).astype(int):
        assert frame[y, x].min() > 128


def test_a_warp_brings_both_to_the_mean_of_their_landmarks_and_an_average_does_not():
    other = REFERENCE + np.array([[-10, 4], [12, 0], [0, 12], [-8, 8], [8, 10]], np.float32)
    first, second = dots(REFERENCE), dots(other)
    middle = np.rint((REFERENCE + other) / 2).astype(int)
    warped, mean = warp(first, REFERENCE, second, other), average(first, second)
    assert min(warped[y, x].min() for x, y in middle) > 200
    assert min(mean[y, x].min() for x, y in middle) < 200


def test_a_face_with_itself_stays_what_it_is():
    image = dots(REFERENCE)
    assert np.array_equal(average(image, image), image)
    assert np.abs(warp(image, REFERENCE, image, REFERENCE).astype(int) - image).max() <= 1
