"""Packs of aligned faces: tar files with IDENTITY/NAME.webp, decoded once into one array in memory."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceid.inference.cpu_features import available_cores
from faceid.vision.broken_crops import shows_a_face
from faceid.vision.photo_list import path_beside_photos
from training.data.faces import Ints, UInt8Images, decode
from training.data.tar_members import MAX_MEMBER_BYTES, content, members
from training.errors import DataError

# 61,000 faces of 120x120 take 2.6 GB; a pack beyond this limit wants reading from disk, which this is not.
MEMORY_LIMIT_BYTES = 8 * 2**30
_RATIO = 10  # faces do not shrink when they are packed
MAX_THREADS = 16  # OpenCV decodes outside Python's lock


@dataclass(frozen=True)
class Pack:
    """Faces of the same size and geometry with whom they show.

    Attributes:
        images: uint8 [N, side, side, 3] RGB.
        labels: int64 [N], index into `identities`.
        identities: K names, sorted.
        digest: sha256 hex of the names and the encoded bytes of the faces that are in it.
        names: N names, IDENTITY/NAME.webp.
        left_out: crops that show no face and were left out.
    """

    images: UInt8Images
    labels: Ints
    identities: tuple[str, ...]
    digest: str
    names: tuple[str, ...]
    left_out: int = 0

    def read(self, chosen: Ints) -> UInt8Images:
        """As in `training.data.faces.FaceSource`."""
        return self.images[chosen]

    def name(self, index: int) -> str:
        """IDENTITY/NAME.webp."""
        return self.names[index]

    def order(self, random: np.random.Generator) -> Ints:
        """Shuffle everything."""
        return random.permutation(len(self.labels))


def read_packs(
    paths: Sequence[Path], *, side: int, only_faces: bool = False, memory_limit: int = MEMORY_LIMIT_BYTES
) -> Pack:
    """Read tar files of IDENTITY/NAME.webp (or .png, .jpg), each face `side` x `side` pixels.

    The order of the faces is the order of their names, so the same packs always give the same array. With
    `only_faces`, crops that show no face (`faceid.vision.broken_crops`) are left out, and people who have no other.

    Raises:
        DataError: a missing or damaged tar, a face that does not decode or has another size, no face at all,
            or more decoded bytes than `memory_limit`.
    """
    encoded = sorted((name, payload) for path in paths for name, payload in _members(path))
    if not encoded:
        raise DataError(f"no faces in {', '.join(map(str, paths)) or 'an empty list of packs'}")
    needed = len(encoded) * side * side * 3
    if needed > memory_limit:
        raise DataError(
            f"{len(encoded)} faces of {side}x{side} take {needed / 2**30:.1f} GiB of memory, more than the "
            f"{memory_limit / 2**30:.1f} GiB allowed; give fewer packs"
        )
    images = np.empty((len(encoded), side, side, 3), np.uint8)

    def decode_one(index: int) -> bool:
        name, payload = encoded[index]
        images[index] = decode([payload], [name], side)[0]
        return not only_faces or shows_a_face(images[index])

    with ThreadPoolExecutor(min(available_cores(), MAX_THREADS)) as pool:
        kept = np.flatnonzero(np.fromiter(pool.map(decode_one, range(len(encoded)), chunksize=256), bool))
    if len(kept) == 0:
        raise DataError(f"no crop in {', '.join(map(str, paths))} shows a face")
    for place, index in enumerate(kept):  # moved within the array: a copy would take as much memory again
        images[place] = images[index]
    people = [encoded[index][0].split("/")[-2] for index in kept]
    identities, labels = np.unique(people, return_inverse=True)
    return Pack(
        images[: len(kept)],
        labels.astype(np.int64),
        tuple(identities.tolist()),
        digest=_digest([encoded[index] for index in kept]),
        names=tuple("/".join(encoded[index][0].split("/")[-2:]) for index in kept),
        left_out=len(encoded) - len(kept),
    )


def _digest(faces: Sequence[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, payload in faces:
        digest.update(f"{name} {len(payload)}\n".encode())
        digest.update(payload)
    return digest.hexdigest()


def _members(path: Path) -> list[tuple[str, bytes]]:
    """Name and bytes of every file in the tar, but for what systems put beside photos."""
    found, held = [], 0
    packed = path.stat().st_size if path.is_file() else 0
    most = min(MEMORY_LIMIT_BYTES, _RATIO * packed + MAX_MEMBER_BYTES)
    for tar, member in members(path):
        if path_beside_photos(member.name):
            continue
        if "/" not in member.name.strip("/"):
            raise DataError(f"{member.name} in {path} has no identity; a pack holds IDENTITY/NAME.webp")
        held += member.size
        if held > most:
            why = "give fewer packs" if most == MEMORY_LIMIT_BYTES else "far more than faces can be packed into"
            raise DataError(f"{path} holds more than {most:,} bytes of faces; {why}")
        found.append((member.name, content(tar, member)))
    return found
