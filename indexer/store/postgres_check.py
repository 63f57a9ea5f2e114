"""Whether a gallery's schema in PostgreSQL is whole: its tables' columns, its relations, its rows."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, text

from indexer.errors import StoreDamaged
from indexer.records import Problem
from indexer.store.checksum import COVERED, checksum
from indexer.store.place import PostgresPlace
from indexer.store.schema import HEAD, SCHEMA_VERSIONS, metadata
from indexer.store.tally import tally

_ROWS = 2_000  # fetched at a time

_COLUMNS = (
    "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
    " WHERE table_schema = current_schema() AND table_name = ANY(?) ORDER BY table_name, column_name"
)


def schema_sum(connection: Connection) -> tuple[int, int]:
    """Return the number of our tables' columns, and the checksum of their names and types with the schema's version.

    Not of the server's own words for them, which change with its version, nor of an operator's further indexes.
    """
    rows = connection.exec_driver_sql(_COLUMNS, (sorted(metadata.tables),)).all()
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    return len(rows), checksum(version, *(value for row in rows for value in row))


def check_version(connection: Connection, place: PostgresPlace) -> str:
    """Return the schema's version; raises StoreDamaged for one that is not a gallery's, newer, or changed."""
    tables = set(
        connection.exec_driver_sql(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
        ).scalars()
    )
    if not {"alembic_version", "gallery", "tally"} <= tables:
        raise StoreDamaged(f"{place}: the schema {place.schema} of the database is not a gallery's; give another name")
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if version not in SCHEMA_VERSIONS:
        raise StoreDamaged(
            f"{place} has schema {version}, this program knows up to {HEAD};"
            " open it with the version that wrote it, or a newer one"
        )
    expected = tally(connection, "schema")
    if schema_sum(connection) != (expected.rows, expected.total):
        raise StoreDamaged(f"{place} is damaged (its tables are not as they were made); restore it from a backup")
    return str(version)


def structure_problems(connection: Connection, most: int) -> Iterator[Problem]:
    """Yield rows that belong to rows that are gone, at most so many of a kind; pages the server checks by itself."""
    for table in metadata.sorted_tables:
        for key in table.foreign_keys:
            mine, its = key.parent.name, key.column
            lost = connection.exec_driver_sql(
                f"SELECT t.{mine} FROM {table.name} t WHERE t.{mine} IS NOT NULL AND NOT EXISTS"
                f" (SELECT FROM {its.table.name} o WHERE o.{its.name} = t.{mine}) LIMIT {most}"
            ).scalars()
            for one in lost:
                yield Problem("orphan", f"a row of table {table.name} belongs to row {one} of {its.table.name}: gone")
    expected = tally(connection, "schema")
    if schema_sum(connection) != (expected.rows, expected.total):
        yield Problem("bad_tally", "the tables are not those that were made; restore a backup or an export")


def changed_rows(connection: Connection, table: str, key: str, most: int) -> list[Any]:
    """Return the keys of at most so many rows that are not what was written: they come here to be summed."""
    query = text(f"SELECT {', '.join(COVERED[table])}, checksum FROM {table} ORDER BY {key}")
    found: list[Any] = []
    for row in connection.execute(query.execution_options(yield_per=_ROWS)):
        *covered, sealed = row
        if checksum(*covered) != sealed:
            found.append(row[0])
            if len(found) == most:
                break
    return found


def size(connection: Connection) -> int:
    """Return the bytes of the schema's tables with their indexes."""
    return int(
        connection.exec_driver_sql(
            "SELECT COALESCE(SUM(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND c.relkind = 'r'"
        ).scalar_one()
    )
