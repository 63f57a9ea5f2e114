"""A zip file of photos, read without trusting it: nothing is unpacked to the disk, and no name in it becomes a path."""

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from faceid.service.problems import Problem
from faceid.vision.photo_list import path_beside_photos
from indexer.text import printable

_END = struct.Struct("<4s4H2LH")  # the record at a zip file's end
# What zip64 puts before it: a record with the list's bytes, and a locator that says where the record is.
_END_64 = struct.Struct("<4s36xQ8x4s4xQ4x")
_LONGEST_COMMENT = 65_535
_BYTES_AN_ENTRY = 1024  # of the list at the end: names are paths of a photo, not books
_RATIO = 10  # photos do not shrink when they are packed


@dataclass(frozen=True)
class PackedPhoto:
    """One photo of an archive: its name in there, the folder it lies in ('' at the top), its bytes.

    Without bytes there is a `reason_code` why.
    """

    name: str
    folder: str
    data: bytes
    reason_code: str | None = None


def check_archive(path: Path, most_photos: int) -> int:
    """Return how many photos an archive holds; raises Problem `bad_archive` for one that is not to be opened."""
    with path.open("rb") as file:
        _check_end(file, most_photos)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = _photos(archive)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise Problem("bad_archive", f"this is no zip file that can be read ({error})") from error
    if not infos:
        raise Problem("bad_archive", "there is no photo in the archive")
    if len(infos) > most_photos:
        raise Problem("bad_archive", f"{len(infos):,} files; at most {most_photos:,} are taken")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > _RATIO * path.stat().st_size + 2**20:
        raise Problem("bad_archive", f"it would unpack to {unpacked:,} bytes, far more than photos can be packed into")
    return len(infos)


def packed_photos(path: Path, most_bytes: int) -> Iterator[PackedPhoto]:
    """Yield the photos in the order of their names; one that cannot be used comes with the reason."""
    with zipfile.ZipFile(path) as archive:
        for info in _photos(archive):
            yield _read(archive, info, most_bytes)


def _photos(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    files = [info for info in archive.infolist() if not info.is_dir() and not path_beside_photos(info.filename)]
    return sorted(files, key=lambda info: info.filename)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most_bytes: int) -> PackedPhoto:
    inside = PurePosixPath(info.filename)
    name, folder = printable(str(inside)), inside.parent.name
    if info.file_size > most_bytes:
        return PackedPhoto(name, folder, b"", "too_large")
    try:
        with archive.open(info) as file:
            data = file.read(most_bytes + 1)
    # zipfile lets the errors of four decompressors, of struct and of a password through, and no root is theirs.
    except Exception:
        return PackedPhoto(name, folder, b"", "unreadable")
    return PackedPhoto(name, folder, data) if len(data) <= most_bytes else PackedPhoto(name, folder, b"", "too_large")


def _check_end(file: IO[bytes], most_photos: int) -> None:
    """Look at the record at the end before zipfile does, which would read a list of any length into memory."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_64.size - _END.size - _LONGEST_COMMENT))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise Problem("bad_archive", "this is no zip file")
    _, _, _, _, entries, listed, _, _ = _END.unpack_from(tail, at)
    if entries == 0xFFFF or listed == 0xFFFFFFFF:
        raise Problem("bad_archive", "zip64 is not taken: pack fewer than 65,535 files into one archive")
    if at >= _END_64.size:  # zipfile goes by these whatever the record at the end says
        record, listed_64, locator, place = _END_64.unpack_from(tail, at - _END_64.size)
        if locator == b"PK\x06\x07":
            # Some versions of zipfile go to where the locator says, others to what stands before it.
            if record != b"PK\x06\x06" or place != size - len(tail) + at - _END_64.size:
                raise Problem("bad_archive", "the record of zip64 is not where it should be")
            listed = max(listed, listed_64)
    if listed > _BYTES_AN_ENTRY * (most_photos + 1):
        raise Problem("bad_archive", "the archive's list of files is too long")
