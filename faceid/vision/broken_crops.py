"""Tells aligned faces from wrong crops: face packs hold some that show an empty wall or a smeared border."""

from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2

FLAT = 8.0  # grey levels, standard deviation: no quarter of a face is so even
QUARTER = 40  # side of a quarter of the face's middle, in pixels of a 120x120 packed face
TOPS, LEFTS = (35, 75), (20, 60)
PACKED_SIDE = 120


def shows_a_face(face: UInt8Image) -> bool:
    """Say whether each quarter of the middle of a packed face, uint8 RGB [120, 120, 3], has something to show.

    Another side than 120 is measured in proportion.
    """
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    factor = face.shape[0] / PACKED_SIDE
    side = max(1, round(QUARTER * factor))
    corners = [(round(top * factor), round(left * factor)) for top in TOPS for left in LEFTS]
    return min(float(grey[y : y + side, x : x + side].std()) for y, x in corners) >= FLAT
