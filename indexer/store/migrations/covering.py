"""Checksums in migrations: verified before they cover something else (damage must not become sound), then renewed.

SQLite calls `checksum` itself; no other database can, and there the rows come here and their checksums go back.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from indexer.errors import StoreDamaged
from indexer.store.checksum import SQL_NAME, checksum

GALLERY_AND_MODEL = "gallery g JOIN model m ON m.id = g.model_id"
_ROWS = 1_000


def refuse_damage(table: str, columns: str, source: str = "") -> None:
    """Raise StoreDamaged where a row's checksum is not that of these columns, in the order they were covered in.

    `source` is what the columns come from, where that is more than the table; the table is then `g` in it.
    """
    bind = op.get_bind()
    place = "g." if source else ""
    if bind.dialect.name == "sqlite":
        query = f"SELECT COUNT(*) FROM {source or table} WHERE {place}checksum <> {SQL_NAME}({columns})"
        count = bind.exec_driver_sql(query).scalar_one()
    else:
        rows = _rows(f"SELECT {place}checksum, {columns} FROM {source or table}")
        count = sum(row[0] != checksum(*row[1:]) for row in rows)
    if count and source:
        raise StoreDamaged("the database's row on its gallery and model is damaged; restore it from a backup")
    if count:
        raise StoreDamaged(f"{count} row(s) of the table {table} changed on the disk; restore a backup or an export")


def cover(table: str, columns: str, source: str = "", *, key: str = "id") -> None:
    """Give each row the checksum of these columns."""
    bind = op.get_bind()
    if bind.dialect.name == "sqlite":
        new = f"{SQL_NAME}({columns})"
        bind.exec_driver_sql(f"UPDATE {table} SET checksum = " + (f"(SELECT {new} FROM {source})" if source else new))
        return
    place = "g." if source else ""
    found = _rows(f"SELECT {place}{key}, {columns} FROM {source or table}")
    renewed = [{"key": row[0], "new": checksum(*row[1:])} for row in found]
    if renewed:
        bind.execute(sa.text(f"UPDATE {table} SET checksum = :new WHERE {key} = :key"), renewed)


def add_empty_tally(name: str) -> None:
    """Begin to count a table that was just made."""
    op.execute(f"INSERT INTO tally VALUES ('{name}', 0, 0, 0, {checksum(name, 0, 0, 0)})")


def _rows(query: str) -> Iterator[Any]:
    """Return rows with what a checksum was taken of: a vector's row is not kept."""
    yield from op.get_bind().execute(sa.text(query).execution_options(yield_per=_ROWS))


def free_key(table: str) -> None:
    """Let another table have the name of this one's key: in PostgreSQL no two indexes of a schema share one."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(f"pk_{table}", table)
