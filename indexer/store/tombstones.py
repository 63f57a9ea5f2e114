"""Which photos belonged to people who were erased: so that an old export does not bring them back unasked.

A photo's digest is kept under a key of this gallery (HMAC-SHA256). Who holds the very photo can tell that it was
here; nothing tells whose it was, and there is no name to be guessed.
"""

import hmac
from collections.abc import Sequence

from sqlalchemy import Connection, select

from indexer.store.queries import chunks, gallery_row
from indexer.store.schema import erased
from indexer.store.sealed_rows import delete_rows, insert_rows
from indexer.store.tally import tally


def bury(connection: Connection, digests: Sequence[bytes]) -> None:
    """Remember photos (by SHA-256) of a person who is being erased."""
    key = gallery_row(connection).erasure_key
    new = dict.fromkeys(_keyed(key, digest) for digest in digests)
    for piece in chunks(list(new)):
        known = set(connection.execute(select(erased.c.digest).where(erased.c.digest.in_(piece))).scalars())
        insert_rows(connection, "erased", [{"digest": one} for one in piece if one not in known])


def buried(connection: Connection, digests: Sequence[bytes]) -> set[bytes]:
    """Return those of the photos (by SHA-256) that belonged to people who were erased."""
    key = gallery_row(connection).erasure_key
    found: set[bytes] = set()
    if not tally(connection, "erased").rows:
        return found
    for piece in chunks(list(dict.fromkeys(digests))):
        by_keyed = {_keyed(key, digest): digest for digest in piece}
        rows = connection.execute(select(erased.c.digest).where(erased.c.digest.in_(list(by_keyed)))).scalars()
        found |= {by_keyed[one] for one in rows}
    return found


def unbury(connection: Connection, digests: Sequence[bytes]) -> None:
    """Forget photos that are enrolled anew."""
    if not tally(connection, "erased").rows:
        return
    key = gallery_row(connection).erasure_key
    for piece in chunks([_keyed(key, digest) for digest in digests]):
        delete_rows(connection, "erased", erased.c.digest.in_(piece))


def _keyed(key: bytes, digest: bytes) -> bytes:
    return hmac.digest(key, digest, "sha256")
