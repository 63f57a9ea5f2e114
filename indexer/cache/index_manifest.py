"""The manifest of the caches: which files belong to which revision of which gallery, and what is in each mebibyte."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from indexer.cache.file_bytes import FileRecord
from indexer.crypto.sealed import SealBroken, open_bytes, seal_bytes
from indexer.durable_file import PRIVATE, replacing
from indexer.regular_file import read_regular
from indexer.search import codes
from indexer.store.queries import GalleryRow

MANIFEST = "index.json"

_FORMAT = "faceid-index-4"
_LARGEST = 64 << 20  # bytes: that of a hundred million templates
_FILE_NAME = re.compile(r"index-[0-9a-f]{16}\.safetensors")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """The content of `index.json`: whose caches these are, of which revision, how vectors are coded, and the files.

    `trail` is the id and the checksum of the audit trail's last entry: two galleries that were one once (a restored
    backup) may share revision numbers, but not this. `active` is what `indexer.store.tally` counts: the number of
    templates that a search may return, and the sum over them and their owners.
    """

    gallery: str
    revision: int
    fusion: str
    model: str
    last_template: int
    trail: tuple[int, int]
    active: tuple[int, int]
    codes: str
    segments: tuple[FileRecord, ...]
    owners: FileRecord | None

    @property
    def records(self) -> list[FileRecord]:
        """The files it speaks for."""
        return [*self.segments, *([self.owners] if self.owners else [])]

    @property
    def files(self) -> set[str]:
        """Their names."""
        return {one.file for one in self.records}


def read_manifest(folder: Path, sealing: bytes | None) -> Manifest | None:
    """Return what `index.json` says; None if it is missing, of another format, or not as it was written.

    An encrypted gallery's is sealed with the key `sealing`.
    """
    try:
        stored = read_regular(folder / MANIFEST, _LARGEST, follow=False)
        content = json.loads(stored if sealing is None else open_bytes(sealing, MANIFEST, stored))
        if content.pop("sha256") != _digest(content) or content.pop("format") != _FORMAT:
            return None
        owners = content["owners"]
        manifest = Manifest(
            **{
                **content,
                "trail": _pair(content["trail"]),
                "active": _pair(content["active"]),
                "segments": tuple(_file_record(one) for one in content["segments"]),
                "owners": None if owners is None else _file_record(owners),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SealBroken):
        return None
    whole = is_stored(manifest.revision) and is_stored(manifest.last_template)
    return manifest if whole and manifest.codes == codes.FORMAT else None


def write_manifest(folder: Path, manifest: Manifest, sealing: bytes | None) -> None:
    """Replace `index.json` in one step: from then on its files are the caches. Raises FileNotWritten."""
    content = {"format": _FORMAT, **asdict(manifest)}
    stored = json.dumps({**content, "sha256": _digest(content)}).encode()
    with replacing(folder / MANIFEST, PRIVATE) as temporary:
        temporary.write_bytes(stored if sealing is None else seal_bytes(sealing, MANIFEST, stored))


def is_fresh(manifest: Manifest, connection: Connection, row: GalleryRow) -> bool:
    """Whether the manifest is of this very revision."""
    return manifest.revision == row.revision and belongs(manifest, connection, row)


def belongs(manifest: Manifest, connection: Connection, row: GalleryRow) -> bool:
    """Whether the manifest is of this gallery with its present model, at this revision or one of its past.

    A gallery that was moved to another model and back has no vector of before: no older cache is of this model.
    """
    if manifest.revision < row.model_since:
        return False
    of_it = (manifest.gallery, manifest.model, manifest.fusion) == (row.uuid, row.model.digest, row.fusion)
    return of_it and (manifest.trail == (0, 0) or manifest.trail == trail_at(connection, manifest.trail[0]))


def is_stored(number: object) -> bool:
    """Whether a number that a file claims is one that the database can hold, and be asked for."""
    return type(number) is int and -(1 << 63) <= number < 1 << 63


def files_are_there(folder: Path, manifest: Manifest) -> bool:
    """Whether every file is there, of the right size."""
    try:
        sizes = {one.file: (folder / one.file).stat().st_size for one in manifest.records}
    except OSError:
        return False
    return all(sizes[one.file] == one.bytes for one in manifest.records)


def trail_at(connection: Connection, entry: int) -> tuple[int, int]:
    """Return the id and the checksum of an entry of the audit trail; zeros if there is none."""
    found = connection.exec_driver_sql("SELECT id, checksum FROM audit WHERE id = ?", (entry,)).first()
    return (0, 0) if found is None else (found[0], found[1])


def _file_record(content: dict[str, Any]) -> FileRecord:
    name, size, hashes = content["file"], content["bytes"], tuple(content["sha256"])
    if not _FILE_NAME.fullmatch(name) or type(size) is not int or not all(map(_SHA256.fullmatch, hashes)):
        raise ValueError(name)
    return FileRecord(name, size, hashes)


def _pair(content: list[Any]) -> tuple[int, int]:
    first, second = content
    if not is_stored(first) or not is_stored(second):
        raise ValueError(content)
    return first, second


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
