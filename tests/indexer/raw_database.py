"""A gallery's database behind its back: what a test spoils, or looks at, with the library itself."""

from contextlib import closing

from indexer.crypto.envelope import read_envelope, unlock
from indexer.crypto.keys import usual_key
from indexer.store.driver import connect


def raw_database(path):
    """A connection to the database at this path, to be used in a `with`; each statement is committed by itself."""
    return closing(raw_connection(path))


def raw_connection(path):
    """The same, closed by whoever asked for it."""
    keys = unlock(path.parent, usual_key()) if read_envelope(path.parent) else None
    return connect(f"file:{path}", keys)
