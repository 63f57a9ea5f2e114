"""Which photos, of whom: a folder with one sub-folder per person, a CSV manifest, or plain paths.

Nothing is opened here; what cannot be used is listed with a reason, so that every file gets its line in the result.
"""

import csv
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, TextIO, cast

from faceid.vision.images import is_folder
from faceid.vision.picture import Content, Picture
from indexer.errors import FaceIdError
from indexer.text import printable

# What lies beside photos and is none: thumbnails, waste bins and settings of network drives and desktops...
_BESIDE_PHOTOS = {
    *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "$recycle.bin", "network trash folder"),
    *("system volume information", "lost+found", "__macosx"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r", "zbthumbnail.info", "photothumb.db"),
    *("digikam4.db", "thumbnails-digikam.db", "captureone", "nksc_param", "ipod photo cache"),
}
# ... what editors, cameras and photo services note about a photo, in a file of its own, what a browser has not loaded
# to its end, feature files of ours and what lies beside them, ...
_SIDECARS = (
    *(".xmp", ".aae", ".thm", ".pp3", ".dop", ".on1", ".lrv", ".cos", ".nks", ".arp", ".acr", ".vrd", ".json"),
    *("@synoeastream", "@synoresource", ":encryptable", ":zone.identifier", ".part", ".crdownload"),
    *(".npz", ".npz.progress", ".npz.progress-wal", ".npz.progress-shm", ".npz.failed.csv"),
)
_PARTS = ".npz.parts"  # a folder beside such a file
# ... and hidden files, and those by which an office program marks a file that it has open.
_HIDDEN = (".", "~$")

logger = logging.getLogger(__name__)


Row = dict[str | None, Any]
"""The cells of a row by their columns; those behind the last column are a list under None."""


TOO_MANY_CELLS = "more cells than columns; put quotes around a comma"
"""What is wrong with a row of which `has_too_many_cells` is true."""


class PhotoListError(FaceIdError):
    """A folder or manifest as a whole cannot be read: it is not there, or not UTF-8, or lacks its columns."""

    exit_code = 2


@dataclass(frozen=True, eq=False)
class PersonPhoto:
    """A photo of a named person; with `reason_code`, one that cannot be enrolled, and why.

    `photo` is whatever `Picture` takes, or a Picture. Raises TypeError and ValueError as `Picture`.
    """

    photo: Picture | Content
    name: str
    external_id: str | None = None
    reason_code: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a text, not {type(self.name).__name__}")
        if not isinstance(self.external_id, str | None):
            raise TypeError(f"external_id must be a text or None, not {type(self.external_id).__name__}")
        if not isinstance(self.photo, Picture):
            object.__setattr__(self, "photo", Picture(self.photo, reason_code=self.reason_code))
        elif self.reason_code is None:
            object.__setattr__(self, "reason_code", self.photo.reason_code)

    @property
    def picture(self) -> Picture:
        """The photo."""
        return cast(Picture, self.photo)

    @property
    def path(self) -> Path:
        """The photo's file; raises ValueError for a picture that is none."""
        if self.picture.path is None:
            raise ValueError(f"{self.picture.source} is not a file")
        return self.picture.path


def photos_of_people(folder: str | os.PathLike[str]) -> Iterator[PersonPhoto]:
    """Yield the photos below one folder per person, sorted; the folder's name is the person's name.

    Every file counts as a photo (its content decides, not its ending) except hidden ones and what systems and programs
    put beside photos (`beside_photos`), which is logged. Links to files are followed, links to folders are not: they
    could lead in a circle. Raises PhotoListError for what is no folder.
    """
    try:
        entries = _entries(Path(folder))
    except OSError as error:
        raise PhotoListError(f"{printable(folder)}: not a readable folder ({error.strerror})") from error
    return _photos_of(entries)


def beside_photos(name: str) -> bool:
    """Say whether a file of this name lies beside photos, and is none."""
    return folder_beside_photos(name) or name.casefold().endswith(_SIDECARS)


def folder_beside_photos(name: str) -> bool:
    """Say whether a folder of this name lies beside photos; most endings say nothing of one: people are `hans.arp`."""
    folded = name.casefold()
    return folded.startswith(_HIDDEN) or folded in _BESIDE_PHOTOS or folded.endswith(_PARTS)


def path_beside_photos(path: str) -> bool:
    """Say whether a file at this relative path, as in an archive, lies beside photos, or in a folder that does."""
    *folders, file = PurePosixPath(path).parts or ("",)
    return beside_photos(file) or any(part != ".." and folder_beside_photos(part) for part in folders)


def _photos_of(entries: Iterable[os.DirEntry[str]]) -> Iterator[PersonPhoto]:
    for entry in entries:
        person = Path(entry.path)
        if _is_own_folder(entry):
            for path, reason in _files(person):
                yield PersonPhoto(path, printable(entry.name), reason_code=reason)
        else:
            yield PersonPhoto(person, "", reason_code=_linked_folder(entry) or "not_in_a_persons_folder")


