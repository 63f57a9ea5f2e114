"""What every reader of training faces gives, whatever lies on disk: labels at once, pixels when they are asked for."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from faceid.vision import png_file
from faceid.vision.decoding import announced_size
from faceid.vision.opencv import cv2
from training.errors import DataError

UInt8Images = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

UNKNOWN = -1  # label of a face of whom nobody knows whom it shows

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class FaceSource(Protocol):
    """N aligned faces of K people, all of the same size and geometry."""

    @property
    def labels(self) -> Ints:
        """Whom each face shows: int64 [N], index into `identities`, or `UNKNOWN`."""

    @property
    def identities(self) -> tuple[str, ...]:
        """K names."""

    @property
    def digest(self) -> str:
        """Stands for the faces and their order: what was computed from them is found again by it."""

    @property
    def left_out(self) -> int:
        """How many faces of the files are not among the N."""

    def read(self, chosen: Ints) -> UInt8Images:
        """Faces of these indices: uint8 [B, side, side, 3] RGB; DataError where one is damaged."""

    def name(self, index: int) -> str:
        """Find a face again: IDENTITY/NAME, or what the format has for it."""

    def order(self, random: np.random.Generator) -> Ints:
        """All indices in the order of an epoch, shuffled as far as the format allows at speed: int64 [N]."""


@dataclass(frozen=True)
class Selection:
    """Some of the faces of another reader, the others left out; people of whom none is left are gone.

    Attributes:
        faces: the reader.
        kept: int64 [N], rising indices into `faces`.
        labels: as in `FaceSource`.
        identities: as in `FaceSource`.
    """

    faces: FaceSource
    kept: Ints
    labels: Ints
    identities: tuple[str, ...]

    @property
    def digest(self) -> str:
        """The reader's digest with one of which are kept."""
        return f"{self.faces.digest} {hashlib.sha256(self.kept.tobytes()).hexdigest()}"

    @property
    def left_out(self) -> int:
        """How many of the reader's faces are left out, here and by itself."""
        return self.faces.left_out + len(self.faces.labels) - len(self.kept)

    def read(self, chosen: Ints) -> UInt8Images:
        """As in `FaceSource`."""
        return self.faces.read(self.kept[chosen])

    def name(self, index: int) -> str:
        """As in `FaceSource`."""
        return self.faces.name(int(self.kept[index]))

    def order(self, random: np.random.Generator) -> Ints:
        """As in `FaceSource`: the reader's own order, without those left out."""
        places = np.full(len(self.faces.labels), -1, np.int64)
        places[self.kept] = np.arange(len(self.kept))
        ordered: Ints = places[self.faces.order(random)]
        return ordered[ordered >= 0]


def leave_out(faces: FaceSource, names: set[str]) -> Selection:
    """Leave the faces of these names out.

    Raises:
        DataError: none of the names is known (the list is of other data), or no face is left.
    """
    kept = np.array([i for i in range(len(faces.labels)) if faces.name(i) not in names], np.int64)
    if names and len(kept) == len(faces.labels):
        raise DataError(f"none of the {len(names)} faces to leave out is here, {min(names)!r} for one")
    return _select(faces, kept)


def with_photos(faces: FaceSource, fewest: int) -> Selection:
    """Keep the people who have `fewest` faces or more, and faces of unknown people.

    Raises:
        DataError: nobody has.
    """
    counts = np.bincount(faces.labels[faces.labels != UNKNOWN])
    return _select(faces, np.flatnonzero((faces.labels == UNKNOWN) | (counts[faces.labels] >= fewest)))


def mislabel(faces: FaceSource, share: float, seed: int) -> Selection:
    """Shuffle the labels of this share of the labelled faces among them: everybody keeps as many faces as before."""
    random = np.random.default_rng(seed)
    known = np.flatnonzero(faces.labels != UNKNOWN)
    drawn = random.permutation(known)[: round(share * len(known))]
    labels = faces.labels.copy()
    labels[drawn] = labels[random.permutation(drawn)]
    return Selection(faces, np.arange(len(labels)), labels, faces.identities)


def _select(faces: FaceSource, kept: Ints) -> Selection:
    if len(kept) == 0:
        raise DataError("every face is to be left out")
    labels = faces.labels[kept]
    known = labels != UNKNOWN
    people, labels[known] = np.unique(labels[known], return_inverse=True)
    identities = tuple(faces.identities[person] for person in people)
    return Selection(faces, kept, labels, identities)


def read_names(path: Path) -> set[str]:
    """Read names of faces, one a line; what follows a tab is a remark, `#` opens a comment line.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list of faces {path}: {error}") from error
    return {line.split("\t")[0] for line in lines if line and not line.startswith("#")}


def told_apart(paths: Sequence[Path]) -> tuple[str, ...]:
    """Name files by no more of their folders than tells them apart: a/train.rec, where b/train.rec is there, too."""
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(set(paths)):
        depth += 1
    return tuple("/".join(path.parts[-depth:]) for path in paths)


def decode(payloads: Sequence[bytes], names: Sequence[str], side: int) -> UInt8Images:
    """Decode encoded images into uint8 [B, side, side, 3] RGB.

    Raises:
        DataError: one is no image, or has another size.
    """
    images = np.empty((len(payloads), side, side, 3), np.uint8)
    for index, (payload, name) in enumerate(zip(payloads, names, strict=True)):
        size = announced_size(payload)
        # Looked at before it is decoded: a header of a few bytes can ask for gigabytes.
        if size is not None and size != (side, side):
            raise DataError(f"{name} is {size[0]}x{size[1]} pixels, the config says {side}x{side}")
        whole = png_file.whole(payload) if payload.startswith(png_file.SIGNATURE) else payload
        image = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR_RGB) if size and whole else None
        if image is None or image.shape != (side, side, 3):
            raise DataError(f"{name} in the training data is not an image (JPEG, PNG or WebP); rebuild the data")
        images[index] = image
    return images
