"""Packs of aligned faces: tar files with IDENTITY/NAME.webp, decoded once into one array in memory."""

import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from training.errors import DataError

UInt8Images = npt.NDArray[np.uint8]

# 61,000 faces of 120x120 take 2.6 GB; a pack beyond this limit wants reading from disk, which this is not.
MEMORY_LIMIT_BYTES = 8 * 2**30
DECODING_THREADS = 2  # OpenCV decodes outside Python's lock


@dataclass(frozen=True)
class Pack:
    """Faces of the same size and geometry with whom they show.

    Attributes:
        images: uint8 [N, side, side, 3] RGB.
        labels: int64 [N], index into `identities`.
        identities: K names, sorted.
    """

    images: UInt8Images
    labels: npt.NDArray[np.int64]
    identities: tuple[str, ...]


def read_packs(paths: Sequence[Path], *, side: int, memory_limit: int = MEMORY_LIMIT_BYTES) -> Pack:
    """Read tar files of IDENTITY/NAME.webp (or .png, .jpg), each face `side` x `side` pixels.

    The order of the faces is the order of their names, so the same packs always give the same array.

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

    def decode(index: int) -> None:
        name, payload = encoded[index]
        image = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise DataError(f"{name} in the training packs is not an image; rebuild the pack")
        if image.shape[:2] != (side, side):
            raise DataError(f"{name} is {image.shape[1]}x{image.shape[0]} pixels, the config says {side}x{side}")
        images[index] = image

    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        for _ in pool.map(decode, range(len(encoded)), chunksize=256):
            pass
    people = [name.split("/")[-2] for name, _ in encoded]
    identities, labels = np.unique(people, return_inverse=True)
    return Pack(images, labels.astype(np.int64), tuple(identities.tolist()))


def _members(path: Path) -> list[tuple[str, bytes]]:
    """Name and bytes of every file in the tar."""
    try:
        with tarfile.open(path) as tar:
            found = []
            for member in tar:
                if not member.isfile():
                    continue
                payload = tar.extractfile(member)
                if "/" not in member.name.strip("/") or payload is None:
                    raise DataError(f"{member.name} in {path} has no identity; a pack holds IDENTITY/NAME.webp")
                found.append((member.name, payload.read()))
            return found
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"cannot read the pack {path}: {error}") from error
