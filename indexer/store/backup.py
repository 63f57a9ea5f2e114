"""A consistent copy of a gallery that is in use: SQLite's online backup into a folder of its own."""

import sqlite3
from contextlib import closing
from pathlib import Path

from indexer.durable_file import PRIVATE, replacing
from indexer.errors import GalleryError
from indexer.store.database import Database


def make_backup(source: Database, folder: Path) -> None:
    """Copy the database as it is at one moment to `folder`; raises GalleryError if something is there already.

    The whole copy is one step of SQLite's backup, that is one reading transaction: writers go on, and what they write
    meanwhile is not in it. It takes its name in the folder only when it is complete and on the disk.
    """
    name = source.path.name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if others := sorted(file.name for file in folder.iterdir() if not file.name.startswith(f".{name}.")):
            raise GalleryError(f"{folder} is not empty ({others[0]}); give a new folder for the backup")
        for leftover in folder.iterdir():
            leftover.unlink()
    except OSError as error:
        raise GalleryError(f"{folder} cannot take a backup: {error.strerror}") from error
    with (
        replacing(folder / name, PRIVATE) as temporary,
        source.raw() as raw,
        closing(sqlite3.connect(temporary)) as copy,
    ):
        raw.backup(copy)
        # Committed through a log of its own otherwise, which the renaming would leave behind.
        copy.execute("PRAGMA journal_mode=DELETE")
        if copy.execute("SELECT erase_pending FROM gallery").fetchone()[0]:
            copy.execute("VACUUM")  # what was erased is still in the free pages that were copied
        copy.execute("PRAGMA journal_mode=WAL")
