"""The SQLite file of a gallery: how it is created, opened, migrated, read, written, emptied of erased bytes."""

import os
import sqlite3
import sys
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.pool import QueuePool

from indexer.crypto.envelope import FILE as ENVELOPE
from indexer.crypto.envelope import GalleryKeys
from indexer.errors import ForkedProcess, GalleryBusy, GalleryError, GalleryLocked, StoreDamaged
from indexer.store.checksum import SQL_NAME, checksum
from indexer.store.driver import check_key, connect, connect_new, file_uri, library
from indexer.store.migrating import migrate as run_migrations
from indexer.store.person_keys import PersonKeys
from indexer.store.schema import APPLICATION_ID, HEAD, SCHEMA_VERSIONS, metadata
from indexer.store.sealed_cells import INFO
from indexer.store.sqlite_check import schema_sum
from indexer.store.tally import Tally, tally, write_tally

CACHE_KIB = 65536  # a digest's place in its index is random: with SQLite's own 2 MiB each insert reads a page again
CHECKED_AT_OPENING = 64 << 20
"""Bytes up to which opening also walks through the tables; larger databases are told damaged where they are touched."""
_NOTED_FROM = "0004"  # the first schema that is noted twice: in its table, and in the file's header
BUSY_TIMEOUT_MS = 5000  # readers never block a writer in WAL; this waits out a checkpoint
READERS = 16
"""Transactions that read at once; a search holds one only for the moments in which it asks, an export for all of it."""
PATIENCE_SECONDS = 30.0
"""How long a call waits for its turn before it gives up (GalleryBusy)."""

_SENSELESS = ("CHECK constraint", "NOT NULL constraint")
"""Refusals of a value as such; all others say that rows, ids and indexes do not fit together."""

_SAID_OF_DAMAGE = ("malformed", "no such", "UTF-8", "user-defined function", "unsupported file format")

_open: "weakref.WeakSet[Database]" = weakref.WeakSet()


def file_at(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at a path from any other; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Database:
    """One SQLite file: `read()` and `write()` are transactions; a failed one leaves nothing behind.

    Many threads may read, and one write, at once; the others wait, and in the end get GalleryBusy.
    """

    def __init__(
        self, path: Path, keys: GalleryKeys | None, people: PersonKeys | None = None, *, writable: bool
    ) -> None:
        """Open a database that is there; with `keys`, an encrypted one, and `people` those of its people."""
        self.path = path
        self.keys = keys
        self.people = people
        self.writable = writable
        self._state = None if writable else _state_at(path)
        self._readers = _engine(path, keys, people, writable=False, connections=READERS)
        self._writer = _engine(path, keys, people, writable=True, connections=1) if writable else None
        self.closed = False
        self._file = file_at(path)
        self._process = os.getpid()
        _open.add(self)

    @property
    def uri(self) -> str:
        """What SQLite opens to read it."""
        return _uri(self.path, writable=False)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one revision from its first statement to its end."""
        self._check_open()
        self._follow_others()
        with translated(self.path), self._readers.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that is on the disk when the block ends, or did not happen."""
        self._check_open()
        if self._writer is None:
            raise GalleryError(f"{self.path.parent} was opened for reading; open it with writable=True")
        with translated(self.path), self._writer.connect() as connection, connection.begin():
            yield connection

    def scrub(self) -> str | None:
        """Rewrite the file without its free space and empty the write-ahead log; what is in the way of it, in words.

        That is a reader of an older revision, or a full disk.

        secure_delete zeroes deleted cells, but what SQLite left behind when it moved a cell to another page while
        balancing its trees is not a deleted cell: only VACUUM gets rid of that.
        """
        with self.raw(self._writer) as raw:
            raw.execute("PRAGMA busy_timeout=100")
            try:
                raw.execute("VACUUM")
                busy: int = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except library(self.keys).OperationalError as error:
                if "full" in str(error):
                    return "the disk is full: erasing takes room for another copy of the database"
                if not any(word in str(error) for word in ("locked", "busy")):
                    raise
                busy = 1
            finally:
                raw.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            return "a reader holds an older revision" if busy else None

    @contextmanager
    def raw(self, engine: Engine | None = None) -> Iterator[Any]:
        """Hand out a connection of the driver itself, outside of any transaction: one that reads, or the writer's."""
        self._check_open()
        self._follow_others()
        with translated(self.path), (engine or self._readers).connect() as connection:
            yield connection.connection.driver_connection

    def close(self) -> None:
        """Close every connection; the last writer's close folds the write-ahead log into the file."""
        self.closed = True
        self.disconnect()

    def disconnect(self) -> None:
        """Close every connection that nobody uses right now; the next call makes new ones."""
        for engine in (self._readers, self._writer):
            if engine is not None:
                engine.dispose(close=not self.inherited)

    def _follow_others(self) -> None:
        """Let go of connections that took the file for one that nobody writes, where somebody else did."""
        found = None if self.writable else _state_at(self.path)
        if found != self._state:
            self._readers.dispose()
            self._state = found

    def _check_open(self) -> None:
        if self.closed:
            raise GalleryError(f"{self.path.parent} was closed; open it again")
        if self.inherited:  # SQLite forbids it, and the writer's lock is the parent's
            raise ForkedProcess(
                f"{self.path.parent} was opened before this process was forked; open it anew in this one"
            )
        # Connections that are open would go on telling of the old file, new ones tell of the other.
        if file_at(self.path) != self._file:
            raise GalleryError(f"{self.path} was moved, or replaced by another, since it was opened; open it again")

    @property
    def inherited(self) -> bool:
        """Whether another process opened it, of which this one is a fork."""
        return self._process != os.getpid()


def _before_fork() -> None:
    """Leave a child no connection: SQLite's own notes of which files it has locked would be wrong in there.

    A child that opened the gallery anew would else trust them, take no lock, and lose the log under its feet.
    """
    for database in list(_open):
        if not database.inherited:
            database.disconnect()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)


