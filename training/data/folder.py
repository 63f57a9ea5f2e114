"""Aligned faces as a folder for each identity: PEOPLE/IDENTITY/NAME.jpg, read from disk when a batch needs them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from faceid.vision.photo_list import beside_photos, folder_beside_photos
from training.data.faces import IMAGE_SUFFIXES, Ints, UInt8Images, decode
from training.errors import DataError


@dataclass(frozen=True)
class FolderFaces:
    """Image files [N] of the people, in the order of their names; see `training.data.faces.FaceSource`."""

    files: tuple[Path, ...]
    side: int
    labels: Ints
    identities: tuple[str, ...]
    digest: str
    left_out: int = field(default=0)

    def read(self, chosen: Ints) -> UInt8Images:
        """As in `FaceSource`."""
        files = [self.files[index] for index in chosen]
        try:
            return decode([file.read_bytes() for file in files], [str(file) for file in files], self.side)
        except OSError as error:
            raise DataError(f"cannot read a training face: {error}") from error

    def name(self, index: int) -> str:
        """IDENTITY/NAME.jpg."""
        return "/".join(self.files[index].parts[-2:])

    def order(self, random: np.random.Generator) -> Ints:
        """Shuffle everything."""
        return random.permutation(len(self.files))


def open_folders(folders: Sequence[Path], *, side: int) -> FolderFaces:
    """List the images of folders of people; a person may be in several of them.

    Files that are no images by their name, what systems and programs put beside photos (`beside_photos`), and folders
    in a person's folder, do not count. The digest is of names, sizes and times of change: the pixels of a large
    collection are not read for it.

    Raises:
        DataError: a folder cannot be read, or there is no image.
    """
    found: list[tuple[str, Path]] = []
    digest = hashlib.sha256()
    try:
        for folder in folders:
            for person in sorted(
                each for each in folder.iterdir() if each.is_dir() and not folder_beside_photos(each.name)
            ):
                found.extend((f"{person.name}/{file.name}", file) for file in person.iterdir() if _is_face(file))
        found.sort()
        for name, file in found:
            status = file.stat()
            digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    except OSError as error:
        raise DataError(f"cannot read the training faces: {error}") from error
    if not found:
        raise DataError(f"no images in folders of people in {', '.join(map(str, folders))}")
    identities, labels = np.unique([name.split("/")[0] for name, _ in found], return_inverse=True)
    return FolderFaces(
        tuple(file for _, file in found),
        side,
        labels.astype(np.int64),
        tuple(identities.tolist()),
        digest.hexdigest(),
    )


def _is_face(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not beside_photos(file.name) and not file.is_dir()
