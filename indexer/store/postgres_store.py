"""A gallery's truth in PostgreSQL, under the `Store` protocol: a schema of a database, and caches on each machine."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Connection

from indexer.crypto.keys import KeyProvider
from indexer.errors import FileNotWritten, GalleryError
from indexer.fusion import Fusion
from indexer.records import ModelBinding, Problem, Turn
from indexer.store import postgres_check, queries
from indexer.store.acknowledged import acknowledge, acknowledged, refuse_older
from indexer.store.founding import found
from indexer.store.migrating import migrate
from indexer.store.place import PostgresPlace
from indexer.store.postgres_database import (
    PostgresDatabase,
    check_server,
    connect_alone,
    engine_of,
    take_turn,
    translated,
)
from indexer.store.postgres_scrub import scrub
from indexer.store.schema import HEAD
from indexer.store.store import Scrubbed
from indexer.store.tally import Tally, write_tally

CACHES = "FACEID_CACHES"
"""The environment variable of the folder that holds this machine's caches of galleries in databases."""

_LOCK = "writer.lock"


class PostgresStore:
    """A schema of a database, and a folder of caches; made by `open_store`."""

    key: KeyProvider | None = None
    sealing: bytes | None = None
    has_person_keys = False

    def __init__(self, place: PostgresPlace, *, writable: bool) -> None:
        _look_at(place, writable=writable)
        self._place = place
        self.writable = writable
        self._database = PostgresDatabase(place, writable=writable)
        try:
            uuid, standby = self._identity()
            self.files = _folder(place, uuid)
            # A standby is behind its primary now and then, and that is no loss.
            noted = None if standby else acknowledged(self.files)
            with self._database.read() as connection:
                row = queries.gallery_row(connection)
            refuse_older(self.files, noted, row.uuid, row.revision)
            if not standby:
                acknowledge(self.files, row.uuid, row.revision)
        except BaseException:
            self._database.close()
            raise

    @property
    def place(self) -> str:
        """See `Store`: the URL without its password."""
        return str(self._place)

    @property
    def conninfo(self) -> str | None:
        """See `Store`."""
        return self._place.conninfo

    @property
    def shares_files(self) -> bool:
        """See `Store`: whoever searches on this machine keeps its caches."""
        return True

    @property
    def closed(self) -> bool:
        """See `Store`."""
        return self._database.closed

    @property
    def inherited(self) -> bool:
        """See `Store`."""
        return self._database.inherited

    def read(self) -> AbstractContextManager[Connection]:
        """See `Store`."""
        return self._database.read()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See `Store`; the revision is noted as acknowledged on this machine, too."""
        with self._database.write() as connection:
            yield connection
            row = queries.gallery_row(connection)
        acknowledge(self.files, row.uuid, row.revision)

    @contextmanager
    def saving(self, patience: float = 0) -> Iterator[bool]:
        """See `Store`: one process of the machine at a time."""
        lock = FileLock(self.files / _LOCK, timeout=patience, mode=0o600, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        except OSError as error:
            raise FileNotWritten(f"{self.files} takes no caches: {error.strerror}") from error
        try:
            yield True
        finally:
            lock.release()

    def renew_sealing(self) -> bool:
        """See `Store`: nothing is sealed."""
        return False

    def scrub(self) -> Scrubbed:
        """See `Store`."""
        return scrub(self._database)

    def structure_problems(self, connection: Connection, most: int) -> Iterator[Problem]:
        """See `Store`."""
        return postgres_check.structure_problems(connection, most)

    def changed_rows(self, connection: Connection, table: str, key: str, most: int) -> list[Any]:
        """See `Store`."""
        return postgres_check.changed_rows(connection, table, key, most)

    def size(self, connection: Connection) -> int:
        """See `Store`."""
        return postgres_check.size(connection)

    def backup(self, folder: Path) -> None:
        """See `Store`; refused, because the server has its own ways."""
        raise GalleryError(
            f"{self.place} is backed up as its database is (pg_dump, or the server's own backups);"
            f" `faceid gallery copy` makes a folder of it"
        )

    def encrypted_copy(self, folder: Path, key: KeyProvider) -> None:
        """See `Store`; refused."""
        raise GalleryError(
            f"{self.place} cannot be copied and encrypted in one step: `faceid gallery copy` makes a folder of it, and"
            " `faceid gallery encrypt` an encrypted one of that"
        )

    def close(self) -> None:
        """See `Store`."""
        self._database.close()

    def _identity(self) -> tuple[str, bool]:
        with self._database.read() as connection:
            uuid, standby = connection.exec_driver_sql("SELECT uuid, pg_is_in_recovery() FROM gallery").one()
        return uuid, standby


def has_store(place: PostgresPlace) -> bool:
    """Whether the database has a schema of the gallery's name; raises GalleryError where it cannot be asked."""
    connection = connect_alone(place)
    try:
        with translated(place):
            return _schema_exists(place, connection)
    finally:
        connection.close()


