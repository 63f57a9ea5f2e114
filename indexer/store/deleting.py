"""Templates go for good, and their vectors and pictures with them."""

from sqlalchemy import ColumnElement, Connection, delete, select

from indexer.store.schema import crop, embedding, template
from indexer.store.sealed_rows import delete_rows, moving


def delete_templates(connection: Connection, which: ColumnElement[bool]) -> None:
    """Destroy the templates that meet a condition, with all that is kept of them; the caller then scrubs."""
    doomed = select(template.c.id).where(which)
    with moving(connection, which):
        connection.execute(delete(embedding).where(embedding.c.template_id.in_(doomed)))
        delete_rows(connection, "crop", crop.c.template_id.in_(doomed))
        delete_rows(connection, "template", which)
