"""Alignment: each face is rotated, scaled and shifted so that its five landmarks fall on the reference points.

Pixel convention, everywhere in this project: 0-based, pixel centres at integer coordinates (as OpenCV's warpAffine).
MATLAB's published crops use 1-based coordinates and are therefore shifted by one pixel against ours.
"""

import numpy as np
from numpy.typing import NDArray

from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2

Points = NDArray[np.float32]

# Five points (left eye, right eye, nose, left and right mouth corner; left as seen) of SphereFace's 112x96 (h x w)
# crop: wy1iu/sphereface, the reference of the field.
REFERENCE_112X96: Points = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]],
    dtype=np.float32,
)
# The square crop of the same height has 8 more pixels on either side.
REFERENCE_112X112: Points = REFERENCE_112X96 + np.array([8, 0], dtype=np.float32)


def reference_points(height: int, width: int) -> Points:
    """Return the five reference points [5, 2] (x, y) for an input size: 112x96, or 112x112 and its scaled squares.

    Raises ValueError for other shapes: there is no agreed geometry for them.
    """
    if (height, width) == (112, 96):
        return REFERENCE_112X96.copy()
    if height == width:
        return centre_points(height, width)
    raise ValueError(f"no reference points for an input of {height}x{width}; give them, or use 112x96 or a square")


def centre_points(height: int, width: int) -> Points:
    """Return the points [5, 2] (x, y) of a crop with the full height of the 112x112 one and the middle of its width.

    That is the geometry of all crops that networks of our own are trained on; 112x96 and squares are cases of it.
    """
    # Pixel centres: the centre of pixel 0 lies half a pixel from the edge at every scale.
    square = (REFERENCE_112X112 + 0.5) * (height / 112) - 0.5
    points: Points = (square - np.array([(height - width) / 2, 0])).astype(np.float32)
    return points


def similarity_transform(source: Points, target: Points) -> NDArray[np.float64]:
    """Return the 2x3 similarity (rotation, scale, shift, no reflection) that maps source [5, 2] onto target [5, 2].

    Least squares in closed form: as complex numbers, a z + b with a = sum conj(z_c) w_c / sum |z_c|^2 over the
    centred points; the same optimum as Umeyama 1991 without the reflection case.
    """
    z, w = (points[:, 0] + 1j * points[:, 1] for points in (source.astype(np.float64), target.astype(np.float64)))
    z_centred, w_centred = z - z.mean(), w - w.mean()
    a = (z_centred.conj() @ w_centred) / max((z_centred.conj() @ z_centred).real, np.finfo(np.float64).tiny)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(image: UInt8Image, landmarks: Points, reference: Points, size: tuple[int, int]) -> UInt8Image:
    """Cut out the faces of one photo, aligned.

    `image` uint8 [H, W, 3]; `landmarks` [n, 5, 2] in its pixels; `reference` [5, 2] in the crop's pixels; `size` the
    crop's (height, width). Returns uint8 [n, height, width, 3]; what lies outside the photo is black.
    """
    height, width = size
    crops = np.zeros((len(landmarks), height, width, 3), dtype=np.uint8)
    for crop, points in zip(crops, landmarks, strict=True):
        matrix = similarity_transform(points, reference)
        if not matrix[:, :2].any():
            continue  # landmarks that all coincide show no face: the crop stays black
        source, matrix = _shrink(image, matrix, size)
        cv2.warpAffine(source, matrix, (width, height), dst=crop, flags=cv2.INTER_LINEAR)
    return crops


def _shrink(
    image: UInt8Image, matrix: NDArray[np.float64], size: tuple[int, int]
) -> tuple[UInt8Image, NDArray[np.float64]]:
    """Reduce the neighbourhood of a large face by a whole factor first: bilinear warping alone would alias it."""
    factor = int(1 / np.hypot(matrix[0, 0], matrix[1, 0]))
    if factor < 2:
        return image, matrix
    left, top, right, bottom = _source_window(matrix, size, image.shape[:2])
    window = image[top:bottom, left:right]
    height, width = (side // factor for side in window.shape[:2])
    if min(height, width) < 1:
        return image, matrix
    window = window[: height * factor, : width * factor]
    reduced = np.asarray(cv2.resize(window, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    # Reduced pixel p covers source pixels p*factor .. p*factor + factor-1, whose centre is p*factor + (factor-1)/2.
    offset = np.array([left, top]) + (factor - 1) / 2
    linear = matrix[:, :2]
    return reduced, np.column_stack([linear * factor, linear @ offset + matrix[:, 2]])


def _source_window(
    matrix: NDArray[np.float64], size: tuple[int, int], image_size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return the bounds (left, top, right, bottom) in the photo of everything the crop will look at."""
    height, width = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float64)
    source = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    margin = 2 / np.hypot(matrix[0, 0], matrix[1, 0])
    left, top = np.clip(np.floor(source.min(0) - margin), 0, None).astype(int)
    right, bottom = np.clip(np.ceil(source.max(0) + margin), 0, np.array(image_size[::-1])).astype(int)
    return int(left), int(top), int(right), int(bottom)
