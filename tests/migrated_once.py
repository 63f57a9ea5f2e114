"""The migrations run once in a process of tests; what they make is copied into every later gallery."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection

Migrate = Callable[[Connection], None]


def migrated_once(migrate: Migrate) -> Migrate:
    """Wrap a function that brings a SQLite schema to HEAD: an empty database gets a copy of what it made first."""
    made: list[tuple[str, Sequence[Any]]] = []

    def copied(connection: Connection) -> None:
        if connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").first() is not None:
            migrate(connection)
        elif not made:
            migrate(connection)
            made.extend(_statements(connection))
        else:
            for statement, values in made:
                connection.exec_driver_sql(statement, tuple(values))

    return copied


def _statements(connection: Connection) -> list[tuple[str, Sequence[Any]]]:
    """Return what makes the tables, indexes and triggers of a database anew, with the few rows that are in them."""
    ours = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY rowid"
    parts = connection.exec_driver_sql(ours).all()
    statements: list[tuple[str, Sequence[Any]]] = [(part.sql, ()) for part in parts]
    for part in parts:
        if part.type == "table":
            for row in connection.exec_driver_sql(f'SELECT * FROM "{part.name}"').all():
                places = ", ".join("?" * len(row))
                statements.append((f'INSERT INTO "{part.name}" VALUES ({places})', row))
    return statements
