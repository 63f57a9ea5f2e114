"""The seam between the gallery and its database: what any keeper of the truth must do.

Between `read` and `write` the gallery speaks SQLAlchemy Core (`indexer.store.queries` and its neighbours). What a
database does in a way of its own is behind this protocol: `indexer.store.sqlite_store` for a folder,
`indexer.store.postgres_store` for a PostgreSQL server.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection

from indexer.crypto.keys import KeyProvider
from indexer.records import Problem


@dataclass(frozen=True)
class Scrubbed:
    """Whether deleted bytes are gone from the database's files; what was done, and what is out of reach, in words."""

    done: bool
    notes: tuple[str, ...] = ()


class Store(Protocol):
    """One gallery's database, used by many threads at once; of all processes one may write."""

    @property
    def place(self) -> str:
        """Where it is, for people to read: no password is in it."""
        ...

    @property
    def conninfo(self) -> str | None:
        """What connects to the server that keeps it, secrets included; None for a folder."""
        ...

    @property
    def files(self) -> Path:
        """The folder of what lies beside the database on this machine: its caches."""
        ...

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
    def has_person_keys(self) -> bool:
        """Whether what lies of a person lies under a key of that person, kept elsewhere."""
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

    def saving(self, patience: float = 0) -> AbstractContextManager[bool]:
        """Say for the length of the block whether the caches' files are this process's to write.

        Where another process is writing them, wait so many seconds.
        """
        ...

    @property
    def shares_files(self) -> bool:
        """Whether the caches are those of all this machine's readers, not of the one writer."""
        ...

    def renew_sealing(self) -> bool:
        """Let what lies beside the database be sealed under another key, where each person has one; whether it is."""
        ...

    def scrub(self) -> Scrubbed:
        """Get deleted bytes out of the database's files, and destroy the keys of people who are gone.

        Not done while something is in the way.
        """
        ...

    def structure_problems(self, connection: Connection, most: int) -> Iterator[Problem]:
        """Yield what is wrong with the database as such, at most so many of a kind."""
        ...

    def changed_rows(self, connection: Connection, table: str, key: str, most: int) -> list[Any]:
        """Return the keys of at most so many rows of a table whose checksums do not fit."""
        ...

    def size(self, connection: Connection) -> int:
        """Return the database's size in bytes."""
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
