"""Writes that are sent twice are done once: the answer to a key of the client's is kept for a day and told again."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert, select, update

from faceid.service.database import ServiceDatabase, answer, in_text, now
from faceid.service.problems import Problem

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
        self._started = now()

    def begin(self, key_id: int, idempotency_key: str, gallery: str, asked: bytes) -> Kept | None:
        """Return the answer that was given to this request before; None: it is to be done now.

        Raises Problem where the key was used for another request, or the request is being worked on. One that a killed
        server left behind is done again: whether it was done nobody knows, and enrolling twice changes nothing.
        """
        place = (answer.c.key_id == key_id) & (answer.c.idempotency_key == idempotency_key)
        with self._database.write() as connection:
            row = connection.execute(select(answer).where(place)).first()
            if row is None:
                connection.execute(
                    insert(answer).values(
                        key_id=key_id, idempotency_key=idempotency_key, gallery=gallery, asked=asked, at=now()
                    )
                )
                return None
            if row.asked != asked:
                raise Problem("idempotency_key_reused", "a new request needs a new Idempotency-Key")
            if row.status is not None:
                return Kept(row.status, row.body)
            if row.at >= self._started:
                raise Problem("request_in_progress", "wait for the answer to the first one")
            connection.execute(update(answer).where(place).values(at=now()))
            return None

    def finish(self, key_id: int, idempotency_key: str, kept: Kept) -> None:
        """Keep the answer."""
        place = (answer.c.key_id == key_id) & (answer.c.idempotency_key == idempotency_key)
        with self._database.write() as connection:
            connection.execute(update(answer).where(place).values(status=kept.status, body=kept.body))

    def abandon(self, key_id: int, idempotency_key: str) -> None:
        """Forget a request that failed: it may be tried again."""
        place = (answer.c.key_id == key_id) & (answer.c.idempotency_key == idempotency_key)
        with self._database.write() as connection:
            connection.execute(delete(answer).where(place, answer.c.status.is_(None)))

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
