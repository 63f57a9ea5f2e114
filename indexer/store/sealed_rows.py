"""The door to the rows: read only as they were written, changed and deleted with their checksums and tallies."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, Table, bindparam, delete, select, update

from indexer.errors import StoreDamaged
from indexer.store.bulk import insert_changes, insert_sealed
from indexer.store.checksum import COVERED, checksum
from indexer.store.schema import change, gallery, metadata, template
from indexer.store.sealed_cells import is_touched, opened_rows, sealed_row, sought_values
from indexer.store.tally import ACTIVE_PAIRS, SUMMED, count_in, pair_sum, tally

_CHUNK = 5_000  # bound parameters in one statement; SQLite's own limit is 32,766 or more


def sound_rows(connection: Connection, table: str, where: ColumnElement[bool] | None = None) -> list[Row[Any]]:
    """Return whole rows, in order of their key, each found to be as it was written; raises StoreDamaged."""
    return opened_rows(connection, table, _rows_as_they_lie(connection, table, where))


def _rows_as_they_lie(connection: Connection, table: str, where: ColumnElement[bool] | None) -> list[Row[Any]]:
    of_it = metadata.tables[table]
    query = select(*_columns(of_it), of_it.c.checksum).order_by(_key(of_it))
    rows: list[Any] = list(connection.execute(query if where is None else query.where(where)).all())
    for row in rows:
        check_row(table, row)
    return rows


def rows_with(connection: Connection, table: str, column: str, values: Sequence[Any]) -> list[Row[Any]]:
    """Return the rows whose column has one of the values, as `sound_rows`; raises StoreDamaged."""
    sought = sought_values(connection, table, column, values)
    return _read(connection, table, f"WHERE {column} IN ({','.join('?' * len(values))})", tuple(sought))


def every_row(connection: Connection, table: str) -> list[Row[Any]]:
    """Return all rows of a table as `sound_rows`, none missing; raises StoreDamaged."""
    rows, expected = _read(connection, table, "", ()), tally(connection, table)
    if (len(rows), sum(row.checksum for row in rows)) != (expected.rows, expected.total):
        raise StoreDamaged(f"rows of the database's table {table} are missing; restore a backup or an export")
    return rows


def _read(connection: Connection, table: str, where: str, values: tuple[Any, ...]) -> list[Row[Any]]:
    # In SQL, not in SQLAlchemy's words: putting these into SQL takes longer than the rows do.
    columns = COVERED[table]
    query = f"SELECT {', '.join(columns)}, checksum FROM {table} {where} ORDER BY {columns[0]}"
    rows = list(connection.exec_driver_sql(query, values).all())
    for row in rows:
        check_row(table, row)
    return opened_rows(connection, table, rows)


def check_row(table: str, row: Sequence[Any]) -> None:
    """Raise StoreDamaged unless a row (its covered columns, then its checksum) is as it was written."""
    if checksum(*row[:-1]) != row[-1]:
        raise StoreDamaged(
            f"the row {row[0]!r:.40} of the database's table {table} was changed on the disk;"
            " restore a backup or an export"
        )


def insert_rows(connection: Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows with all their covered columns."""
    if not rows:
        return
    lying = [sealed_row(connection, table, row) for row in rows]
    covered = [tuple(row[name] for name in COVERED[table]) for row in lying]
    sealed = [(*row, checksum(*row)) for row in covered]
    insert_sealed(connection, table, sealed)
    if table in SUMMED:
        last = max((row[0] for row in sealed if isinstance(row[0], int)), default=0)
        count_in(connection, table, len(sealed), sum(row[-1] for row in sealed), last)


