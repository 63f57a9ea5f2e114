"""A gallery's truth in SQLite, under the `Store` protocol: a file in the gallery's folder, a lock, a note beside it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Connection, select

from indexer.crypto import envelope
from indexer.crypto.envelope import GalleryKeys, rewrap, seal_new, unlock, write_envelope
from indexer.crypto.keys import KeyProvider
from indexer.durable_file import replace_durably
from indexer.errors import GalleryError, GalleryLocked
from indexer.fusion import Fusion
from indexer.records import ModelBinding, Problem, Turn
from indexer.store import queries, sqlite_check
from indexer.store.acknowledged import FILE as NOTE
from indexer.store.acknowledged import acknowledge, acknowledged, refuse_older
from indexer.store.backup import make_backup, make_encrypted_copy
from indexer.store.database import Database, check_database, create_database, migrate, require_database
from indexer.store.founding import found
from indexer.store.person_keys import PersonKeys, make_keys, open_keys, usual_person_keys
from indexer.store.schema import HEAD, identity
from indexer.store.store import Scrubbed

DATABASE, LOCK = "gallery.db", "writer.lock"
_UNFINISHED = DATABASE + ".new"


class SqliteStore:
    """The database of a folder; made by `open_store`."""

    def __init__(self, folder: Path, key: KeyProvider | None, people: Path | None, *, writable: bool) -> None:
        self._folder = folder
        self.key = key
        require_database(folder / DATABASE)
        keys = unlock(folder, key)
        version = check_database(folder / DATABASE, keys)
        self._lock = _locked(folder) if writable else None
        self._people: PersonKeys | None = None
        try:
            self._people = _people_of(folder, people, keys, writable=writable)
            if writable:
                for leftover in folder.glob(f".{envelope.FILE}.*"):  # of a change of the key that was stopped
                    leftover.unlink(missing_ok=True)
            self._database = _opened(folder, version, keys, self._people, writable=writable)
        except BaseException:
            self._unlock()
            raise

    @property
    def place(self) -> str:
        """See `Store`: the folder."""
        return str(self._folder)

    @property
    def conninfo(self) -> str | None:
        """See `Store`: there is no server."""
        return None

    @property
    def files(self) -> Path:
        """See `Store`: the folder."""
        return self._folder

    @property
    def writable(self) -> bool:
        """See `Store`."""
        return self._lock is not None

    @property
    def sealing(self) -> bytes | None:
        """See `Store`."""
        if self._people is not None:
            return self._people.cache_key
        keys = self._database.keys
        return None if keys is None else keys.files

    @property
    def has_person_keys(self) -> bool:
        """See `Store`."""
        return self._people is not None

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
        """See `Store`; the revision is noted as acknowledged, too."""
        with self._database.write() as connection:
            yield connection
            row = queries.gallery_row(connection)
        acknowledge(self._folder, row.uuid, row.revision)
        if self._people is not None:
            with suppress(GalleryError):  # the change itself is safe
                self._people.note(row.revision)

    @property
    def shares_files(self) -> bool:
        """See `Store`: the one writer keeps them."""
        return False

    def saving(self, patience: float = 0) -> AbstractContextManager[bool]:
        """See `Store`."""
        return nullcontext(self.writable)

    def scrub(self) -> Scrubbed:
        """See `Store`."""
        hindrance = self._database.scrub()
        if hindrance is None and self._people is not None:
            with self._database.read() as connection:
                self._people.keep_only(connection.execute(select(identity.c.id)).scalars())
        return Scrubbed(hindrance is None, () if hindrance is None else (hindrance,))

    def renew_sealing(self) -> bool:
        """See `Store`."""
        if self._people is None:
            return False
        self._people.renew_cache_key()
        return True

    def structure_problems(self, connection: Connection, most: int) -> Iterator[Problem]:
        """See `Store`."""
        return sqlite_check.structure_problems(connection, most)

    def changed_rows(self, connection: Connection, table: str, key: str, most: int) -> list[Any]:
        """See `Store`."""
        return sqlite_check.changed_rows(connection, table, key, most)

    def size(self, connection: Connection) -> int:
        """See `Store`: with the write-ahead log."""
        path = self._folder / DATABASE
        files = (path, path.with_name(path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def backup(self, folder: Path) -> None:
        """See `Store`; the copy is a gallery's folder."""
        make_backup(self._database, folder)

    def encrypted_copy(self, folder: Path, key: KeyProvider) -> None:
        """See `Store`."""
        make_encrypted_copy(self._database, folder, key)

    def close(self) -> None:
        """See `Store`."""
        self._database.close()
        if not self.inherited:  # the lock is the parent's
            self._unlock()

    def _unlock(self) -> None:
        if self._people is not None:
            self._people.close()
        if self._lock is not None:
            self._lock.release()


def has_store(folder: Path) -> bool:
    """Whether a folder holds a gallery."""
    return (folder / DATABASE).is_file()


def is_encrypted(folder: Path) -> bool:
    """Whether a folder's gallery has an envelope."""
    return (folder / envelope.FILE).exists()


