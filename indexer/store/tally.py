"""Running sums over the tables: a row that vanished, came from nowhere or changed hands by itself makes them differ.

Every change keeps them, so that nothing has to be counted to know what must be there. `active` and `visible` sum over
pairs of a template and its owner what `pair_sum` computes: `active` over those that a search may return, `visible`
over those that were not removed singly, whatever became of the person. `change` does so over its rows. For every other
table a tally holds the number of rows, the sum of their checksums and, where ids are given out, the highest one ever
given. `schema` is the store's own: of its tables and their definitions.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from indexer.errors import StoreDamaged
from indexer.records import Ids
from indexer.store.checksum import checksum

SUMMED = (
    "model",
    "identity",
    "template",
    "calibration",
    "stranger",
    "audit",
    "undo",
    "erased",
    "rejection",
    "crop",
    "morph",
    "outside",
)
"""The tables whose rows' checksums are summed. Vectors are not: a template without one is noticed as such."""

TALLIES = (*SUMMED, "change", "visible", "active")
"""What can be counted anew; `schema` is the store's own."""

_PUT = (
    "INSERT INTO tally (name, rows, total, last_id, checksum) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE"
    " SET rows = excluded.rows, total = excluded.total, last_id = excluded.last_id, checksum = excluded.checksum"
)

_PRIME, _FACTOR = 2**31 - 1, 48_271

_VISIBLE = "FROM template t JOIN identity i ON i.id = t.identity_id WHERE t.removed_at IS NULL"
ACTIVE_PAIRS = f"{_VISIBLE} AND i.removed_at IS NULL"
"""The templates `t` that a search may return, with their owners `i`."""


@dataclass(frozen=True)
class Tally:
    """What must be in a table: the number of rows, their sum, and the highest id that was ever given to one."""

    rows: int
    total: int
    last_id: int


def tally(connection: Connection, name: str) -> Tally:
    """Return one tally; raises StoreDamaged if it is missing or not as it was written."""
    found = connection.exec_driver_sql("SELECT name, rows, total, last_id, checksum FROM tally WHERE name = ?", (name,))
    row = found.first()
    # By place: opening reads this before it knows that the columns' names are as they were made.
    if row is None or checksum(*row[:4]) != row[4]:
        raise StoreDamaged(f"the database's count of {name} is damaged; restore it from a backup or an export")
    return Tally(*row[1:4])


def count_in(connection: Connection, name: str, rows: int, total: int, last_id: int = 0) -> None:
    """Count rows that came (or went: negative), and the sum of what they weigh."""
    old = tally(connection, name)
    write_tally(connection, name, Tally(old.rows + rows, old.total + total, max(old.last_id, last_id)))


def write_tally(connection: Connection, name: str, new: Tally) -> None:
    """Put a tally in the place of the one there was."""
    row = (name, new.rows, new.total, new.last_id)
    connection.exec_driver_sql(_PUT, (*row, checksum(*row)))


def counted(connection: Connection, name: str) -> tuple[int, int]:
    """Count anew: the rows and the total that a tally must hold."""
    source = {
        "active": f"SELECT COUNT(*), SUM({pair_sql('t.id', 't.identity_id')}) {ACTIVE_PAIRS}",
        "visible": f"SELECT COUNT(*), SUM({pair_sql('t.id', 't.identity_id')}) {_VISIBLE}",
        "change": f"SELECT COUNT(*), SUM({pair_sql('revision', 'template_id')}) FROM change",
    }.get(name, f"SELECT COUNT(*), SUM(checksum) FROM {name}")
    rows, total = connection.exec_driver_sql(source).one()
    return rows, total or 0


def pair_sum(first: Ids, second: Ids) -> int:
    """Sum over pairs of ids int64 [n] what tells them apart: moves and swaps change it, the order does not.

    Each pair (a, b) weighs x^2 + x mod 2^31 - 1, of x = 48271 a + b: not linear, so that two owners that changed
    places are noticed.
    """
    x = (first % _PRIME * _FACTOR + second % _PRIME) % _PRIME
    return int(((x * x + x) % _PRIME).sum())


def pair_sql(first: str, second: str) -> str:
    """Return the SQL expression of one pair's weight in `pair_sum`."""
    x = f"(({first} % {_PRIME} * {_FACTOR} + {second} % {_PRIME}) % {_PRIME})"
    return f"(({x} * {x} + {x}) % {_PRIME})"


def is_active_set(connection: Connection, ids: Ids, owners: Ids) -> bool:
    """Whether these are all templates that a search may return, each with its owner."""
    expected = tally(connection, "active")
    return len(ids) == expected.rows and pair_sum(ids, owners) == expected.total
