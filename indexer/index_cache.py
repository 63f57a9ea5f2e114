"""The cache beside the database: the entries of one revision, checksummed, believed only if every word fits."""

import hashlib
import json
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.errors import GalleryError
from indexer.identity_index import Entries
from indexer.store import GalleryRow

_FORMAT = "faceid-index-1"
_MAX_HEADER = 1 << 20


def expected_metadata(row: GalleryRow) -> dict[str, str]:
    """Say what a cache must say to belong to this gallery at this revision."""
    return {
        "format": _FORMAT,
        "gallery": row.uuid,
        "revision": str(row.revision),
        "fusion": row.fusion,
        "model": row.model.digest,
    }


def is_fresh(path: Path, row: GalleryRow) -> bool:
    """Whether the cache claims to be of this revision; `load` finds out whether it is true."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            metadata = json.loads(file.read(min(length, _MAX_HEADER)))["__metadata__"]
        return all(metadata.get(key) == value for key, value in expected_metadata(row).items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return False


def load(path: Path, row: GalleryRow) -> Entries | None:
    """Return the entries of this very revision; None if the file is missing, stale, torn, altered or another's."""
    from safetensors import SafetensorError, safe_open

    if not is_fresh(path, row):
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            entries = Entries(file.get_tensor("ids"), file.get_tensor("identity_ids"), file.get_tensor("vectors"))
    except (SafetensorError, OSError, ValueError, KeyError):
        return None
    n = len(entries.ids)
    shaped = (
        entries.ids.dtype == entries.identity_ids.dtype == np.int64
        and entries.vectors.dtype == np.float32
        and entries.ids.shape == entries.identity_ids.shape == (n,)
        and entries.vectors.shape == (n, row.model.dimension)
    )
    expected = {**expected_metadata(row), "sha256": _digest(entries)}
    return entries if shaped and metadata == expected else None


def save(path: Path, row: GalleryRow, entries: Entries) -> None:
    """Replace the cache in one step; a crash leaves the old file or the new one. Raises GalleryError."""
    tensors: dict[str, NDArray[Any]] = {
        "ids": entries.ids,
        "identity_ids": entries.identity_ids,
        "vectors": entries.vectors,
    }
    write_durably(path, tensors, {**expected_metadata(row), "sha256": _digest(entries)})


def remove_leftovers(path: Path) -> None:
    """Delete the temporary files of writers that died in `save`."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink(missing_ok=True)


def write_durably(path: Path, tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    """Write a safetensors file beside its place, then put it there. Raises GalleryError if the disk does not let it."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        os.close(handle)
        try:
            save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, name, metadata)
            replace_durably(Path(name), path)
        finally:
            Path(name).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise GalleryError(f"{path} could not be written: {error}") from error


def replace_durably(temporary: Path, path: Path) -> None:
    """Put a finished file in another's place so that it survives a power cut: fsync, rename, fsync the directory."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _digest(entries: Entries) -> str:
    digest = hashlib.sha256()
    for array in (entries.ids, entries.identity_ids, entries.vectors):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
