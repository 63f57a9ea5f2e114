"""The server's own database, `service.db`: keys, audit log, jobs, answers kept for repeated requests.

Galleries know nothing of it. It holds no photo, no vector and no name of anybody who was erased.
"""

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    exc,
    select,
    update,
)

from faceid.service.sealing import CHECKSUM, sealed
from indexer.durable_file import PRIVATE, replacing
from indexer.errors import FaceIdError, FileNotWritten

FILE = "service.db"
VERSION = 2  # 2: the rows of keys bear checksums
UPLOADS = "uploads"
"""The folder beside it in which jobs keep what was sent to them; the first start of a server makes it."""

_LOCK = "service.lock"
_PATIENCE_MS = 30_000  # that a change waits for another
_SAID_OF_DAMAGE = ("malformed", "not a database", "no such", "duplicate column", "UTF-8", "unsupported file format")
_SAID_OF_FULL_DISKS = ("disk is full", "readonly")

metadata = MetaData()

key = Table(
    "key",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),  # SHA-256 of the whole key
    Column("prefix", String, nullable=False),
    Column("label", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("expires_at", String),
    Column("last_used_at", String),
    Column("revoked_at", String),
    Column(CHECKSUM, Integer),
    sqlite_autoincrement=True,  # the audit log names keys by id
)
key_role = Table(
    "key_role",
    metadata,
    Column("key_id", ForeignKey("key.id"), primary_key=True),
    Column("gallery", String, primary_key=True),  # "*": every one
    Column("role", String, nullable=False),
    Column(CHECKSUM, Integer),
)
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("content", String, nullable=False),  # JSON, as it was hashed
    Column("hash", String, nullable=False),
    sqlite_autoincrement=True,
)
subject = Table(
    "subject",
    metadata,
    Column("gallery", String, primary_key=True),
    Column("identity_id", Integer, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
)
fact = Table(
    "fact",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)
job = Table(
    "job",
    metadata,
    Column("id", String, primary_key=True),
    Column("gallery", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("state", String, nullable=False),
    Column("asked", String, nullable=False),  # JSON: what the job was told
    Column("key_id", Integer),
    Column("done", Integer, nullable=False),
    Column("total", Integer),
    Column("counts", String, nullable=False),  # JSON: how many photos of each status
    Column("message", String),
    Column("starts", Integer, nullable=False),
    Column("created_at", String, nullable=False),
    Column("started_at", String),
    Column("ended_at", String),
)
job_record = Table(
    "job_record",
    metadata,
    Column("job_id", ForeignKey("job.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("record", String, nullable=False),
)
answer = Table(
    "answer",
    metadata,
    Column("key_id", Integer, primary_key=True),  # 0: the server has no keys
    Column("idempotency_key", String, primary_key=True),
    Column("gallery", String, nullable=False),
    Column("asked", LargeBinary, nullable=False),  # SHA-256 of the request
    Column("status", Integer),  # None while it is being worked on
    Column("body", String),
    Column("at", String, nullable=False),
)
Index("ix_job_gallery", job.c.gallery, job.c.created_at)


class ServiceDatabaseError(FaceIdError):
    """The server's own database is of another version, damaged, or not one of ours."""

    exit_code = 5


class ServiceDatabase:
    """`service.db` in the server's data folder; any number of threads and processes may use one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.path = folder / FILE
        if not os.path.lexists(path):
            _create(path)
        _require_content(path)
        self._engine = _engine(path)
        try:
            self._prepare()
        except BaseException:
            self._engine.dispose()
            raise
        self._glancing = threading.Lock()
        self._beside = sqlite3.connect(path, timeout=_PATIENCE_MS / 1000, isolation_level=None, check_same_thread=False)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Read in one transaction."""
        with _translated(self.path), self._engine.connect() as connection:
            yield connection

    def glance(self, question: str, *values: Any) -> list[Any]:
        """Return the rows of one small question in SQL, as it stands at this moment.

        Each request asks who its caller is, in the thread that serves all of them: what a transaction of `read` costs
        (three times giving up the interpreter, and waiting for it) would be a good part of its time.
        """
        with _translated(self.path), self._glancing:
            return self._beside.execute(question, values).fetchall()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Change in one transaction: on the disk when the block ends, or not at all."""
        with (
            _translated(self.path),
            self._engine.connect().execution_options(faceid_writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def scrub(self) -> None:
        """Get deleted bytes out of the write-ahead log; those in the database were overwritten when they went.

        Where somebody reads, an export say, they stay until the next time: waiting for readers stops all who write.
        """
        with _translated(self.path), closing(self._engine.raw_connection()) as raw:
            cursor = raw.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS // 100}")
            try:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")

    def close(self) -> None:
        """Let go of the file."""
        self._beside.close()
        self._engine.dispose()

    def __enter__(self) -> "ServiceDatabase":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        with self.write() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version == 0:
                raise ServiceDatabaseError(
                    f"{self.path} is damaged, or not a server's database: it has no version; restore it from a backup"
                )
            if version == 1:
                _seal_keys(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise ServiceDatabaseError(
                    f"{self.path} is of version {version}, this program knows {VERSION}; open it with the program that"
                    " wrote it, or restore it from a backup"
                )


def now() -> str:
    """Return the time as it is kept: ISO 8601 in UTC, to the millisecond."""
    return in_text(datetime.now(UTC))


def in_text(time: datetime) -> str:
    """Return a time as it is kept; texts of times sort as the times do."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _create(path: Path) -> None:
    """Make an empty database beside its place and rename it in: a crash leaves none that is half made."""
    with FileLock(path.with_name(_LOCK), mode=PRIVATE):
        if os.path.lexists(path):
            return
        # A server without keys lets everybody at this machine in: one that had some must not begin anew.
        for left in (f"{FILE}-wal", UPLOADS):
            if path.with_name(left).exists():
                raise ServiceDatabaseError(
                    f"{path} is gone, but a server's {left} is there; restore {FILE} from a backup, or delete the"
                    " folder to begin without keys"
                )
        with replacing(path, PRIVATE) as unfinished:
            engine = _engine(unfinished)
            try:
                with engine.begin() as connection:
                    metadata.create_all(connection)
                    connection.execute(fact.insert().values(name="salt", value=secrets.token_hex(32)))
                    connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
            finally:
                engine.dispose()


def _seal_keys(connection: Connection) -> None:
    """Give the rows of a database of version 1 their checksums."""
    for table in (key, key_role):
        connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {CHECKSUM} INTEGER")
        for row in [one._asdict() for one in connection.execute(select(table))]:
            its_key = [column == row[column.name] for column in table.primary_key.columns]
            connection.execute(update(table).where(*its_key).values(sealed(table, row)))


def _require_content(path: Path) -> None:
    """Raise ServiceDatabaseError for what SQLite would take for a new database, or wait at for ever."""
    if not path.is_file():
        raise ServiceDatabaseError(f"{path} is no file; restore it from a backup")
    if not path.stat().st_size:
        raise ServiceDatabaseError(
            f"{path} is empty; restore it from a backup, or delete it if this server never had a key"
        )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Errors of SQLite and SQLAlchemy in the user's words."""
    try:
        yield
    except (sqlite3.Error, exc.SQLAlchemyError) as error:
        cause = error.orig if isinstance(error, exc.StatementError) else error
        text = str(cause)
        # Ids and keys of rows come from the database itself: where they do not fit together, it is damaged.
        if isinstance(cause, sqlite3.IntegrityError) or any(word in text for word in _SAID_OF_DAMAGE):
            raise ServiceDatabaseError(f"{path} is damaged ({text}); restore it from a backup") from error
        kind = FileNotWritten if any(word in text for word in _SAID_OF_FULL_DISKS) else FaceIdError
        raise kind(f"{path} could not be used: {text}") from error


def _engine(path: Path) -> Engine:
    arguments = {"timeout": _PATIENCE_MS / 1000, "isolation_level": None}
    engine = create_engine(f"sqlite:///{path}", connect_args=arguments)

    @event.listens_for(engine, "connect")
    def settle(raw: Any, _: object) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
            raw.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that turned writer could find the file changed in between and would have to give up.
        writes = connection.get_execution_options().get("faceid_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
