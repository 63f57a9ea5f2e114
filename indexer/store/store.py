"""The seam between the gallery and its database: what any keeper of the truth must do.

Between `read` and `write` the gallery speaks SQLAlchemy Core (`indexer.store.queries` and its neighbours). What a
database does in a way of its own is behind this protocol: `indexer.store.sqlite_store` for SQLite.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from indexer.crypto.keys import KeyProvider


class Store(Protocol):
    """One gallery's database, used by many threads at once; of all processes one may write."""

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing; no other process has it open so."""
        ...

    @property
    def key(self) -> KeyProvider | None:
        """What hands out the user's key of an encrypted one; None of a plain one."""
        ...

    @property
    def sealing(self) -> bytes | None:
        """The key that seals what lies beside the database (`indexer.crypto.sealed`); None where nothing is."""
        ...

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        ...

    @property
    def inherited(self) -> bool:
        """Whether this process is a fork of the one that opened it: then every use raises ForkedProcess."""
        ...

    def read(self) -> AbstractContextManager[Connection]:
        """Open a transaction that sees one revision, whatever is written meanwhile.

        Raises GalleryBusy where too many are open for too long, StoreDamaged, GalleryError after `close`; so does
        `write`. No error of a database library passes.
        """
        ...

    def write(self) -> AbstractContextManager[Connection]:
        """Open the one transaction that writes: on the disk when the block ends, undone where it raises.

        Raises GalleryError where it was opened for reading.
        """
        ...

    def scrub(self) -> bool:
        """Get deleted bytes out of the database's files; False while something is in the way."""
        ...

    def backup(self, folder: Path) -> None:
        """Copy the truth, as it is at one moment, into a new folder. Raises GalleryError, FileNotWritten."""
        ...

    def encrypted_copy(self, folder: Path, key: KeyProvider) -> None:
        """Copy the truth as `backup` does, encrypted under a key of its own that `key` wraps. Raises KeyMissing."""
        ...

    def close(self) -> None:
        """Let go of the database, and of the right to write; in a fork, of neither."""
        ...
