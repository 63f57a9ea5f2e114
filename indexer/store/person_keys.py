"""A key for each person of a gallery, in a small encrypted database apart from it: erasing one reaches every copy.

What a gallery holds of a person (vectors, names, paths, digests and pictures of photos) lies in cells under the
person's key, and the keys are in none of its backups. A cell is the person's id (8 bytes, little-endian), a nonce of 12
bytes, the AES-256-GCM of the content and its tag of 16 bytes; authenticated with it is where it lies. What must be
found or compared lies as a token beside it: HMAC-SHA256 under a key of the gallery that is here, too.

Beside the people's keys lie that of the tokens, that of the caches (drawn anew with every erase), and the last
revision, by which an older copy of the gallery is kept from writing here.
"""

import hmac
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from indexer.crypto.envelope import GalleryKeys
from indexer.crypto.keys import from_home, lies_in
from indexer.durable_file import PRIVATE
from indexer.errors import GalleryError, GalleryLocked, KeyMissing, StoreDamaged, WrongKey
from indexer.store.driver import connect, connect_new, file_uri, library

PERSON_VARIABLE = "FACEID_PERSON_KEYS"
"""The environment variable that names the folder of the people's keys."""

_PERSON, _NONCE, _TAG, _KEY = 8, 12, 16, 32  # bytes
OVERHEAD = _PERSON + _NONCE + _TAG
"""Bytes that a cell has beside its content."""

_PIECE = 5_000  # bound parameters in one statement
_BUSY_MS = 30_000
_TOKENS, _CACHES, _REVISION = "tokens", "caches", "revision"


