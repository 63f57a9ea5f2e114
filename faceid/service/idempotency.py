"""Writes that are sent twice are done once: the answer to a key of the client's is kept for a day and told again."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert, select, update

from faceid.service.database import ServiceDatabase, answer, in_text, now
from faceid.service.logs import log
from faceid.service.problems import Problem
from indexer.errors import FaceIdError

_KEPT = timedelta(days=1)


@dataclass(frozen=True)
class Kept:
    """An answer that was given before."""

    status: int
    body: str


class KeptAnswers:
    """The answers to idempotency keys, each of one API key."""

    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database
        self._under_way: set[tuple[int, str]] = set()
        self._alone = threading.Lock()

    def begin(self, key_id: int, idempotency_key: str, gallery: str, asked: bytes) -> Kept | None:
        """Return the answer that was given to this request before; None: it is to be done now.

        Raises Problem where the key was used for another request, or the request is being worked on. One that a killed
        server left behind is done again: whether it was done nobody knows, and enrolling twice changes nothing.
        """
        place = (answer.c.key_id == key_id) & (answer.c.idempotency_key == idempotency_key)
        with self._alone:
            with self._database.write() as connection:
                row = connection.execute(select(answer).where(place)).first()
                if row is None:
                    connection.execute(
                        insert(answer).values(
                            key_id=key_id, idempotency_key=idempotency_key, gallery=gallery, asked=asked, at=now()
                        )
                    )
                elif row.asked != asked:
                    raise Problem("idempotency_key_reused", "a new request needs a new Idempotency-Key")
                elif row.status is not None:
                    return Kept(row.status, row.body)
                elif (key_id, idempotency_key) in self._under_way:
                    raise Problem("request_in_progress", "wait for the answer to the first one")
                else:
                    connection.execute(update(answer).where(place).values(at=now()))
            self._under_way.add((key_id, idempotency_key))
        return None

    def finish(self, key_id: int, idempotency_key: str, kept: Kept) -> None:
        """Keep the answer; where the disk takes none, the request is one that a kill left behind."""
        place = (answer.c.key_id == key_id) & (answer.c.idempotency_key == idempotency_key)
        with self._ending(key_id, idempotency_key), self._database.write() as connection:
            connection.execute(update(answer).where(place).values(status=kept.status, body=kept.body))

    def abandon(self, key_id: int, idempotency_key: str) -> None:
        """Forget a request that failed: it may be tried again."""
        place = (answer.c.key_id == key_id) & (answer.c.idempotency_key == idempotency_key)
        with self._ending(key_id, idempotency_key), self._database.write() as connection:
            connection.execute(delete(answer).where(place, answer.c.status.is_(None)))

    @contextmanager
    def _ending(self, key_id: int, idempotency_key: str) -> Iterator[None]:
        """Let nobody wait for a request any more; what it did, or why it failed, is told whatever the disk says."""
        with self._alone:
            try:
                yield
            except FaceIdError as error:
                log.error("an answer cannot be kept", exc_info=error)
            finally:
                self._under_way.discard((key_id, idempotency_key))

    def forget(self, gallery: str) -> None:
        """Destroy a gallery's answers: they hold names, and somebody was erased."""
        with self._database.write() as connection:
            connection.execute(delete(answer).where(answer.c.gallery == gallery, answer.c.status.is_not(None)))

    def drop_old(self) -> None:
        """Delete what is older than a day."""
        with self._database.write() as connection:
            connection.execute(delete(answer).where(answer.c.at < in_text(datetime.now(UTC) - _KEPT)))


def request_digest(*parts: str | bytes | Sequence[bytes] | None) -> bytes:
    """Return what tells a request from another: its route, its fields, its photos' bytes."""
    sha = hashlib.sha256()
    for part in parts:
        for one in [part] if isinstance(part, str | bytes | None) else part:
            data = b"\0none" if one is None else one.encode() if isinstance(one, str) else one
            sha.update(len(data).to_bytes(8, "big") + data)
    return sha.digest()
