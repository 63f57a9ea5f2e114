"""Which photos, of whom: a folder with one sub-folder per person, a CSV manifest, or plain paths.

Nothing is opened here; what cannot be used is listed with a reason, so that every file gets its line in the result.
"""

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import FaceIdError
from indexer.text import printable


class ManifestError(FaceIdError):
    """The manifest as a whole cannot be read: not UTF-8, or without its columns."""

    exit_code = 2


@dataclass(frozen=True)
class PersonPhoto:
    """A photo of a named person; with `reason_code`, one that cannot be enrolled, and why."""

    path: Path
    name: str
    external_id: str | None = None
    reason_code: str | None = None


def photos_of_people(folder: Path) -> Iterator[PersonPhoto]:
    """Yield the photos below one folder per person, sorted; the folder's name is the person's name.

    Every file counts as a photo (its content decides, not its ending) except hidden ones. Links to files are
    followed, links to folders are not: they could lead in a circle.
    """
    for entry in _entries(folder):
        person = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            for path, reason in _files(person):
                yield PersonPhoto(path, printable(entry.name), reason_code=reason)
        else:
            yield PersonPhoto(person, "", reason_code=_linked_folder(entry) or "not_in_a_persons_folder")


def photos_of_manifest(manifest: Path) -> Iterator[PersonPhoto]:
    """Yield the photos of a CSV file with columns `path,name[,external_id]`; paths are relative to the file's folder.

    Raises ManifestError when the file has no such columns or is not UTF-8.
    """
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            missing = {"path", "name"} - set(rows.fieldnames or ())
            if missing:
                raise ManifestError(
                    f"{printable(manifest)}: no column {', '.join(sorted(missing))} (path,name[,external_id])"
                )
            for row in rows:
                path, name = row["path"] or "", row["name"] or ""
                reason = None if path and name else "incomplete_row"
                yield PersonPhoto(manifest.parent / path, name, row.get("external_id") or None, reason)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{printable(manifest)}: not a readable CSV file in UTF-8 ({error})") from error


def photos_in(paths: Iterable[Path]) -> Iterator[tuple[Path, str | None]]:
    """Yield (photo, reason it cannot be used or None) for files as given and for everything below folders, sorted."""
    for path in paths:
        if path.is_dir():
            yield from _files(path)
        else:
            yield path, None


def _files(folder: Path) -> Iterator[tuple[Path, str | None]]:
    try:
        entries = _entries(folder)
    except OSError:
        yield folder, "unreadable"
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _files(path)
        else:
            yield path, _linked_folder(entry)


def _linked_folder(entry: os.DirEntry[str]) -> str | None:
    try:
        return "linked_folder" if entry.is_dir() else None
    except OSError:  # a link that leads to itself: reading it as a photo gives the reason
        return None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: os.fsencode(e.name))