def open_store(place: PostgresPlace, key: KeyProvider | None, *, writable: bool) -> PostgresStore:
    """Open a gallery, for writing after bringing it to the newest schema.

    Raises GalleryError where there is none, or a key is given, StoreDamaged, GalleryUnreachable, and for writing
    GalleryLocked where another process writes for too long.
    """
    _refuse_a_key(place, key)
    return PostgresStore(place, writable=writable)


def create_store(
    place: PostgresPlace, bound: ModelBinding, fusion: Fusion, key: KeyProvider | None, turn: Turn | None = None
) -> None:
    """Make an empty gallery: a schema with its tables, in one transaction.

    Raises GalleryError where there is one already, GalleryLocked while another process creates it.
    """
    _refuse_a_key(place, key)
    raw = connect_alone(place)
    try:
        with translated(place):
            check_server(place, raw, writable=True)
            take_turn(place, raw)
            if _schema_exists(place, raw):
                raise GalleryError(f"{place} is there already; open it, or give another name")
            raw.commit()
            with engine_of(raw).connect() as connection, connection.begin():
                connection.exec_driver_sql(f'CREATE SCHEMA "{place.schema}"')
                _migrate(connection)
                # A vector has some 2 KiB, the very size at which PostgreSQL would put it elsewhere, in pieces.
                connection.exec_driver_sql("ALTER TABLE embedding ALTER COLUMN vector SET STORAGE MAIN")
                found(connection, bound, fusion, turn)
    finally:
        raw.close()


def discard_store(place: PostgresPlace) -> None:
    """Take away a gallery that was made a moment ago and came to nothing."""
    raw = connect_alone(place)
    try:
        with translated(place):
            raw.execute(f'DROP SCHEMA IF EXISTS "{place.schema}" CASCADE')
            raw.commit()
    finally:
        raw.close()


def _look_at(place: PostgresPlace, *, writable: bool) -> None:
    """Find the gallery, on a server that will do, with a schema that is known; a writer brings it to the newest."""
    raw = connect_alone(place)
    try:
        with translated(place):
            check_server(place, raw, writable=writable)
            if not _schema_exists(place, raw):
                raise GalleryError(
                    f"there is no gallery {place.name!r} in the database; enrol somebody to create one, or give another"
                    f" name ({place})"
                )
            raw.commit()
            with engine_of(raw).connect() as connection, connection.begin():
                version = postgres_check.check_version(connection, place)
            if version == HEAD:
                return
            if not writable:
                raise GalleryError(f"{place} has the older schema {version}; open it once for writing to upgrade it")
            take_turn(place, raw)
            with engine_of(raw).connect() as connection, connection.begin():
                _migrate(connection)
    finally:
        raw.close()


def _migrate(connection: Connection) -> None:
    migrate(connection)
    write_tally(connection, "schema", Tally(*postgres_check.schema_sum(connection), 0))


def _schema_exists(place: PostgresPlace, raw: Any) -> bool:
    query = "SELECT EXISTS (SELECT FROM information_schema.schemata WHERE schema_name = %s)"
    there: bool = raw.execute(query, (place.schema,)).fetchone()[0]
    return there


def _refuse_a_key(place: PostgresPlace, key: KeyProvider | None) -> None:
    if key is not None:
        raise GalleryError(
            f"{place} cannot be encrypted by us: the server reads what it keeps, so its disk and its backups are what"
            " to encrypt; keep the gallery in a folder to have it encrypted, or open this one without a key"
        )


def _folder(place: PostgresPlace, uuid: str) -> Path:
    """Return the folder of this machine's caches of a gallery, made where it is not there yet."""
    from platformdirs import user_cache_path

    chosen = os.environ.get(CACHES)
    folder = (
        place.caches or (Path(chosen) if chosen else user_cache_path("faceid", appauthor=False) / "galleries") / uuid
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FileNotWritten(f"{folder} cannot hold caches: {error.strerror}; {CACHES} names another folder") from error
    return folder
