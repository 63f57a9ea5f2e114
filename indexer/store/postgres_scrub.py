"""Getting deleted bytes out of a PostgreSQL server's files, as far as its user may, and saying how far that is.

A deleted row stays in its table's file until the table is written anew (VACUUM FULL), and in the write-ahead log until
that is used anew. What archives, replicas, backups and the disk's freed blocks hold nobody here can reach.
"""

import time
from typing import Any

from psycopg import errors

from indexer.store.postgres_database import PostgresDatabase
from indexer.store.schema import metadata
from indexer.store.store import Scrubbed

READERS_PATIENCE = 5.0
"""Seconds that scrubbing waits for transactions that may still see what was deleted."""
_LOG = "(SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$') log"
_LOG_SWITCHES = 64  # at most: a gigabyte of log, written anew
_BEYOND = (
    "out of reach: archives of the write-ahead log, replicas, backups, and blocks that the file system freed;"
    " what they hold goes when their own terms end"
)


def scrub(database: PostgresDatabase) -> Scrubbed:
    """Write the gallery's tables anew, and then use up the log; not done while a reader may still see deleted rows."""
    with database.aside(writes=True) as raw:
        if not _everybody_sees_now(raw):
            return Scrubbed(False, ("a transaction in the database may still see what was erased; nothing done yet",))
        tables = _vacuum(raw)
        if tables is None:
            return Scrubbed(False, ("a reader is at the gallery's tables; they are written anew when it leaves",))
        return Scrubbed(True, (tables, _use_up_the_log(raw), _BEYOND))


def _everybody_sees_now(raw: Any) -> bool:
    """Whether no transaction, replication slot or prepared transaction is older than this moment; waits a little."""
    (now,) = raw.execute("SELECT pg_current_xact_id()::text::numeric").fetchone()
    older = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        " AND backend_xmin IS NOT NULL AND age(backend_xmin) > age(%(now)s::xid8::xid))"
        " OR EXISTS (SELECT FROM pg_replication_slots WHERE age(xmin) > age(%(now)s::xid8::xid))"
        " OR EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database())"
    )
    ends = time.monotonic() + READERS_PATIENCE
    while raw.execute(older, {"now": str(now)}).fetchone()[0]:
        if time.monotonic() > ends:
            return False
        time.sleep(0.05)
    return True


def _vacuum(raw: Any) -> str | None:
    """Write each table anew, or where that is not allowed free its rows' places; None where a reader is in the way."""
    raw.execute(f"SET lock_timeout = '{READERS_PATIENCE:g}s'")
    for table in sorted(metadata.tables):
        try:
            raw.execute(f'VACUUM (FULL) "{table}"')
        except errors.LockNotAvailable:
            return None
        except errors.InsufficientPrivilege:
            return "the tables were not written anew: the user does not own them; VACUUM FULL is their owner's to do"
    return "the gallery's tables were written anew (VACUUM FULL)"


def _use_up_the_log(raw: Any) -> str:
    """Checkpoint and begin new files of the log until those of before are gone or overwritten."""
    try:
        raw.execute("CHECKPOINT")
    except errors.InsufficientPrivilege:
        return (
            "the write-ahead log still holds what was erased until the server uses it anew: CHECKPOINT is not allowed"
            " to this user (the role pg_checkpoint)"
        )
    try:
        (last,) = raw.execute("SELECT pg_walfile_name(pg_current_wal_insert_lsn())").fetchone()
        (files,) = raw.execute(f"SELECT count(*) FROM {_LOG}").fetchone()
        # An older file is renamed and waits for its turn as one to come: twice as many, and each was written anew.
        for _ in range(min(2 * files + 1, _LOG_SWITCHES)):
            raw.execute("SELECT pg_switch_wal()")
            raw.execute("CHECKPOINT")
        (kept,) = raw.execute(f"SELECT count(*) FROM {_LOG} WHERE name <= %s", (last,)).fetchone()
        if not kept and 2 * files < _LOG_SWITCHES:
            return "the write-ahead log of before was overwritten"
    except errors.InsufficientPrivilege:
        return (
            "a checkpoint was made; the write-ahead log's older files hold what was erased until the server uses them"
            " anew: pg_switch_wal and pg_ls_waldir are not allowed to this user"
        )
    return "a checkpoint was made; older files of the write-ahead log are kept by the server, and hold what was erased"
