"""Which store keeps a place's gallery: the one door for those who open, make or look for galleries."""

from pathlib import Path
from types import ModuleType

from indexer.crypto.keys import KeyProvider
from indexer.errors import GalleryError
from indexer.fusion import Fusion
from indexer.records import ModelBinding, Turn
from indexer.store import sqlite_store
from indexer.store.place import Place
from indexer.store.store import Store


def has_store(place: Place) -> bool:
    """Whether there is a gallery; raises GalleryError where a server cannot be asked."""
    if isinstance(place, Path):
        return sqlite_store.has_store(place)
    found: bool = _postgres().has_store(place)
    return found


def is_encrypted(place: Place) -> bool:
    """Whether a place's gallery has an envelope; none in a server has."""
    return isinstance(place, Path) and sqlite_store.is_encrypted(place)


def open_store(place: Place, key: KeyProvider | None, people: Path | None = None, *, writable: bool) -> Store:
    """Open a gallery, for writing after bringing it to the newest schema; an encrypted one with its key.

    `people` is the folder of its people's keys, where each has one (None: the one that FACEID_PERSON_KEYS names).

    Raises GalleryError where there is none, or a key is given for one that is not encrypted, KeyMissing, WrongKey,
    StoreDamaged, GalleryUnreachable, and for writing GalleryLocked.
    """
    if isinstance(place, Path):
        return sqlite_store.open_store(place, key, people, writable=writable)
    store: Store = _postgres().open_store(place, key, writable=writable)
    return store


def create_store(
    place: Place,
    bound: ModelBinding,
    fusion: Fusion,
    key: KeyProvider | None,
    turn: Turn | None = None,
    people: Path | None = None,
) -> None:
    """Make an empty gallery where there is none; with a key, an encrypted one.

    `turn` says how vectors will be turned, `people` in which folder the keys of its people are to be, each a key.

    Raises GalleryError where something is already there, GalleryLocked while another process creates it, KeyMissing.
    """
    if isinstance(place, Path):
        sqlite_store.create_store(place, bound, fusion, key, turn, people)
    else:  # which refuses a key, and people's keys are for who has one
        _postgres().create_store(place, bound, fusion, key, turn)


def discard_store(place: Place) -> None:
    """Take away a gallery that was made a moment ago and came to nothing."""
    if isinstance(place, Path):
        sqlite_store.discard_store(place)
    else:
        _postgres().discard_store(place)


def rotate_key(place: Place, old: KeyProvider, new: KeyProvider) -> str:
    """Let the key `new` open an encrypted gallery, and `old` no longer; the new key's id. Nothing else is written.

    Raises as `open_store`, and GalleryLocked while somebody writes.
    """
    if not isinstance(place, Path):
        raise GalleryError(f"{place} is not encrypted by us, so there is no key to change; the server's disk may be")
    return sqlite_store.rotate_key(place, old, new)


def _postgres() -> ModuleType:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise GalleryError(
            "galleries in PostgreSQL need psycopg, and it is not installed: pip install 'faceid-engine[postgres]'"
        ) from error
    from indexer.store import postgres_store

    return postgres_store
