"""Photos that enrolment looked at and rejected, by digest: the next run under the same policy need not look again.

They save time and nothing else depends on them. No name is kept, so nobody knows whose they are: erasing anybody
forgets them all.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, true

from indexer.errors import GalleryError
from indexer.store.queries import chunks, now
from indexer.store.schema import rejection
from indexer.store.sealed_rows import delete_rows, insert_rows, rows_with


def rejected(connection: Connection, digests: Sequence[bytes], policy: str) -> dict[bytes, tuple[str, ...]]:
    """Return why photos (by SHA-256) were rejected under a policy; raises StoreDamaged."""
    found = {}
    for piece in chunks(list(dict.fromkeys(digests))):
        for row in rows_with(connection, "rejection", "source_digest", piece):
            if row.policy == policy:
                found[row.source_digest] = tuple(json.loads(row.reasons))
    return found


def remember(connection: Connection, reasons: Mapping[bytes, Sequence[str]], policy: str) -> None:
    """Remember why photos were rejected under a policy, in the place of what was known of them."""
    if any(len(digest) != 32 for digest in reasons):
        raise GalleryError("a rejected photo is known by its SHA-256 (32 bytes)")
    for piece in chunks(list(reasons)):
        delete_rows(connection, "rejection", rejection.c.source_digest.in_(piece))
    at = now()
    rows = [
        {"source_digest": digest, "policy": policy, "reasons": json.dumps(list(codes)), "at": at}
        for digest, codes in reasons.items()
    ]
    insert_rows(connection, "rejection", rows)


def forget_all(connection: Connection) -> None:
    """Forget every rejected photo; the caller then scrubs."""
    delete_rows(connection, "rejection", true())


def forget_old(connection: Connection, older_than: timedelta) -> int:
    """Forget those that were rejected at least so long ago; how many. The caller then scrubs."""
    before = (datetime.now(UTC) - older_than).strftime("%Y-%m-%dT%H:%M:%SZ")
    return delete_rows(connection, "rejection", rejection.c.at <= before)
