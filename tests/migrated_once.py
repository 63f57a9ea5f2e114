"""The migrations run once in a process of tests; the statements that they gave are given to every later gallery."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, event, inspect

Migrate = Callable[[Connection], None]


def migrated_once(migrate: Migrate) -> Migrate:
    """Wrap a function that brings a schema to HEAD: what it did to the first empty one is done to the others."""
    done: list[tuple[str, Any, bool]] = []

    def repeated(connection: Connection) -> None:
        if inspect(connection).get_table_names():
            migrate(connection)
        elif not done:
            done.extend(_statements_of(migrate, connection))
        else:
            cursor = connection.connection.cursor()
            for statement, values, many in done:
                (cursor.executemany if many else cursor.execute)(statement, values)

    return repeated


def _statements_of(migrate: Migrate, connection: Connection) -> list[tuple[str, Any, bool]]:
    """Migrate an empty schema, and return every statement with its values as the driver got them, but for questions."""
    seen: list[tuple[str, Any, bool]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if not statement.startswith("SELECT"):
            seen.append((statement, values, many))

    event.listen(connection, "after_cursor_execute", note)
    try:
        migrate(connection)
    finally:
        event.remove(connection, "after_cursor_execute", note)
    return seen
