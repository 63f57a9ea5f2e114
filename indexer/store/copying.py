"""Copying a gallery from store to store, row by row, and proving that both hold the same."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from indexer.errors import GalleryError
from indexer.store.bulk import insert_changes, insert_sealed
from indexer.store.checksum import COVERED
from indexer.store.queries import gallery_row, seal
from indexer.store.schema import change, gallery, metadata
from indexer.store.sealed_rows import check_row
from indexer.store.store import Store
from indexer.store.tally import TALLIES, counted, tally, write_tally

_ROWS = 5_000  # read and written at a time
_SEALED = [table for table in COVERED if table not in ("tally", "outside")]
_COUNTED = [name for name in TALLIES if name != "outside"]
_OWN = ("uuid", "checksum", "erase_pending")
"""What of the gallery's row is each copy's own: from now on they are two."""

_COUNTERS = "UPDATE sqlite_sequence SET seq = (SELECT last_id FROM tally WHERE tally.name = sqlite_sequence.name)"


def copy_gallery(source: Store, target: Store) -> int:
    """Copy all that one revision of `source` holds into `target`, which was just made; how many rows.

    Ids, revision, trail and what can be undone stay the same; only what tells galleries apart is the target's own. Each
    row is verified when it is read, and the whole is read back and compared before it counts. Raises StoreDamaged for
    a source that is damaged, GalleryError where the two are not the same in the end: then nothing was written. Indexes
    elsewhere are the source's alone.
    """
    if source.has_person_keys:
        raise GalleryError(
            f"in {source.place} each person has a key, and rows cannot be read without; copy it with `faceid gallery"
            " export` and `import`"
        )
    with source.read() as reading, target.write() as writing:
        own = {name: value for name, value in _gallery(writing).items() if name in _OWN}
        _empty(writing)
        count = sum(_copy_table(reading, writing, table) for table in _in_order())
        changes = _copy_changes(reading, writing)
        writing.execute(insert(gallery).values({**_gallery(reading), **own}))
        seal(writing)
        for name in _COUNTED:
            write_tally(writing, name, tally(reading, name))
        if writing.dialect.name == "sqlite":  # its own counter has seen the rows that are left, not the last one given
            writing.exec_driver_sql(_COUNTERS)
        _compare(reading, writing, target)
    return count + changes


def contents_digest(connection: Connection) -> str:
    """Return the SHA-256 of every row of a gallery, but for what is a copy's own."""
    digest = hashlib.sha256()
    for table in _in_order():
        for rows in _pages(connection, table):
            digest.update(repr([tuple(row) for row in rows]).encode())
    for rows in _changes(connection):
        digest.update(repr(rows).encode())
    digest.update(repr([(name, tally(connection, name)) for name in _COUNTED]).encode())
    digest.update(repr(sorted((k, v) for k, v in _gallery(connection).items() if k not in _OWN)).encode())
    return digest.hexdigest()


def _in_order() -> list[str]:
    """Return the tables with checksums, each after those its rows belong to."""
    return [table.name for table in metadata.sorted_tables if table.name in _SEALED]


def _empty(writing: Connection) -> None:
    """Take out what a new gallery begins with."""
    if counted(writing, "template") != (0, 0):
        raise GalleryError("a copy goes into a new gallery only")
    writing.execute(delete(gallery))
    for table in reversed(_in_order()):
        writing.execute(delete(metadata.tables[table]))


def _copy_table(reading: Connection, writing: Connection, table: str) -> int:
    count = 0
    later: list[Any] = []
    for rows in _pages(reading, table):
        for row in rows:
            check_row(table, row)
        if table == "identity":  # one that was merged comes after the one that it leads to
            later += [row for row in rows if row.merged_into is not None]
            rows = [row for row in rows if row.merged_into is None]
        insert_sealed(writing, table, [tuple(row) for row in rows])
        count += len(rows)
    insert_sealed(writing, table, [tuple(row) for row in later])
    return count + len(later)


def _copy_changes(reading: Connection, writing: Connection) -> int:
    count = 0
    for rows in _changes(reading):
        for revision in sorted({row[0] for row in rows}):
            insert_changes(writing, revision, [row[1] for row in rows if row[0] == revision])
        count += len(rows)
    return count


def _pages(connection: Connection, table: str) -> Iterator[Sequence[Any]]:
    of_it = metadata.tables[table]
    columns = [of_it.c[name] for name in (*COVERED[table], "checksum")]
    query = select(*columns).order_by(*of_it.primary_key.columns)
    yield from connection.execute(query.execution_options(yield_per=_ROWS)).partitions(_ROWS)


def _changes(connection: Connection) -> Iterator[list[tuple[int, int]]]:
    query = select(change.c.revision, change.c.template_id).order_by(change.c.revision, change.c.template_id)
    for rows in connection.execute(query.execution_options(yield_per=_ROWS)).partitions(_ROWS):
        yield [(row[0], row[1]) for row in rows]


def _gallery(connection: Connection) -> dict[str, Any]:
    gallery_row(connection)  # found to be as it was written
    return dict(connection.execute(select(gallery)).mappings().one())


def _compare(reading: Connection, writing: Connection, target: Store) -> None:
    if contents_digest(reading) != contents_digest(writing):
        raise GalleryError(f"what was written to {target.place} is not what was read; nothing was kept there")
    for name in _COUNTED:
        expected = tally(writing, name)
        if counted(writing, name) != (expected.rows, expected.total):
            what = f"the {name} rows of {target.place} are not those that were read"
            raise GalleryError(f"{what}; nothing was kept there")
