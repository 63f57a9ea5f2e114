"""A gallery's schema in a PostgreSQL database: how it is connected to, read, written; psycopg's errors in our words.

A reader's transaction is REPEATABLE READ and READ ONLY. The one writer has one connection, which holds an advisory
lock of the session and writes: a lost connection loses both at once, and the next one waits for its turn anew.
"""

import hashlib
import os
import re
import selectors
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import errors, pq
from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.pool import QueuePool

from indexer.errors import (
    ForkedProcess,
    GalleryBusy,
    GalleryError,
    GalleryLocked,
    GalleryUnreachable,
    StoreDamaged,
)
from indexer.store.place import PostgresPlace

READERS = 8
"""Connections of one process that read; a server has a hundred in all unless it is told otherwise."""
PATIENCE_SECONDS = 30.0
"""How long a call waits for a connection, or for a lock of another program, before it gives up (GalleryBusy)."""
TURN_SECONDS = 30.0
"""How long a writer waits for the one before it (GalleryLocked)."""
CHANNEL = "faceid_revision"
"""Where a writer tells of each new revision: NOTIFY with `UUID REVISION`."""

_POLL_SECONDS = 0.05
_OLDEST = 150000  # server_version_num
_CONNECTING: dict[str, Any] = {
    "connect_timeout": 10,
    "client_encoding": "utf8",
    "application_name": "faceid",
    # A server that vanished without a word is given up after a minute instead of two hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
# A client that vanished without a word holds the lock until its server notices: after a minute instead of two hours.
_SESSION = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
_WRITING = f"SET lock_timeout = '{PATIENCE_SECONDS:g}s'"

_HELD = (
    "SELECT pg_current_xact_id()::text, g.revision, EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory'"
    " AND pid = pg_backend_pid() AND granted AND objsubid = 1 AND (classid::bigint << 32) + objid::bigint = ?)"
    " FROM gallery g FOR UPDATE"
)


class PostgresDatabase:
    """One gallery's schema: `read()` and `write()` are transactions; a failed one leaves nothing behind."""

    def __init__(self, place: PostgresPlace, *, writable: bool) -> None:
        """Connect; for writing, wait for the turn. Raises GalleryUnreachable, GalleryLocked."""
        self.place = place
        self.closed = False
        self._process = os.getpid()
        self._readers = _engine(lambda: _opened(place, reads_only=True), READERS)
        self._writer = _engine(lambda: _taking_turn(place), 1) if writable else None
        if self._writer is not None:
            with translated(place), self._writer.connect():
                pass

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one revision from its first statement to its end."""
        self._check_open()
        with translated(self.place), self._readers.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that is on the server's disk when the block ends, or did not happen."""
        self._check_open()
        if self._writer is None:
            raise GalleryError(f"{self.place} was opened for reading; open it with writable=True")
        with translated(self.place), self._writer.connect() as connection:
            transaction = connection.begin()
            try:
                number, before, held = connection.exec_driver_sql(_HELD, (lock_key(self.place),)).one()
                if not held:
                    connection.invalidate()
                    raise GalleryLocked(
                        f"the lock of {self.place} was lost (a connection pooler that shares sessions?); nothing was"
                        " changed; connect to the server itself, and try again"
                    )
                yield connection
                _notify(connection, before)
            except BaseException:
                with suppress(exc.DBAPIError, psycopg.Error):  # of a lost connection there is nothing to undo
                    transaction.rollback()
                raise
            try:
                transaction.commit()
            except (exc.DBAPIError, psycopg.Error) as error:
                connection.invalidate()
                self._ask_what_became_of(number, error)

    @contextmanager
    def aside(self, *, writes: bool = False) -> Iterator[Any]:
        """Hand out a connection of psycopg of its own, outside of any transaction."""
        self._check_open()
        with translated(self.place):
            connection = _connected(self.place, reads_only=not writes)
            try:
                connection.autocommit = True
                yield connection
            finally:
                connection.close()

    def close(self) -> None:
        """Close every connection, and with the writer's its lock."""
        self.closed = True
        for engine in (self._readers, self._writer):
            if engine is not None:
                engine.dispose(close=not self.inherited)

    @property
    def inherited(self) -> bool:
        """Whether another process opened it, of which this one is a fork."""
        return self._process != os.getpid()

    def _check_open(self) -> None:
        if self.closed:
            raise GalleryError(f"{self.place} was closed; open it again")
        if self.inherited:  # two processes on one connection would read each other's answers
            raise ForkedProcess(f"{self.place} was opened before this process was forked; open it anew in this one")

    def _ask_what_became_of(self, number: str, error: Exception) -> None:
        """After a commit without an answer: return where it happened all the same, else raise."""
        if not _is_lost(getattr(error, "orig", error)):
            raise error
        try:
            with self.aside() as connection:
                (state,) = connection.execute("SELECT pg_xact_status(%s::xid8)", (number,)).fetchone()
        except (GalleryError, psycopg.Error):
            state = None
        if state == "committed":
            return
        if state == "aborted":
            raise GalleryUnreachable(
                f"the connection to {self.place} was lost while a change was being saved; nothing was changed;"
                " try again"
            ) from error
        raise GalleryUnreachable(
            f"the connection to {self.place} was lost while a change was being saved, and the server does not answer"
            " whether it was; look when it is back, and repeat what is missing (enrolling twice changes nothing)"
        ) from error


def connect_alone(place: PostgresPlace) -> Any:
    """Connect outside of any pool, to look around or to make a gallery; the caller closes. Raises GalleryError."""
    with translated(place):
        return _connected(place, reads_only=False)


def engine_of(connection: Any) -> Engine:
    """Let SQLAlchemy speak through one connection of psycopg."""
    return _engine(lambda: connection, 1)


def check_server(place: PostgresPlace, connection: Any, *, writable: bool) -> None:
    """Raise GalleryError for a server that is too old, or where what is written would not be safe, or not written."""
    version = connection.info.server_version
    if version < _OLDEST:
        raise GalleryError(f"{place} is on PostgreSQL {version // 10000}; version 15 or newer is needed")
    row = connection.execute(
        "SELECT current_setting('fsync'), current_setting('full_page_writes'), pg_is_in_recovery(),"
        " current_setting('server_encoding')"
    ).fetchone()
    fsync, full_pages, standby, encoding = row
    if encoding != "UTF8":
        raise GalleryError(f"{place} is in a database in {encoding}; make one in UTF8 (CREATE DATABASE ... ENCODING)")
    if writable and standby:
        raise GalleryError(f"{place} is on a standby, which can only be read; write on the primary server")
    for name, value in (("fsync", fsync), ("full_page_writes", full_pages)):
        if writable and value == "off":
            raise GalleryError(
                f"the server of {place} runs with {name} = off and may lose or damage what it said it had saved;"
                " turn it on"
            )


def lock_key(place: PostgresPlace) -> int:
    """Return the number of the writer's advisory lock, which the database's other users do not take by chance."""
    digest = hashlib.sha256(f"faceid writer of {place.schema}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1  # positive, so that pg_locks shows it without a sign


def take_turn(place: PostgresPlace, connection: Any) -> None:
    """Take the writer's lock for the connection's session; raises GalleryLocked where another keeps it too long."""
    ends = time.monotonic() + TURN_SECONDS
    while not connection.execute("SELECT pg_try_advisory_lock(%s)", (lock_key(place),)).fetchone()[0]:
        if time.monotonic() > ends:
            raise GalleryLocked(f"another process is writing to the gallery {place}; try again when it is done")
        time.sleep(_POLL_SECONDS)
    connection.commit()


class _BinaryCursor(psycopg.Cursor[Any]):
    """A cursor that asks for answers in binary: a vector as text is twice as long, and has to be decoded."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.format = pq.Format.BINARY


def _connected(place: PostgresPlace, *, reads_only: bool) -> Any:
    connection: Any = psycopg.connect(place.conninfo, **_CONNECTING)
    try:
        connection.autocommit = True
        connection.execute(f'SET search_path TO "{place.schema}"; {_SESSION}')
        if not reads_only:
            connection.execute(_WRITING)
            if connection.execute("SELECT current_setting('synchronous_commit')").fetchone()[0] == "off":
                connection.execute("SET synchronous_commit = on")
        connection.autocommit = False
        connection.cursor_factory = _BinaryCursor
    except BaseException:
        connection.close()
        raise
    return connection


def _opened(place: PostgresPlace, *, reads_only: bool) -> Any:
    connection = _connected(place, reads_only=reads_only)
    if reads_only:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
    return connection


def _taking_turn(place: PostgresPlace) -> Any:
    connection = _opened(place, reads_only=False)
    try:
        take_turn(place, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _engine(creator: Any, connections: int) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=creator,
        use_native_hstore=False,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=PATIENCE_SECONDS,
        pool_use_lifo=True,
    )

    @event.listens_for(engine, "checkout")
    def refuse_a_dead_one(raw: Any, record: Any, _proxy: Any) -> None:
        """Look whether the server closed it, or says something unasked: the socket tells, without a round trip."""
        if raw.closed or _says_something(raw.fileno()):
            raise exc.DisconnectionError

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def spell_placeholders(
        connection: Connection, cursor: Any, sql: str, values: Any, context: ExecutionContext | None, many: bool
    ) -> tuple[str, Any]:
        """Statements are written with SQLite's `?`; what SQLAlchemy compiled is psycopg's already."""
        if context is None or getattr(context, "compiled", None) is None:
            sql = sql.replace("%", "%%").replace("?", "%s")
        return sql, values

    return engine


def _says_something(file: int) -> bool:
    """Whether there is something to read; not by `select`, which takes no number of a file above 1023."""
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        return bool(selector.select(0))


def _notify(connection: Connection, before: int) -> None:
    uuid, revision = connection.exec_driver_sql("SELECT uuid, revision FROM gallery").one()
    if revision != before:
        connection.exec_driver_sql("SELECT pg_notify(?, ?)", (CHANNEL, f"{uuid} {revision}"))


_LOST = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleSessionTimeout,
    errors.IdleInTransactionSessionTimeout,
)


_CLOSED_DOOR = re.compile("does not exist|authentication failed|pg_hba.conf|not permitted to log in|no password")


def _is_lost(cause: Any) -> bool:
    """Whether a connection broke, or none could be made, by no fault of a statement."""
    if isinstance(cause, (*_LOST, psycopg.InterfaceError)):
        return True
    state = getattr(cause, "sqlstate", None)
    return isinstance(cause, psycopg.OperationalError) and (state is None or state.startswith("08"))


@contextmanager
def translated(place: PostgresPlace) -> Iterator[None]:
    """Errors of psycopg and SQLAlchemy in the user's words: none of theirs leaves the gallery, and no password."""
    try:
        yield
    except exc.TimeoutError as error:
        raise GalleryBusy(
            f"{place} is used by so many calls at once that this one waited {PATIENCE_SECONDS:g} seconds;"
            " try again, or let fewer run at a time"
        ) from error
    except (exc.SQLAlchemyError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, exc.StatementError) and error.orig is not None else error
        raise _told(place, cause) from error


def _told(place: PostgresPlace, cause: BaseException) -> GalleryError:
    text = " ".join(str(cause).split())
    if isinstance(cause, errors.CheckViolation | errors.NotNullViolation | psycopg.DataError):
        return GalleryError(f"{place} does not take what makes no sense ({text}); nothing was changed")
    if isinstance(cause, errors.DiskFull):
        return GalleryError(f"the server's disk is full ({text}); nothing was changed; make room there")
    if isinstance(cause, errors.TooManyConnections):
        return GalleryBusy(f"the server of {place} has no connection left ({text}); try again, or let fewer connect")
    if isinstance(cause, errors.LockNotAvailable | errors.DeadlockDetected | errors.SerializationFailure):
        return GalleryLocked(f"{place} is being written by another process; try again when it is done")
    if isinstance(cause, errors.QueryCanceled):
        return GalleryBusy(f"the server gave up on a statement of {place} ({text}); try again")
    if isinstance(cause, errors.ReadOnlySqlTransaction):
        return GalleryError(f"{place} can only be read here ({text}); write on the primary server")
    if isinstance(cause, errors.InsufficientPrivilege):
        return GalleryError(f"the server does not let this user do it ({text}); ask its operator, see the how-to")
    damage = errors.UndefinedTable | errors.UndefinedColumn | errors.DataCorrupted | errors.IndexCorrupted
    if isinstance(cause, psycopg.IntegrityError | damage):  # ids and keys come from the database itself
        return StoreDamaged(f"{place} is damaged ({text}); nothing was changed; restore it from a backup or an export")
    if _CLOSED_DOOR.search(text):  # a connection that is not made comes without a code
        return GalleryError(
            f"{place} cannot be reached by this user ({text}); the operator makes databases and users, and PGPASSWORD"
            " or ~/.pgpass holds passwords"
        )
    if _is_lost(cause):
        return GalleryUnreachable(
            f"the server of {place} does not answer, or the connection was lost ({text});"
            " a change that was under way did not happen; try again when it is back"
        )
    return GalleryError(f"{place} could not be used: {text}")
