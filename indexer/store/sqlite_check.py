"""Whether an SQLite database is whole: its pages, its relations, its definitions, its rows."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from indexer.records import Problem
from indexer.store.checksum import checksum, sql_of
from indexer.store.tally import SUMMED, tally


def schema_sum(connection: Connection) -> tuple[int, int]:
    """Return the number of tables and indexes, and the checksum of their definitions with the schema's version."""
    rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name").all()
    (version,) = connection.exec_driver_sql("SELECT group_concat(version_num) FROM alembic_version").one()
    return len(rows), checksum(version, *(value for row in rows for value in row))


def structure_problems(connection: Connection, most: int) -> Iterator[Problem]:
    """Yield what is wrong with the database as such, at most so many of a kind."""
    for text in connection.exec_driver_sql(f"PRAGMA integrity_check({most})").scalars():
        if text != "ok":
            yield Problem("integrity", f"the database is damaged: {text}; restore a backup or an export")
    yield from _index_problems(connection)
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(most):
        yield Problem("orphan", f"row {row[1]} of table {row[0]} belongs to a row of {row[2]} that is gone")
    expected = tally(connection, "schema")
    if schema_sum(connection) != (expected.rows, expected.total):
        yield Problem("bad_tally", "the definitions are not those that were written; restore a backup or an export")
    for name, given in connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence"):
        if name not in SUMMED or given != tally(connection, name).last_id:
            yield Problem("bad_sequence", f"the count of ids of {name!r:.40} is not the one that was given")


def _index_problems(connection: Connection) -> Iterator[Problem]:
    """Follow each index from end to end: integrity_check looks each row up, and so misses an entry that cannot be read.

    Raises the driver's error where an entry cannot be read at all.
    """
    indexes = "SELECT name, tbl_name, coalesce(sql, '') FROM sqlite_master WHERE type = 'index'"
    for name, table, definition in connection.exec_driver_sql(indexes).all():
        _, where, condition = definition.partition(" WHERE ")
        by_index, by_table = (
            connection.exec_driver_sql(f'SELECT count(*), sum(rowid) FROM "{table}" {way}{where}{condition}').one()
            for way in (f'INDEXED BY "{name}"', "NOT INDEXED")
        )
        if by_index != by_table:
            yield Problem("integrity", f"the index {name} does not lead to every row; restore a backup or an export")


def changed_rows(connection: Connection, table: str, key: str, most: int) -> list[Any]:
    """Return the keys of at most so many rows that are not what was written: SQLite calls `checksum` for each."""
    query = f"SELECT {key} FROM {table} WHERE checksum <> {sql_of(table)} LIMIT {most}"
    return list(connection.exec_driver_sql(query).scalars())
