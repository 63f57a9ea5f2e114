"""The audit log: who asked what, when, about whom, with which threshold and outcome; append-only, hash-chained.

Each row's hash covers its content and the hash before it. People are in it as digests with a salt of their own, kept
apart: where a person is erased the salt goes, and nothing leads from the log to anybody. No photo, vector or name.
"""

import hashlib
import json
import queue
import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from faceid.service.database import ServiceDatabase, ServiceDatabaseError, audit, fact, in_text, now, subject

ROOT = "0" * 64
_AT_ONCE = 256


@dataclass(frozen=True)
class Entry:
    """One event. `about` are identity ids; `outcome` a word; `threshold` what was accepted at; `faces` how many."""

    action: str
    outcome: str
    request_id: str
    key_id: int | None = None
    address: str | None = None
    gallery: str | None = None
    about: tuple[int, ...] = ()
    threshold: float | None = None
    threshold_way: str | None = None
    faces: int | None = None
    job: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What a check of the chain found: how many rows are sound, the newest hash, the first that is not (or None)."""

    rows: int
    head: str
    broken_at: int | None
    anchor_seen: bool


class AuditLog:
    """Writes entries in the order in which they come, those that wait in one transaction."""

    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database
        self._closing = threading.Lock()
        self._closed = False
        self._waiting: queue.SimpleQueue[tuple[Entry, Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="faceid-audit", daemon=True)
        self._thread.start()

    def write(self, entry: Entry) -> Future[None]:
        """Ask for an entry to be written; the future is done, or has the error, when that has happened."""
        written: Future[None] = Future()
        with self._closing:
            if self._closed:  # nobody would ever write it
                written.set_exception(ServiceDatabaseError("the server has ended; nothing more can be noted"))
            else:
                self._waiting.put((entry, written))
        return written

    def close(self) -> None:
        """Write what was asked for, and end."""
        with self._closing:
            self._closed = True
            self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            ends = False
            while len(batch) < _AT_ONCE and not self._waiting.empty():
                another = self._waiting.get()
                if another is None:
                    ends = True
                    break
                batch.append(another)
            self._write_all(batch)
            if ends:
                return

    def _write_all(self, batch: Sequence[tuple[Entry, Future[None]]]) -> None:
        # Who has given up waiting is not told, which would be an error; the entry is written all the same.
        waiting = [written for _, written in batch if written.set_running_or_notify_cancel()]
        try:
            with self._database.write() as connection:
                append(connection, [entry for entry, _ in batch])
        except Exception as error:  # whatever it is, those who wait must hear of it
            for written in waiting:
                written.set_exception(error)
        else:
            for written in waiting:
                written.set_result(None)


def append(connection: Connection, entries: Sequence[Entry]) -> None:
    """Add entries at the end of the chain."""
    before = connection.execute(select(audit.c.hash).order_by(audit.c.id.desc()).limit(1)).scalar()
    head = before or _anchor(connection)
    rows = []
    for entry in entries:
        content = _content(connection, entry)
        head = _next_hash(head, content)
        rows.append({"content": content, "hash": head})
    connection.execute(insert(audit), rows)


def verify(database: ServiceDatabase, anchor: str | None = None) -> Verdict:
    """Follow the chain from its first row that is kept; `anchor` is a hash noted before, which must be in it."""
    with database.read() as connection:
        head = _anchor(connection)
        seen = anchor in (None, head)
        rows = 0
        for row, sound in _chain(connection, head):
            if not sound:
                return Verdict(rows, head, row.id, seen)
            rows, head, seen = rows + 1, row.hash, seen or row.hash == anchor
        return Verdict(rows, head, None, seen)


def entries(
    database: ServiceDatabase, *, gallery: str | None = None, after: int = 0, limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield entries in order as records; people who are not erased by their id, others by their digest.

    Raises ServiceDatabaseError at the first that is not as it was written, or before which one is missing.
    """
    with database.read() as connection:
        known = {
            _digest_of(row.salt, row.gallery, row.identity_id): row.identity_id
            for row in connection.execute(select(subject))
        }
        found = 0
        for row in _sound_rows(database, connection, after):
            record = json.loads(row.content)
            if gallery is not None and record["gallery"] != gallery:
                continue
            about = [known.get(digest, digest) for digest in record["about"]]
            yield {"schema_version": 1, "number": row.id, **record, "about": about, "hash": row.hash}
            found += 1
            if found == limit:
                return


def forget_person(database: ServiceDatabase, gallery: str, identity_id: int) -> None:
    """Make the digests of an erased person lead to nobody."""
    with database.write() as connection:
        connection.execute(delete(subject).where(subject.c.gallery == gallery, subject.c.identity_id == identity_id))
    database.scrub()


def drop_older(database: ServiceDatabase, days: int) -> int:
    """Delete entries older than that many days; the chain begins after them from then on. How many went.

    Raises ServiceDatabaseError where one of them is not as it was written: what would tell of that stays.
    """
    before = in_text(datetime.now(UTC) - timedelta(days=days))
    with database.write() as connection:
        last = None
        count = 0
        for row in _sound_rows(database, connection):
            if json.loads(row.content)["at"] >= before:
                break
            last, count = row, count + 1
        if last is not None:
            connection.execute(delete(audit).where(audit.c.id <= last.id))
            connection.execute(delete(fact).where(fact.c.name == "audit_anchor"))
            connection.execute(insert(fact).values(name="audit_anchor", value=last.hash))
    return count


def _chain(connection: Connection, head: str, after: int = 0) -> Iterator[tuple[Row[Any], bool]]:
    """Yield the rows after one in order, and whether each follows from the hash before it, the first from `head`."""
    for row in connection.execute(select(audit).where(audit.c.id > after).order_by(audit.c.id)):
        yield row, row.hash == _next_hash(head, row.content)
        head = row.hash


def _sound_rows(database: ServiceDatabase, connection: Connection, after: int = 0) -> Iterator[Row[Any]]:
    before = select(audit.c.hash).where(audit.c.id <= after).order_by(audit.c.id.desc()).limit(1)
    head = connection.execute(before).scalar() or _anchor(connection)
    for row, sound in _chain(connection, head, after):
        if not sound:
            raise ServiceDatabaseError(
                f"{database.path}: the chain of the audit log is broken at entry {row.id}: it or one before it was"
                " altered; restore it from a backup"
            )
        yield row


def _anchor(connection: Connection) -> str:
    """Return the hash before the first row that is kept."""
    return connection.execute(select(fact.c.value).where(fact.c.name == "audit_anchor")).scalar() or ROOT


def _content(connection: Connection, entry: Entry) -> str:
    about = [_subject(connection, entry.gallery or "", person) for person in entry.about]
    return json.dumps({"at": now(), **asdict(entry), "about": about}, sort_keys=True, separators=(",", ":"))


def _subject(connection: Connection, gallery: str, identity_id: int) -> str:
    place = (subject.c.gallery == gallery) & (subject.c.identity_id == identity_id)
    salt = connection.execute(select(subject.c.salt).where(place)).scalar()
    if salt is None:
        salt = secrets.token_bytes(32)
        connection.execute(insert(subject).values(gallery=gallery, identity_id=identity_id, salt=salt))
    return _digest_of(salt, gallery, identity_id)


def _digest_of(salt: bytes, gallery: str, identity_id: int) -> str:
    return hashlib.sha256(salt + f"{gallery}/{identity_id}".encode()).hexdigest()


def _next_hash(before: str, content: str) -> str:
    return hashlib.sha256(f"{before}\n{content}".encode()).hexdigest()
