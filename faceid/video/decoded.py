"""From what a decoder gives to an upright picture: colours, rotation, interlacing, pixels that are not square."""

from typing import TYPE_CHECKING

import numpy as np

from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2

if TYPE_CHECKING:
    from av import VideoFrame

SKETCH_ROWS, SKETCH_COLUMNS = 36, 64
_EIGHT_BIT_LUMA = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray")


def upright_pixels(frame: "VideoFrame", aspect: float) -> UInt8Image:
    """Return the frame as uint8 RGB [H, W, 3]; `aspect` is a pixel's width by its height."""
    pixels = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    if frame.interlaced_frame and len(pixels) > 1:
        # Two moments woven into one picture: the lines of one of them, and what lies between them.
        lines = np.ascontiguousarray(pixels[::2])
        pixels = np.asarray(cv2.resize(lines, (pixels.shape[1], pixels.shape[0])), np.uint8)
    if aspect != 1:
        width = max(1, round(pixels.shape[1] * aspect))
        pixels = np.asarray(cv2.resize(pixels, (width, pixels.shape[0])), np.uint8)
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels


def sketch(frame: "VideoFrame") -> UInt8Image:
    """Return some of the frame's luminance, uint8 [rows, columns]: enough to see a cut, and nearly free."""
    if frame.format.name in _EIGHT_BIT_LUMA:
        plane = frame.planes[0]
        grey = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    else:
        reduced = frame.reformat(width=SKETCH_COLUMNS, height=SKETCH_ROWS, format="gray")
        grey = np.asarray(reduced.to_ndarray(), np.uint8)
    return some_of(grey)


def some_of(grey: UInt8Image) -> UInt8Image:
    """Return pixels [rows, columns] evenly spread over a grey picture [H, W]."""
    rows = np.linspace(0, grey.shape[0] - 1, SKETCH_ROWS).astype(np.intp)
    columns = np.linspace(0, grey.shape[1] - 1, SKETCH_COLUMNS).astype(np.intp)
    return grey[rows[:, None], columns]
