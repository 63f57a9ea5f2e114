"""Two faces made into one, as a forger of a document's photo does: by an average of aligned faces, or by a warp.

Both faces are brought to one frame by their five landmarks first. `average` then takes the mean of the pixels; `warp`
moves both onto the mean of their landmarks, triangle by triangle (Delaunay, with eight points of the frame's border),
and takes the mean. Neither is retouched: a forger with time does better, so that rates are lower bounds.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from faceid.vision.alignment import REFERENCE_112X112, Points, align, similarity_transform
from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2

FRAME = 224
"""Pixels of a frame's side: the square crop at one and a half times its size, and a margin of 28 around it."""

REFERENCE: Points = (REFERENCE_112X112 * np.float32(1.5) + np.float32(28)).astype(np.float32)
"""Where a frame's landmarks are brought to, as well as a rotation, a scale and a shift can."""


def framed(image: UInt8Image, landmarks: Points) -> tuple[UInt8Image, Points]:
    """Return a face's frame, uint8 [FRAME, FRAME, 3], and where its landmarks [5, 2] fall in it."""
    (frame,) = align(image, landmarks[None], REFERENCE, (FRAME, FRAME))
    matrix = similarity_transform(landmarks, REFERENCE)
    points: Points = (landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return frame, points


def average(first: UInt8Image, second: UInt8Image) -> UInt8Image:
    """Return the mean of two frames."""
    return _mean(first, second)


def warp(first: UInt8Image, its: Points, second: UInt8Image, others: Points) -> UInt8Image:
    """Return the mean of two frames after both were moved onto the mean of their landmarks [5, 2]."""
    target = _with_border(((its + others) / 2).astype(np.float32))
    triangles = Delaunay(target).simplices
    return _mean(
        _moved(first, _with_border(its), target, triangles), _moved(second, _with_border(others), target, triangles)
    )


def _mean(first: UInt8Image, second: UInt8Image) -> UInt8Image:
    mean: UInt8Image = np.rint((first.astype(np.float32) + second) / 2).astype(np.uint8)
    return mean


def _with_border(points: Points) -> Points:
    side = FRAME - 1
    border = [(x, y) for x, y in product((0, side / 2, side), repeat=2) if (x, y) != (side / 2, side / 2)]
    return np.concatenate([points, np.array(border, np.float32)]).astype(np.float32)


def _moved(frame: UInt8Image, source: Points, target: Points, triangles: NDArray[np.int32]) -> UInt8Image:
    """Move each triangle of a frame from its source to its target corners."""
    result = np.zeros_like(frame)
    for corners in triangles:
        matrix = cv2.getAffineTransform(source[corners], target[corners])
        piece = cv2.warpAffine(frame, matrix, (FRAME, FRAME), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        mask = np.zeros((FRAME, FRAME), np.uint8)
        cv2.fillConvexPoly(mask, np.rint(target[corners]).astype(np.int32), 1)
        result[mask > 0] = piece[mask > 0]
    return result