def change_rows(connection: Connection, table: str, where: ColumnElement[bool], **values: Any) -> int:
    """Give columns of some rows other values; how many rows. Raises StoreDamaged if one is not as it was written."""
    if is_touched(connection, table, list(values)):
        return _change_sealed(connection, table, where, values)
    of_it = metadata.tables[table]
    rows = _rows_as_they_lie(connection, table, where)
    renewed = []
    for row in rows:
        covered = {**{name: getattr(row, name) for name in COVERED[table]}, **values}
        renewed.append({"_key": row[0], "_checksum": checksum(*covered.values())})
    if rows:
        statement = update(of_it).where(_key(of_it) == bindparam("_key"))
        connection.execute(statement.values(**values, checksum=bindparam("_checksum")), renewed)
        total = sum(one["_checksum"] for one in renewed) - sum(row.checksum for row in rows)
        count_in(connection, table, 0, total)
    return len(rows)


def _change_sealed(connection: Connection, table: str, where: ColumnElement[bool], values: dict[str, Any]) -> int:
    """Change rows part of which lies under a person's key: opened, changed and sealed anew, one by one."""
    of_it = metadata.tables[table]
    rows = sound_rows(connection, table, where)
    for row in rows:
        opened = {**{name: getattr(row, name) for name in COVERED[table]}, **values}
        lying = sealed_row(connection, table, opened)
        total = checksum(*lying.values())
        connection.execute(update(of_it).where(_key(of_it) == row[0]).values(**lying, checksum=total))
        count_in(connection, table, 0, total - row.checksum)
    return len(rows)


def delete_rows(connection: Connection, table: str, where: ColumnElement[bool]) -> int:
    """Delete rows; how many. Raises StoreDamaged if one is not as it was written."""
    rows = _rows_as_they_lie(connection, table, where)
    connection.execute(delete(metadata.tables[table]).where(where))
    count_in(connection, table, -len(rows), -sum(row.checksum for row in rows))
    return len(rows)


@contextmanager
def moving(connection: Connection, which: ColumnElement[bool]) -> Iterator[None]:
    """Let the block change owner, visibility or existence of templates that meet a condition, and of no others.

    Logs them as changed in the coming revision, so that indexes follow, and keeps the tallies of who is visible. Not
    to be nested.
    """
    ids = np.array(connection.execute(select(template.c.id).where(which)).scalars().all(), np.int64)
    before = _shown(connection, ids)
    coming = int(connection.execute(select(gallery.c.revision)).scalar_one()) + 1
    logged = set(connection.execute(select(change.c.template_id).where(change.c.revision == coming)).scalars())
    new = np.array([one for one in ids.tolist() if one not in logged], np.int64)
    if len(new):
        insert_changes(connection, coming, new.tolist())
        count_in(connection, "change", len(new), pair_sum(np.full(len(new), coming), new))
    yield
    for name, after in _shown(connection, ids).items():
        rows, total = before[name]
        count_in(connection, name, after[0] - rows, after[1] - total)


def _shown(connection: Connection, ids: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, tuple[int, int]]:
    """Return the count and sum that these templates have in the tallies `active` and `visible`."""
    sums = {"active": (0, 0), "visible": (0, 0)}
    queries = {
        "active": f"SELECT t.id, t.identity_id {ACTIVE_PAIRS}",
        "visible": "SELECT t.id, t.identity_id FROM template t WHERE t.removed_at IS NULL",
    }
    for start in range(0, len(ids), _CHUNK):
        piece = ids[start : start + _CHUNK].tolist()
        for name, query in queries.items():
            found = connection.exec_driver_sql(f"{query} AND t.id IN ({','.join('?' * len(piece))})", tuple(piece))
            pairs = np.array([tuple(row) for row in found.fetchall()], np.int64).reshape(-1, 2)
            rows, total = sums[name]
            sums[name] = rows + len(pairs), total + pair_sum(pairs[:, 0], pairs[:, 1])
    return sums


def _columns(table: Table) -> list[Any]:
    return [table.c[name] for name in COVERED[table.name]]


def _key(table: Table) -> Any:
    return table.c[COVERED[table.name][0]]