class PersonKeys:
    """The keys of one gallery's people; made by `open_keys` or `make_keys`. Many threads may use it at once."""

    def __init__(self, path: Path, keys: GalleryKeys, lock: FileLock | None) -> None:
        self.path = path
        self._keys = keys
        self._lock = lock
        self._alone = threading.Lock()
        self._known: dict[int, bytes] = {}
        with self._translated():
            mode = "ro" if lock is None else "rw"
            self._database = connect(f"{file_uri(path)}?mode={mode}", keys)
            self._database.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            if lock is not None:
                self._database.execute("PRAGMA synchronous=FULL")
                self._database.execute("PRAGMA secure_delete=ON")
            self._tokens = self._fact(_TOKENS)

    def seal(self, person: int, place: str, content: bytes) -> bytes:
        """Return the cell of a person's content at a place."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(self._key_of(person)).encrypt(nonce, content, place.encode())
        return person.to_bytes(_PERSON, "little") + nonce + sealed

    def opened(self, place: str, cell: bytes) -> bytes:
        """Return the content of a cell; raises StoreDamaged where it is not as it was written, or lies elsewhere."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce, sealed = cell[_PERSON : _PERSON + _NONCE], cell[_PERSON + _NONCE :]
        try:
            content: bytes = AESGCM(self._key_of(person_of(cell))).decrypt(nonce, sealed, place.encode())
        except (InvalidTag, ValueError) as error:
            raise StoreDamaged(f"the database's {place} was changed; restore a backup or an export") from error
        return content

    def token(self, value: bytes) -> bytes:
        """Return what stands for a value (32 bytes): the same for the same value, and nothing without the key."""
        return hmac.digest(self._tokens, value, "sha256")

    def fetch(self, persons: Iterable[int]) -> None:
        """Read the keys of many people at once; a key that is not there shows where it is used."""
        wanted = sorted(set(persons) - self._known.keys())
        for start in range(0, len(wanted), _PIECE):
            piece = wanted[start : start + _PIECE]
            marks = ",".join("?" * len(piece))
            with self._alone, self._translated():
                rows = self._database.execute(f"SELECT id, key FROM person WHERE id IN ({marks})", piece).fetchall()
            self._known.update(rows)

    def issue(self, persons: Sequence[int]) -> None:
        """Draw keys for new people: on the disk when it returns, before anything lies under them."""
        drawn = [(one, secrets.token_bytes(_KEY)) for one in persons]
        with self._writing() as database:
            # An id whose transaction did not end is given again; nothing lies under its former key.
            database.executemany("INSERT OR REPLACE INTO person VALUES (?, ?)", drawn)
        self._known.update(drawn)

    def keep_only(self, persons: Iterable[int]) -> None:
        """Destroy the keys of everybody else."""
        with self._writing() as database:
            database.execute("CREATE TEMP TABLE kept (id INTEGER PRIMARY KEY)")
            database.executemany("INSERT INTO kept VALUES (?)", [(one,) for one in persons])
            database.execute("DELETE FROM person WHERE id NOT IN (SELECT id FROM kept)")
            database.execute("DROP TABLE kept")
        self._known.clear()
        self._emptied()

    @property
    def cache_key(self) -> bytes:
        """The key of the caches, as it is by now."""
        with self._alone, self._translated():
            return self._fact(_CACHES)

    def renew_cache_key(self) -> None:
        """Destroy the key of the caches, and draw another."""
        with self._writing() as database:
            database.execute("UPDATE fact SET value = ? WHERE name = ?", (secrets.token_bytes(_KEY), _CACHES))
        self._emptied()

    def note(self, revision: int) -> None:
        """Remember that the gallery has come this far."""
        with self._writing() as database:
            database.execute("UPDATE fact SET value = ? WHERE name = ?", (revision.to_bytes(8, "little"), _REVISION))

    def refuse_older(self, folder: Path, revision: int) -> None:
        """Raise GalleryError where the gallery has been further than this revision: what is to write is a copy."""
        noted = int.from_bytes(self._fact(_REVISION), "little")
        if revision < noted:
            raise GalleryError(
                f"{folder} is at revision {revision}, and the keys of its people ({self.path}) are at {noted}: it is an"
                " older copy, and writing to it would destroy keys of the newer one. Read it as it is, or make it a"
                " gallery with keys of its own with `faceid gallery encrypt`"
            )

    def refuse_newer(self, revision: int) -> None:
        """Raise KeyMissing where these have not seen this revision: whose key lacks was enrolled since, not erased."""
        noted = int.from_bytes(self._fact(_REVISION), "little")
        if noted < revision:
            raise KeyMissing(
                f"keys of people are missing in {self.path}, which is older (revision {noted}) than this gallery"
                f" (revision {revision}): they were not erased, so put back the newest copy of that file"
            )

    def known(self, persons: Iterable[int]) -> set[int]:
        """Return those of some people whose keys are there."""
        wanted = set(persons)
        self.fetch(wanted)
        return wanted & self._known.keys()

    def copy(self, keys: GalleryKeys, persons: Iterable[int]) -> None:
        """Make the same keys those of an encrypted copy, beside these: only of some people, and with new caches."""
        wanted = list(persons)
        self.fetch(wanted)
        facts = {_TOKENS: self._tokens, _CACHES: secrets.token_bytes(_KEY), _REVISION: bytes(8)}
        _make(place_of(self.path.parent, keys), _own(keys), facts, [(one, self._key_of(one)) for one in wanted])

    def close(self) -> None:
        """Let go of the database, and of the right to write."""
        self._database.close()
        self._known.clear()
        if self._lock is not None:
            self._lock.release()

    def _key_of(self, person: int) -> bytes:
        if person not in self._known:
            self.fetch([person])
        key = self._known.get(person)
        if key is None:
            raise KeyMissing(
                f"the key of identity {person} is not in {self.path}: the person was erased since this copy of the"
                " gallery was made (`faceid gallery encrypt` makes a gallery of all others), or that file is an old one"
            )
        return key

    def _fact(self, name: str) -> bytes:
        found = self._database.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise StoreDamaged(f"{self.path} does not hold what people's keys come with; put back the newest copy")
        value: bytes = found[0]
        return value

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        with self._alone, self._translated():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _emptied(self) -> None:
        """Get what was deleted out of the file: pages that were rearranged may still hold it."""
        with self._alone, self._translated():
            self._database.execute("VACUUM")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except library(self._keys).Error as error:
            raise _told(self.path, error) from error


