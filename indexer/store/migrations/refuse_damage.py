"""Before a migration covers rows anew, it verifies what covered them: damage must not become sound."""

from alembic import op

from indexer.errors import StoreDamaged
from indexer.store.checksum import SQL_NAME


def refuse_damage(table: str, columns: str) -> None:
    """Raise StoreDamaged where a row's checksum is not that of these columns, in the order they were covered in."""
    query = f"SELECT COUNT(*) FROM {table} WHERE checksum <> {SQL_NAME}({columns})"
    if count := op.get_bind().exec_driver_sql(query).scalar():
        raise StoreDamaged(f"{count} row(s) of the table {table} changed on the disk; restore a backup or an export")
