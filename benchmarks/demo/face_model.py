"""A small linear model of faces, ours to ship: people who do not exist, each with as many different faces as wanted.

face = mean + sum u_k person_k + sum v_k photo_k, with u drawn once for a person and v for each photo, all N(0, 1):
what differs between people and what differs between photos of one person are two sets of components, as in
probabilistic LDA (Prince and Elder 2007). `fit_face_model.py` fits them.

Mirroring a face gives a face, so every component is either even or odd under mirroring, and its left half is enough.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from faceid.vision.alignment import REFERENCE_112X112, Points
from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2
from indexer.errors import FaceIdError
from indexer.records import FloatMatrix, FloatVector

LUMA_SIDE = 96  # the 112x112 aligned crop with its border of 4 pixels, at four fifths of its size
CHROMA_SIDE = 24  # colour needs a quarter of the resolution, as in JPEG
FACE_SIDE = 120  # pixels of the faces that come out
# Where the five landmarks of a face of FACE_SIDE pixels lie: the usual points, 4 pixels further in.
FACE_LANDMARKS: Points = REFERENCE_112X112 + np.float32(4)
# Beyond that a linear model draws caricatures.
LONGEST_DRAW = 2.0

FILE = "faces.safetensors"
FORMAT = "faceid-demo-faces-1"


class FaceModelError(FaceIdError):
    """The file of the face model is missing, damaged, or of another format."""


@dataclass(frozen=True, eq=False)
class FaceModel:
    """Components in half vectors of P values: the left half of the luma plane, then of the two chroma planes.

    `mean` [P]; `person` [Kp, P] and `photo` [Ke, P] are even, `photo_odd` [Ko, P] odd; each row is one standard
    deviation of its component, in grey levels.
    """

    mean: FloatVector
    person: FloatMatrix
    photo: FloatMatrix
    photo_odd: FloatMatrix

    def sample_people(self, count: int, rng: np.random.Generator) -> FloatMatrix:
        """Draw people: the even half vectors [count, P] of the faces that all their photos vary."""
        return self.mean + _draw(count, rng, self.person)

    def sample_faces(self, people: FloatMatrix, rng: np.random.Generator) -> list[UInt8Image]:
        """Draw one face of each of these people [n, P]: n of uint8 RGB [FACE_SIDE, FACE_SIDE, 3], at FACE_LANDMARKS."""
        even = people + _draw(len(people), rng, self.photo)
        odd = _draw(len(people), rng, self.photo_odd)
        return [render(*halves) for halves in zip(even, odd, strict=True)]

    def to_bytes(self, description: str) -> bytes:
        """Return the model as a safetensors file: components as int8 with one scale each, the mean as float32."""
        tensors = {"mean": self.mean}
        for name in ("person", "photo", "photo_odd"):
            rows: FloatMatrix = np.ascontiguousarray(getattr(self, name))  # safetensors takes the bytes as they lie
            scale = np.abs(rows).max(axis=1) / 127
            tensors[name] = np.rint(rows / scale[:, None]).astype(np.int8)
            tensors[f"{name}_scale"] = scale.astype(np.float32)
        return save(tensors, metadata={"format": FORMAT, "description": description})


@cache
def load_face_model() -> FaceModel:
    """Load the shipped face model. Raises FaceModelError where it is missing or damaged."""
    with resources.as_file(resources.files("benchmarks.demo") / FILE) as path:
        try:
            with safe_open(path, framework="numpy") as file:
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise FaceModelError(f"{path} is not a face model of the format {FORMAT}; restore it from git")
                mean = file.get_tensor("mean")
                person, photo, odd = (
                    file.get_tensor(name).astype(np.float32) * file.get_tensor(f"{name}_scale")[:, None]
                    for name in ("person", "photo", "photo_odd")
                )
        except (OSError, SafetensorError) as error:
            raise FaceModelError(f"{path}: the demo's face model cannot be read ({error}); install again") from error
    return FaceModel(mean, person, photo, odd)


def render(even: FloatVector, odd: FloatVector) -> UInt8Image:
    """Make a picture of an even and an odd half vector [P]: uint8 RGB [FACE_SIDE, FACE_SIDE, 3]."""
    planes = [
        cv2.resize(plane, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_CUBIC)
        for plane in _planes(np.asarray(even, np.float32), np.asarray(odd, np.float32))
    ]
    ycrcb = np.clip(np.rint(np.dstack(planes)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(ycrcb, cv2.COLOR_YCrCb2RGB), np.uint8)


def half_vectors(face: UInt8Image) -> tuple[FloatVector, FloatVector]:
    """Take a face [side, side, 3] apart into its even and its odd half vector [P]; `render` is the inverse."""
    ycrcb = cv2.cvtColor(face, cv2.COLOR_RGB2YCrCb)
    luma = cv2.resize(ycrcb[..., 0], (LUMA_SIDE, LUMA_SIDE), interpolation=cv2.INTER_AREA)
    chroma = cv2.resize(ycrcb[..., 1:], (CHROMA_SIDE, CHROMA_SIDE), interpolation=cv2.INTER_AREA)
    even, odd = [], []
    for plane in (luma, chroma[..., 0], chroma[..., 1]):
        left, right = (half.astype(np.float32) for half in np.hsplit(plane, 2))
        even.append(((left + right[:, ::-1]) / 2).ravel())
        odd.append(((left - right[:, ::-1]) / 2).ravel())
    return np.concatenate(even), np.concatenate(odd)


def _draw(count: int, rng: np.random.Generator, components: FloatMatrix) -> FloatMatrix:
    weights = rng.standard_normal((count, len(components)), np.float32)
    drawn: FloatMatrix = np.clip(weights, -LONGEST_DRAW, LONGEST_DRAW) @ components
    return drawn


def _planes(even: FloatVector, odd: FloatVector) -> list[FloatMatrix]:
    planes, start = [], 0
    for side in (LUMA_SIDE, CHROMA_SIDE, CHROMA_SIDE):
        part = slice(start, start + side * side // 2)
        left, right = ((half[part].reshape(side, side // 2)) for half in (even + odd, even - odd))
        planes.append(np.hstack([left, right[:, ::-1]]))
        start = part.stop
    return planes
