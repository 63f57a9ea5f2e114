"""Small clips of drawn people with known truth, and files with every fault that a video may have."""

import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from benchmarks.demo.people import DrawnPhoto, draw_people
from faceid.vision.images import UInt8Image

SIZE = 320, 240  # width, height
RATE = 25
Place = tuple[int, int]


def write_video(
    file: Path,
    frames: Iterable[UInt8Image],
    *,
    codec: str = "libx264",
    rate: float = RATE,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    times: Sequence[float] | None = None,
    container_options: dict[str, str] | None = None,
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Encode frames uint8 RGB; `times` are their seconds where they are not evenly spaced."""
    with av.open(str(file), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1000), options=options or {})
        stream.pix_fmt = pix_fmt
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        begun = False
        for number, pixels in enumerate(frames):
            if not begun:
                stream.height, stream.width = pixels.shape[:2]
                begun = True
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        if begun:
            container.mux(stream.encode())
    return file


def write_sound(file: Path) -> Path:
    """A second of silence, and no picture."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for _ in range(43):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44100
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def grey(frames: int, size: tuple[int, int] = SIZE) -> list[UInt8Image]:
    """Frames without anybody; their brightness tells their number: 16 + 6 * number, up to 39."""
    width, height = size
    return [np.full((height, width, 3), 16 + 6 * (number % 40), np.uint8) for number in range(frames)]


def turned(file: Path, degrees: int) -> Path:
    """Write a display matrix into an MP4 file, as telephones do: players turn it clockwise by 90, 180 or 270."""
    content = bytearray(file.read_bytes())
    at = content.index(b"tkhd") + 4
    at += 40 if content[at] == 0 else 52  # version 1 has longer times
    one = 1 << 16
    a, b, c, d = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[degrees]
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    file.write_bytes(content)
    return file


def with_duration(file: Path, seconds: int) -> Path:
    """Let the header of a Matroska file announce another duration."""
    content = bytearray(file.read_bytes())
    at = content.index(b"\x44\x89\x88") + 3
    struct.pack_into(">d", content, at, seconds * 1000.0)
    file.write_bytes(content)
    return file


def people(count: int, photos: int, seed: int) -> list[list[DrawnPhoto]]:
    """Drawn people, each with several photos."""
    return list(draw_people(count, photos, seed))


def scene(
    persons: Sequence[tuple[Sequence[UInt8Image], Callable[[int], Place | None]]],
    frames: int,
    *,
    size: tuple[int, int] = SIZE,
    background: int = 90,
) -> list[UInt8Image]:
    """Several people, each at its place in each frame (None: not there); later ones stand before earlier ones."""
    width, height = size
    pictures = []
    for number in range(frames):
        picture = np.full((height, width, 3), background, np.uint8)
        for photos, place in persons:
            where = place(number)
            if where is not None:
                _paste(picture, photos[number * len(photos) // frames], where)
        pictures.append(picture)
    return pictures


def _paste(picture: UInt8Image, photo: UInt8Image, where: Place) -> None:
    height, width = picture.shape[:2]
    x, y = where
    left, top, right, bottom = max(0, x), max(0, y), min(width, x + photo.shape[1]), min(height, y + photo.shape[0])
    if left < right and top < bottom:
        picture[top:bottom, left:right] = photo[top - y : bottom - y, left - x : right - x]