def create_database(path: Path, keys: GalleryKeys | None) -> None:
    """Make an empty database of the newest schema by running every migration; `path` must not exist yet."""
    with translated(path), closing(connect_new(path, keys)) as raw:
        raw.execute(f"PRAGMA application_id={APPLICATION_ID}")
        raw.execute("PRAGMA journal_mode=WAL")
    migrate(path, keys)


def migrate(path: Path, keys: GalleryKeys | None) -> None:
    """Bring the schema to HEAD, each step in a transaction of its own."""
    engine = _engine(path, keys, writable=True, connections=1)
    try:
        with translated(path), engine.connect() as connection, connection.begin():
            run_migrations(connection)
            connection.exec_driver_sql(f"PRAGMA user_version={int(HEAD)}")
            write_tally(connection, "schema", Tally(*schema_sum(connection), 0))
    finally:
        engine.dispose()


def require_database(path: Path) -> None:
    """Raise GalleryError where there is no gallery."""
    if not path.is_file():
        raise GalleryError(f"there is no gallery in {path.parent}; enrol somebody to create one, or give another path")


def check_database(path: Path, keys: GalleryKeys | None) -> str:
    """Return the schema version of a database that is ours, of its full size and, if small, whole in all but vectors.

    The rest is checked where it is read, and all of it by `Gallery.check`. Raises StoreDamaged for a file that is not
    SQLite, not ours, of a newer schema, or malformed, and WrongKey for an encrypted one of other keys.
    """
    # Never open the file but through SQLite: closing any other descriptor of it drops every lock this process holds on
    # it (POSIX), and then a writer elsewhere deletes the log under the feet of this process's readers.
    if keys is not None:
        with translated(path):
            check_key(path, keys)
    engine = _engine(path, keys, writable=False, connections=1)
    try:
        with translated(path), engine.connect() as connection:
            if connection.exec_driver_sql("PRAGMA application_id").scalar() != APPLICATION_ID:
                raise StoreDamaged(f"{path} is an SQLite database, but not a gallery's; give another path")
            tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
            if "alembic_version" not in tables:
                raise StoreDamaged(f"{path} has no schema version; restore it from a backup")
            version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            if version not in SCHEMA_VERSIONS:
                raise StoreDamaged(
                    f"{path} has schema {version}, this program knows up to {HEAD};"
                    " open it with the version that wrote it, or a newer one"
                )
            _check_schema(connection, path, version)
            _check_size(connection, path)
            if path.stat().st_size > CHECKED_AT_OPENING:
                return str(version)
            for table in sorted(set(metadata.tables) & tables - {"embedding"}):
                found = connection.exec_driver_sql(f"PRAGMA integrity_check('{table}')").scalar()
                if found != "ok":
                    raise StoreDamaged(f"{path} is damaged ({found}); restore it from a backup or an export")
            return str(version)
    finally:
        engine.dispose()


