"""Clips with known truth: photos of people on a scene, panned, zoomed, shaken, blurred, crossing, leaving, and a cut.

A clip has two shots with a cut between. In each two people move about; one of the first shot comes back in the second,
on another photo. Truth is the face's box of the photo, moved as the photo is, wherever half of it can be seen.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from faceid.vision.detection import Box
from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2

RATE = 10  # frames a second
WIDTH, HEIGHT = 480, 360
SIDE = 192  # pixels of a photo
VISIBLE = 0.5  # share of a face that must be seen

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Portrait:
    """A photo uint8 RGB [SIDE, SIDE, 3] and its face's box."""

    pixels: UInt8Image
    box: Box


@dataclass(frozen=True)
class TrueFace:
    """Who is where in a frame; `seen` is the share of the face that is neither covered nor outside."""

    person: int
    box: Box
    seen: float


@dataclass(frozen=True, eq=False)
class _Role:
    """A person in a shot: the photo, and the way it goes: x, y of its middle, scale and turn (degrees) at 0..1."""

    person: int
    portrait: Portrait
    way: Callable[[float], tuple[float, float, float, float] | None]


@dataclass(frozen=True)
class ClipKind:
    """What happens in a clip."""

    ways: tuple[str, str]
    shaken: bool
    blurred: bool


WAYS = ("pan", "zoom", "cross", "leave", "stand")