def photos_of_manifest(manifest: str | os.PathLike[str]) -> list[PersonPhoto]:
    """Return the photos of a CSV file with columns `path,name[,external_id]`; paths are relative to the file's folder.

    Its cells end as `rows_of_csv` says.
    Raises PhotoListError when the file has no such columns or is not UTF-8.
    """
    manifest = Path(manifest)
    return [_photo_of(row, manifest.parent) for _, row in manifest_rows(manifest, " (path,name[,external_id])")]


def manifest_rows(manifest: Path, hint: str = "") -> Iterator[tuple[int, Row]]:
    """Yield the rows of a CSV file with columns `path` and `name`, each with its line's number.

    Raises PhotoListError, with `hint` where a column is missing, where one is there twice, and for what is no CSV file
    in UTF-8.
    """
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = rows_of_csv(file)
            # A column that is not known means nothing: two people with one name would be one for `External ID`.
            rows.fieldnames = [column.casefold().replace(" ", "_") for column in rows.fieldnames or ()]
            columns = Counter(rows.fieldnames)
            missing = {"path", "name"} - set(columns)
            if missing:
                raise PhotoListError(f"{printable(manifest)}: no column {', '.join(sorted(missing))}{hint}")
            # Which of the two is meant nobody can say; columns without a title are nobody's.
            twice = sorted(column for column, count in columns.items() if column and count > 1)
            if twice:
                raise PhotoListError(f"{printable(manifest)}: several columns {', '.join(twice)}; keep one of them")
            for row in rows:
                yield rows.line_num, row
    except (OSError, ValueError, csv.Error) as error:  # ValueError: not UTF-8, or a NUL in the path
        raise PhotoListError(f"{printable(manifest)}: not a readable CSV file in UTF-8 ({error})") from error


def rows_of_csv(file: TextIO) -> "csv.DictReader[str]":
    """Return the rows of a CSV file, whose cells end at a comma or, where its head has none, at a semicolon or a tab.

    Spreadsheets write semicolons wherever a comma is the decimal point, also into a file that had commas. Where the
    head has blanks behind these, so have the rows: `a.jpg, "Lee, Ann"`. Blanks about a column's name mean nothing.
    """
    head = file.readline()
    delimiter = next((one for one in ",;\t" if one in head), ",")
    spaced = f"{delimiter} " in head
    rows = csv.DictReader(chain([head], file), delimiter=delimiter, strict=True, skipinitialspace=spaced)
    rows.fieldnames = [column.strip() for column in rows.fieldnames or ()]
    return rows


def has_too_many_cells(row: Row) -> bool:
    """Say whether a row goes on behind the last column: in `a.jpg,Lee, Ann` a comma takes the name apart."""
    return any(cell.strip() for cell in row.get(None) or ())


def _photo_of(row: Row, folder: Path) -> PersonPhoto:
    path, name = row["path"] or "", row["name"] or ""
    reason = "too_many_cells" if has_too_many_cells(row) else None if path and name else "incomplete_row"
    # The bytes of the name decide, whatever the locale takes them for.
    file = os.fsdecode(path.encode("utf-8", "surrogateescape"))
    return PersonPhoto(folder / file, name, (row.get("external_id") or "").strip() or None, reason)


def photos_in(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Iterator[Picture]:
    """Yield the pictures of files as given, and of everything below folders, sorted; one path or several."""
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        if is_folder(Path(path)):
            yield from (Picture(file, reason_code=reason) for file, reason in _files(Path(path)))
        else:
            yield Picture(path)


def _files(folder: Path) -> Iterator[tuple[Path, str | None]]:
    # Not by calling itself: folders can lie deeper in each other than calls may.
    waiting: list[Path | os.DirEntry[str]] = [folder]
    while waiting:
        next_one = waiting.pop()
        if isinstance(next_one, os.DirEntry) and not _is_own_folder(next_one):
            yield Path(next_one), _linked_folder(next_one)
            continue
        try:
            waiting += reversed(_entries(Path(next_one)))
        except OSError:
            yield Path(next_one), "unreadable"


def _is_own_folder(entry: os.DirEntry[str]) -> bool:
    """Say whether it is a folder, and no link to one; what cannot be looked at is none: reading it gives the reason."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # on drives that have to be asked for it
        return False


def _linked_folder(entry: os.DirEntry[str]) -> str | None:
    try:
        return "linked_folder" if entry.is_dir() else None
    except OSError:  # a link that leads to itself: reading it as a photo gives the reason
        return None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    return [entry for entry in listed if not _passed_over(entry)]


def _passed_over(entry: os.DirEntry[str]) -> bool:
    """Say whether the entry is what a system or a program has put beside the photos; it is logged."""
    if not beside_photos(entry.name) or (not folder_beside_photos(entry.name) and is_folder(Path(entry.path))):
        return False
    logger.info("%s: passed over", printable(entry.path))
    return True