def _check_schema(connection: Connection, path: Path, version: str) -> None:
    """Raise StoreDamaged unless the version is the one last migrated to, and tables and indexes are defined as then."""
    noted = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if noted != (int(version) if version >= _NOTED_FROM else 0):
        raise StoreDamaged(f"{path} says it has schema {version}, and schema {noted}; restore it from a backup")
    if version >= _NOTED_FROM:
        expected = tally(connection, "schema")
        if schema_sum(connection) != (expected.rows, expected.total):
            raise StoreDamaged(f"{path} is damaged (its schema is not as it was made); restore it from a backup")


def _check_size(connection: Connection, path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        return  # the end of the database may still be in the log
    pages, page_size = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()) for name in ("page_count", "page_size")
    )
    if path.stat().st_size < pages * page_size:
        raise StoreDamaged(f"{path} is shorter than it says it is; restore it from a backup or an export")


def _engine(
    path: Path, keys: GalleryKeys | None, people: PersonKeys | None = None, *, writable: bool, connections: int
) -> Engine:
    def opened() -> Any:
        connection = connect(_uri(path, writable=writable), keys)
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.create_function(SQL_NAME, -1, checksum, deterministic=True)
        if writable:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        return connection

    engine = create_engine(
        "sqlite+pysqlite://",
        creator=opened,
        module=library(keys),
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=PATIENCE_SECONDS,
        pool_use_lifo=True,  # a few are used again and again, the others never opened
    )

    @event.listens_for(engine, "connect")
    def connect_people(_: Any, record: Any) -> None:
        record.info[INFO] = people

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writable else "BEGIN")

    return engine


def _uri(path: Path, *, writable: bool) -> str:
    if writable:
        return f"{file_uri(path)}?mode=rw"
    return f"{file_uri(path)}?mode=ro" + ("&immutable=1" if _nobody_writes(path) else "")


def _nobody_writes(path: Path) -> bool:
    """Whether to read it without the shared-memory file of WAL, which SQLite cannot make without write access.

    That holds while there is no log: whoever has that access may write later.
    """
    return not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()


def _state_at(path: Path) -> tuple[int, int] | None:
    """Return the size and the time of a file that nobody writes, as far as one can tell; None for any other."""
    if not _nobody_writes(path):
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of SQLite and SQLAlchemy in the user's words: none of theirs leaves the gallery."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise StoreDamaged(f"{path} is damaged (a text is no UTF-8); restore it from a backup or an export") from error
    except exc.TimeoutError as error:
        raise GalleryBusy(
            f"{path.parent} is used by so many calls at once that this one waited {PATIENCE_SECONDS:g} seconds;"
            " try again, or let fewer run at a time"
        ) from error
    except _errors() as error:
        cause = error.orig if isinstance(error, exc.StatementError) else error
        text = str(cause)
        broken_rule = type(cause).__name__ == "IntegrityError"
        if broken_rule and text.startswith(_SENSELESS):
            raise GalleryError(f"{path} does not take what makes no sense ({text}); nothing was changed") from error
        if broken_rule:  # ids and keys come from the database itself
            raise StoreDamaged(
                f"{path} is damaged ({text}); nothing was changed; restore it from a backup or an export"
            ) from error
        if "locked" in text or "busy" in text:
            raise GalleryLocked(f"{path} is being written by another process; try again when it is done") from error
        if "not a database" in text:
            raise StoreDamaged(
                f"{path} is not an SQLite database, or it is encrypted and its {ENVELOPE} is gone; restore the folder"
                " from a backup"
            ) from error
        if any(word in text for word in _SAID_OF_DAMAGE):
            raise StoreDamaged(f"{path} is damaged ({text}); restore it from a backup or an export") from error
        for beside in (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            if os.path.lexists(beside) and (beside.is_symlink() or not beside.is_file()):
                raise StoreDamaged(
                    f"{beside} is not a regular file, and the database cannot be used beside it;"
                    " move it away, or restore the folder from a backup"
                ) from error
        raise GalleryError(f"{path} could not be used: {text}") from error


def _errors() -> tuple[type[Exception], ...]:
    """Return the root of each library's errors, of those that are in use: they are no relatives."""
    cipher: Any = sys.modules.get("sqlcipher3.dbapi2")
    usual = (exc.SQLAlchemyError, sqlite3.Error)
    return usual if cipher is None else (*usual, cipher.Error)
