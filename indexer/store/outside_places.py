"""In which engines elsewhere the gallery's vectors lie too: addresses, without secrets."""

from sqlalchemy import Connection

from indexer.store.queries import bump_revision, next_ids, record_audit
from indexer.store.schema import outside
from indexer.store.sealed_rows import delete_rows, every_row, insert_rows


def places(connection: Connection) -> list[str]:
    """Return the addresses, in the order in which they were noted. Raises StoreDamaged."""
    return [row.address for row in every_row(connection, "outside")]


def note_place(connection: Connection, address: str) -> None:
    """Note one more address."""
    (new_id,) = next_ids(connection, "outside", 1)
    insert_rows(connection, "outside", [{"id": new_id, "address": address}])
    record_audit(connection, "outside_index", [(None, {"address": address})])
    bump_revision(connection)


def forget_place(connection: Connection, address: str) -> None:
    """Forget an address: nothing of the gallery is there any more."""
    delete_rows(connection, "outside", outside.c.address == address)
    record_audit(connection, "outside_index", [(None, {"forgotten": address})])
    bump_revision(connection)