def open_store(folder: Path, key: KeyProvider | None, people: Path | None = None, *, writable: bool) -> SqliteStore:
    """Open a folder's gallery, for writing after bringing it to the newest schema; an encrypted one with its key.

    `people` is the folder of its people's keys, where each has one (None: the one that FACEID_PERSON_KEYS names).

    Raises GalleryError where there is none, or a key is given for one that is not encrypted, KeyMissing, WrongKey,
    StoreDamaged, and for writing GalleryLocked.
    """
    return SqliteStore(folder, key, people or usual_person_keys(), writable=writable)


def create_store(
    folder: Path,
    bound: ModelBinding,
    fusion: Fusion,
    key: KeyProvider | None,
    turn: Turn | None = None,
    people: Path | None = None,
) -> None:
    """Make an empty gallery in a folder that is empty or does not exist; with a key, an encrypted one.

    `turn` says how its vectors will be turned, `people` in which folder the keys of its people are to be, each a key.

    Raises GalleryError where something is already there, GalleryLocked while another process creates it, KeyMissing.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_empty(folder)  # before the lock's file is laid into somebody's folder
    except OSError as error:
        raise GalleryError(f"{folder} cannot be made a gallery: {error.strerror}") from error
    lock = _locked(folder)
    try:
        _create_in(folder, bound, fusion, key, turn, people)
    except OSError as error:
        raise GalleryError(f"{folder} cannot be made a gallery: {error.strerror}") from error
    finally:
        lock.release()


def discard_store(folder: Path) -> None:
    """Take away a gallery that was made a moment ago and came to nothing."""
    for file in [*folder.glob(DATABASE + "*"), *folder.glob(f"*{envelope.FILE}*"), folder / LOCK, folder / NOTE]:
        file.unlink(missing_ok=True)


def rotate_key(folder: Path, old: KeyProvider, new: KeyProvider) -> str:
    """Let the key `new` open an encrypted gallery, and `old` no longer; the new key's id. Nothing else is written.

    Raises as `open_store`, and GalleryLocked while somebody writes.
    """
    require_database(folder / DATABASE)
    lock = _locked(folder)
    try:
        return rewrap(folder, old, new).key_id
    finally:
        lock.release()


def _people_of(folder: Path, people: Path | None, keys: GalleryKeys | None, *, writable: bool) -> PersonKeys | None:
    """Open the keys of a gallery's people, where each has one; else the folder of such keys is not looked at."""
    if keys is None or keys.people is None:
        return None
    return open_keys(folder, people, keys, writable=writable)


def _opened(
    folder: Path, version: str, keys: GalleryKeys | None, people: PersonKeys | None, *, writable: bool
) -> Database:
    """Open the database with the newest schema, and no older than what was acknowledged."""
    path = folder / DATABASE
    if version != HEAD:
        if not writable:
            raise GalleryError(
                f"{folder} has the older schema {version}; open it once for writing to upgrade it"
                " (`faceid gallery rebuild`)"
            )
        migrate(path, keys)
    noted = acknowledged(folder)
    database = Database(path, keys, people, writable=writable)
    try:
        with database.read() as connection:
            row = queries.gallery_row(connection)
        if people is not None and writable:
            people.refuse_older(folder, row.revision)
        refuse_older(folder, noted, row.uuid, row.revision)
    except BaseException:
        database.close()
        raise
    return database


def _locked(folder: Path) -> FileLock:
    lock = FileLock(folder / LOCK, timeout=0, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise GalleryLocked(f"another process is writing to the gallery {folder}; try again when it is done") from error
    except OSError as error:
        raise GalleryError(f"the gallery {folder} cannot be written: {error.strerror}") from error
    return lock


def _require_empty(folder: Path) -> None:
    """Raise GalleryError for a folder with anything in it but what a killed creation leaves."""
    leftovers = (_UNFINISHED, LOCK, envelope.FILE, f".{envelope.FILE}.")  # an envelope alone opens nothing
    others = sorted(file.name for file in folder.iterdir() if not file.name.startswith(leftovers))
    if others:
        raise GalleryError(f"{folder} is not empty ({others[0]}); open the gallery that is there, or give another path")


def _create_in(
    path: Path,
    bound: ModelBinding,
    fusion: Fusion,
    key: KeyProvider | None,
    turn: Turn | None,
    people: Path | None,
) -> None:
    """Build the database beside its place and rename it in: a crash leaves no half gallery."""
    temporary = path / _UNFINISHED
    _require_empty(path)
    for leftover in [*path.glob(temporary.name + "*"), *path.glob(f"*{envelope.FILE}*")]:
        leftover.unlink()
    keys = None
    if key is not None:
        sealed, keys = seal_new(path, key, people=people is not None)
        if people is not None:
            make_keys(path, people, keys)
        write_envelope(path, sealed)
    create_database(temporary, keys)
    database = Database(temporary, keys, writable=True)
    try:
        with database.write() as connection:
            found(connection, bound, fusion, turn)
    finally:
        database.close()
    replace_durably(temporary, path / DATABASE)