def usual_person_keys() -> Path | None:
    """Return the folder that the environment variable FACEID_PERSON_KEYS names; None where it is not set."""
    text = os.environ.get(PERSON_VARIABLE)
    return from_home(text) if text else None


def person_of(cell: bytes) -> int:
    """Return whose key a cell is under."""
    return int.from_bytes(cell[:_PERSON], "little")


def place_of(folder: Path, keys: GalleryKeys) -> Path:
    """Return the file of a gallery's people's keys in the folder of all such files."""
    return folder / f"{keys.salt.hex()}.db"


def make_keys(gallery: Path, folder: Path, keys: GalleryKeys) -> None:
    """Make the file for the keys of a new gallery's people. Raises GalleryError."""
    _refuse_inside(gallery, folder)
    facts = {_TOKENS: secrets.token_bytes(_KEY), _CACHES: secrets.token_bytes(_KEY), _REVISION: bytes(8)}
    _make(place_of(folder, keys), _own(keys), facts, [])


def open_keys(gallery: Path, folder: Path | None, keys: GalleryKeys, *, writable: bool) -> PersonKeys:
    """Open the keys of a gallery's people. Raises KeyMissing, WrongKey, and for writing GalleryLocked."""
    if folder is None:
        raise KeyMissing(
            f"each person in {gallery} has a key, and these are kept elsewhere: say in which folder, as in"
            f" {PERSON_VARIABLE}=/path/to/folder"
        )
    _refuse_inside(gallery, folder)
    path = place_of(folder, keys)
    if not path.is_file():
        raise KeyMissing(
            f"each person in {gallery} has a key in {path}, which is not there; name the folder where it is with"
            f" {PERSON_VARIABLE}, or put the file back"
        )
    lock = _locked(path) if writable else None
    try:
        return PersonKeys(path, _own(keys), lock)
    except BaseException:
        if lock is not None:
            lock.release()
        raise


def _own(keys: GalleryKeys) -> GalleryKeys:
    """Return the keys under which the people's keys lie themselves."""
    assert keys.people is not None
    return replace(keys, database=keys.people)


def _make(path: Path, keys: GalleryKeys, facts: dict[str, bytes], persons: list[tuple[int, bytes]]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=PRIVATE, exist_ok=False)
    except OSError as error:
        raise GalleryError(f"{path} cannot be made: {error.strerror}") from error
    try:
        with closing(connect_new(path, keys)) as database:
            database.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, key BLOB NOT NULL)")
            database.execute("CREATE TABLE fact (name TEXT PRIMARY KEY, value BLOB NOT NULL)")
            database.executemany("INSERT INTO fact VALUES (?, ?)", list(facts.items()))
            database.executemany("INSERT INTO person VALUES (?, ?)", persons)
            database.commit()
    except library(keys).Error as error:
        path.unlink(missing_ok=True)
        raise _told(path, error) from error


def _refuse_inside(gallery: Path, folder: Path) -> None:
    if lies_in(folder, gallery):
        raise KeyMissing(f"{folder} lies in the gallery: whoever copies one has both; keep the people's keys elsewhere")


def _locked(path: Path) -> FileLock:
    lock = FileLock(path.with_suffix(".lock"), timeout=0, mode=PRIVATE, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise GalleryLocked(f"another copy of the gallery writes to {path}; try again when it is done") from error
    except OSError as error:
        raise GalleryError(f"{path} cannot be written: {error.strerror}") from error
    return lock


def _told(path: Path, error: Exception) -> GalleryError:
    text = str(error)
    if "not a database" in text:
        return WrongKey(f"{path} does not hold the keys of this gallery's people, or is damaged; put the file back")
    if "locked" in text or "busy" in text:
        return GalleryLocked(f"{path} is being written by another process; try again when it is done")
    if any(word in text for word in ("malformed", "no such")):
        return StoreDamaged(f"{path} is damaged ({text}); put back the newest copy")
    return GalleryError(f"{path} could not be used: {text}")