def kind_of(number: int) -> ClipKind:
    """Return what happens in the clip of this number: all ways, with and without shaking and blur, in turn."""
    return ClipKind((WAYS[number % 5], WAYS[(number // 5 + 2) % 5]), number % 3 == 1, number % 3 == 2)


def write_clip(file: Path, number: int, people: Sequence[tuple[int, Sequence[Portrait]]], seconds: float) -> None:
    """Write a clip of three people and, beside it as JSON, who is where in each frame. A number is a clip."""
    random = np.random.default_rng([2026, number])
    kind = kind_of(number)
    truth: list[list[dict[str, Any]]] = []
    with av.open(str(file), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"preset": "ultrafast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for shot in range(2):
            cast = people[:2] if shot == 0 else people[1:]
            photo = [shot if who == people[1][0] else 0 for who, _ in cast]
            portraits = [photos[place % len(photos)] for place, (_, photos) in zip(photo, cast, strict=True)]
            roles = _roles(kind.ways[shot], [who for who, _ in cast], portraits, random)
            for pixels, faces in _shot(roles, kind, round(seconds * RATE / 2), random):
                truth.append([asdict(face) for face in faces])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    file.with_suffix(".json").write_text(json.dumps(truth))


def read_truth(file: Path) -> list[list[TrueFace]]:
    """Return who is where in each frame of a clip."""
    frames = json.loads(file.with_suffix(".json").read_text())
    return [[TrueFace(face["person"], tuple(face["box"]), face["seen"]) for face in faces] for faces in frames]


def _roles(way: str, who: Sequence[int], portraits: Sequence[Portrait], random: np.random.Generator) -> list[_Role]:
    roles = []
    for place, (person, portrait) in enumerate(zip(who, portraits, strict=True)):
        left, right = WIDTH * random.uniform(0.2, 0.28), WIDTH * random.uniform(0.72, 0.8)
        begin, end = (left, right) if place == 0 else (right, left)
        y, scale = HEIGHT * random.uniform(0.45, 0.55), random.uniform(0.7, 1.1)
        turn, sway = random.uniform(-10, 10), random.uniform(4, 12)
        roles.append(_Role(person, portrait, _way(way, begin, end, y, scale, turn, sway, place)))
    return roles


def _way(
    kind: str, begin: float, end: float, y: float, scale: float, turn: float, sway: float, place: int
) -> Callable[[float], tuple[float, float, float, float] | None]:
    def at(share: float) -> tuple[float, float, float, float] | None:
        wave = sway * float(np.sin(2 * np.pi * 2 * share))
        x, size = begin + wave, scale
        if kind == "cross":
            x = begin + (end - begin) * share
        elif kind == "pan":
            x = begin + (WIDTH * 0.25) * (share if place == 0 else -share) * 0.6 + wave
        elif kind == "zoom":
            size = 0.5 + 0.6 * (share if place == 0 else 1 - share)
        elif kind == "leave" and place == 0:
            # Out to the left, away for a fifth of the shot, and back.
            away = np.interp(share, [0, 0.3, 0.45, 0.65, 0.8, 1], [0, 0, 1, 1, 0, 0])
            x = begin - float(away) * (begin + SIDE)
        return x, y + 0.5 * wave, size, turn * float(np.sin(2 * np.pi * share))

    return at


def _shot(
    roles: Sequence[_Role], kind: ClipKind, frames: int, random: np.random.Generator
) -> Iterator[tuple[UInt8Image, list[TrueFace]]]:
    background = _background(random)
    shake = np.cumsum(random.normal(0, 2.0 if kind.shaken else 0.0, (frames, 2)), axis=0)
    shake -= np.linspace(0, 1, frames)[:, None] * shake[-1]  # it wanders, and does not run away
    for number in range(frames):
        share = number / max(1, frames - 1)
        picture = background.astype(np.float32)
        boxes: list[tuple[int, Box]] = []
        for role in roles:
            where = role.way(share)
            if where is None:
                continue
            matrix = _placed(where, shake[number])
            picture = _pasted(picture, role.portrait.pixels, matrix)
            boxes.append((role.person, _moved(role.portrait.box, matrix, where[2])))
        if kind.blurred:
            strength = 1.8 * abs(float(np.sin(2 * np.pi * share)))
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), max(0.3, strength)), np.float32)
        picture += random.normal(0, 3, (HEIGHT, WIDTH, 1)).astype(np.float32)
        picture *= 1 + 0.15 * float(np.sin(2 * np.pi * share + 1))
        faces = [
            TrueFace(who, box, _seen(box, [other for _, other in boxes[place + 1 :]]))
            for place, (who, box) in enumerate(boxes)
        ]
        yield np.clip(np.rint(picture), 0, 255).astype(np.uint8), faces


def _background(random: np.random.Generator) -> UInt8Image:
    rough = random.integers(40, 200, (4, 6, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)


def _placed(where: tuple[float, float, float, float], shake: Reals) -> Reals:
    x, y, scale, turn = where
    middle = (SIDE - 1) / 2
    matrix = np.asarray(cv2.getRotationMatrix2D((middle, middle), turn, scale), np.float64)
    matrix[:, 2] += np.array([x, y]) - middle + shake
    return matrix


def _cover() -> NDArray[np.float32]:
    """Return how much of a photo covers the scene: an oval around its middle, soft at its edge."""
    cover = np.zeros((SIDE, SIDE), np.float32)
    cv2.ellipse(cover, (SIDE // 2, SIDE // 2), (72, 88), 0, 0, 360, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(cover, (0, 0), 4), np.float32)


_COVER = _cover()


def _pasted(picture: NDArray[np.float32], photo: UInt8Image, matrix: Reals) -> NDArray[np.float32]:
    # Bounds of the photo in the scene: only there is anything to do.
    corners = np.array([[0, 0, 1], [SIDE, 0, 1], [0, SIDE, 1], [SIDE, SIDE, 1]]) @ matrix.T
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (WIDTH, HEIGHT))
    if left >= right or top >= bottom:
        return picture
    here = matrix.copy()
    here[:, 2] -= (left, top)
    size = (int(right - left), int(bottom - top))
    small = np.hypot(matrix[0, 0], matrix[0, 1]) < 0.8
    source = cv2.GaussianBlur(photo, (0, 0), 0.6) if small else photo
    face = cv2.warpAffine(source, here, size, flags=cv2.INTER_LINEAR).astype(np.float32)
    cover = cv2.warpAffine(_COVER, here, size, flags=cv2.INTER_LINEAR)[..., None]
    part = picture[top:bottom, left:right]
    picture[top:bottom, left:right] = part + cover * (face - part)
    return picture


def _moved(box: Box, matrix: Reals, scale: float) -> Box:
    x, y, w, h = box
    middle_x, middle_y = matrix @ np.array([x + w / 2, y + h / 2, 1])
    return float(middle_x - scale * w / 2), float(middle_y - scale * h / 2), scale * w, scale * h


def _seen(box: Box, before: Sequence[Box]) -> float:
    """Return the share of a face inside the frame and not behind another face."""
    x, y, w, h = box
    rows, columns = np.mgrid[0:20, 0:20]
    px, py = x + (columns + 0.5) / 20 * w, y + (rows + 0.5) / 20 * h
    visible = (px >= 0) & (px < WIDTH) & (py >= 0) & (py < HEIGHT)
    for left, top, width, height in before:
        visible &= ~((px >= left) & (px < left + width) & (py >= top) & (py < top + height))
    return float(visible.mean())
