"""The last revision that was acknowledged, beside the database: so that a database that lost one is not believed.

A write-ahead log whose end is damaged, or is gone, makes SQLite fall back to an older state without a word. The writer
notes each revision here after its commit is on the disk; the note is never ahead of a sound database.
"""

import os
import zlib
from pathlib import Path

from indexer.errors import StoreDamaged
from indexer.regular_file import read_regular

FILE = "gallery.revision"

_LARGEST = 4096  # bytes; a note has 66


def acknowledge(folder: Path, gallery: str, revision: int) -> None:
    """Note that a revision is on the disk. Survives a kill; after a power cut an older note may be back."""
    text = f"{gallery} {revision:019d}"
    line = f"{text} {zlib.crc32(text.encode()):08x}\n".encode()
    try:
        file = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError:
        return  # a full disk, or no regular file: the change itself is safe
    try:
        os.pwrite(file, line, 0)  # always of one length, in place: a few bytes that no kill can tear
    except OSError:
        return
    finally:
        os.close(file)


def acknowledged(folder: Path) -> tuple[str, int] | None:
    """Return the gallery and the revision that were noted; None if there is no sound note.

    To be read before the database: a writer may go on between the two.
    """
    try:
        text, _, crc = read_regular(folder / FILE, _LARGEST, follow=False).decode().strip().rpartition(" ")
        uuid, revision = text.split(" ")
        return (uuid, int(revision)) if int(crc, 16) == zlib.crc32(text.encode()) else None
    except (OSError, ValueError):
        return None


def refuse_older(folder: Path, noted: tuple[str, int] | None, gallery: str, revision: int) -> None:
    """Raise StoreDamaged if the database has lost revisions that were acknowledged."""
    if noted is not None and noted[0] == gallery and noted[1] > revision:
        raise StoreDamaged(
            f"the database in {folder} is at revision {revision}, but {noted[1]} was acknowledged: its end was lost;"
            f" restore a backup (if you put an older database there yourself, delete {folder / FILE})"
        )
