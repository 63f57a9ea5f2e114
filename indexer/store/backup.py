"""A consistent copy of a gallery that is in use, in a folder of its own: as it is, or encrypted under a new key."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import select, true, update

from indexer.crypto import envelope
from indexer.crypto.envelope import GalleryKeys, read_envelope, seal_new, write_envelope
from indexer.crypto.keys import KeyProvider, require_encryption
from indexer.durable_file import PRIVATE, replacing
from indexer.errors import GalleryError
from indexer.store.database import Database, translated
from indexer.store.driver import PAGE_SIZE, connect_new, connect_to_export, file_uri, new_key
from indexer.store.lost_people import drop_lost_people
from indexer.store.person_keys import PersonKeys
from indexer.store.queries import revision, seal
from indexer.store.schema import APPLICATION_ID, gallery, identity
from indexer.store.sealed_rows import delete_rows


def make_backup(source: Database, folder: Path) -> None:
    """Copy the database as it is at one moment to `folder`; raises GalleryError if something is there already.

    The whole copy is one step of SQLite's backup, that is one reading transaction: writers go on, and what they write
    meanwhile is not in it. It takes its name in the folder only when it is complete and on the disk. An encrypted
    gallery's copy is encrypted, and has its envelope.
    """
    sealed = read_envelope(source.path.parent) if source.keys else None
    with _prepared(source, folder):
        if sealed is not None:
            write_envelope(folder, sealed)
        with (
            replacing(folder / source.path.name, PRIVATE) as temporary,
            source.raw() as raw,
            closing(connect_new(temporary, source.keys)) as copy,
        ):
            raw.backup(copy)
            _finish(copy)


def make_encrypted_copy(source: Database, folder: Path, key: KeyProvider) -> None:
    """Copy the database as `make_backup` does, plain or encrypted as it is, under a new gallery's key.

    Where each person has a key, the copy has keys of its own, and is without those whose keys are gone.

    Every page is written anew, so that nothing of the source's free space is in it.
    """
    require_encryption()
    with _prepared(source, folder):
        sealed, keys = seal_new(folder, key, people=source.people is not None)
        if source.people is not None:
            with source.read() as connection:  # whoever is erased from now on may be in the copy
                source.people.fetch(connection.execute(select(identity.c.id)).scalars())
        write_envelope(folder, sealed)
        with translated(source.path), replacing(folder / source.path.name, PRIVATE) as temporary:
            _export(source, temporary, keys)
            _make_its_own(source.people, temporary, keys)
            with closing(connect_new(temporary, keys)) as copy:
                _finish(copy)


@contextmanager
def _prepared(source: Database, folder: Path) -> Iterator[None]:
    """Make the folder, without what an earlier attempt left; raises GalleryError where it holds anything else.

    Where the copy fails, a folder that was made for it goes: nobody is to take it for a backup.
    """
    made = not folder.exists()
    name = source.path.name
    # An envelope without a database is what a copy leaves that was stopped.
    leftovers = (f".{name}.", f".{envelope.FILE}.", envelope.FILE)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if others := sorted(file.name for file in folder.iterdir() if not file.name.startswith(leftovers)):
            raise GalleryError(f"{folder} is not empty ({others[0]}); give a new folder for the copy")
        for leftover in folder.iterdir():
            leftover.unlink()
    except OSError as error:
        raise GalleryError(f"{folder} cannot take a copy: {error.strerror}") from error
    try:
        yield
    except BaseException:
        if made:
            with suppress(OSError):  # what cannot be taken away the next attempt does
                (folder / envelope.FILE).unlink(missing_ok=True)
                folder.rmdir()
        raise


def _export(source: Database, temporary: Path, keys: GalleryKeys) -> None:
    """Write all that one reading transaction of the source sees into an empty file, encrypted."""
    with closing(connect_to_export(source.uri, source.keys)) as raw:
        raw.execute("ATTACH DATABASE ? AS copy KEY ?", (file_uri(temporary), new_key(keys)))
        raw.execute(f"PRAGMA copy.cipher_page_size = {PAGE_SIZE}")
        raw.execute("BEGIN")
        raw.execute("SELECT sqlcipher_export('copy')")
        (version,) = raw.execute("PRAGMA main.user_version").fetchone()
        raw.execute(f"PRAGMA copy.user_version = {int(version)}")
        raw.execute(f"PRAGMA copy.application_id = {APPLICATION_ID}")
        raw.execute("COMMIT")


def _make_its_own(people: PersonKeys | None, temporary: Path, keys: GalleryKeys) -> None:
    """Make a copy a gallery apart from its source: indexes elsewhere are the source's alone, found there by its id.

    Its people's keys are its own, too, and those whose keys are gone are dropped from it.
    """
    copy = Database(temporary, keys, people, writable=True)
    known: set[int] = set()
    try:
        with copy.write() as connection:
            if people is not None:
                ids = connection.execute(select(identity.c.id)).scalars().all()
                known = people.known(ids)
                if len(known) < len(ids):
                    people.refuse_newer(revision(connection))
                drop_lost_people(connection, known)
            delete_rows(connection, "outside", true())
            connection.execute(update(gallery).values(uuid=str(uuid4())))
            seal(connection)
    finally:
        copy.close()
    if people is not None:
        people.copy(keys, known)


def _finish(copy: Any) -> None:
    # Committed through a log of its own otherwise, which the renaming would leave behind.
    copy.execute("PRAGMA journal_mode=DELETE")
    if copy.execute("SELECT erase_pending FROM gallery").fetchone()[0]:
        copy.execute("VACUUM")  # what was erased is still in the free pages that were copied
    copy.execute("PRAGMA journal_mode=WAL")
