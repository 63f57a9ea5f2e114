"""A copy of a backup without those whose keys were destroyed since: the others are a sound gallery again."""

from collections.abc import Container

from sqlalchemy import Connection, delete, select, update

from indexer.store.crops import delete_crops
from indexer.store.person_keys import person_of
from indexer.store.queries import bump_revision, chunks, record_audit
from indexer.store.schema import audit, embedding, gallery, identity, template, undo
from indexer.store.sealed_rows import delete_rows, moving


def drop_lost_people(connection: Connection, known: Container[int]) -> int:
    """Delete what lies under keys that are not `known` any more; how many people. The caller then scrubs."""
    people = [one for one in connection.execute(select(identity.c.id)).scalars() if one not in known]
    cells = connection.exec_driver_sql("SELECT template_id, substr(vector, 1, 8) FROM embedding")
    lost = {number for number, beginning in cells if person_of(beginning) not in known}
    lost |= set(connection.execute(select(template.c.id).where(template.c.identity_id.in_(people))).scalars())
    if not people and not lost:
        return 0
    for piece in chunks(sorted(lost)):
        doomed = template.c.id.in_(piece)
        with moving(connection, doomed):
            connection.execute(delete(embedding).where(embedding.c.template_id.in_(piece)))
            delete_crops(connection, doomed)
            delete_rows(connection, "template", doomed)
    for piece in chunks(people):
        delete_rows(connection, "undo", undo.c.audit_id.in_(select(audit.c.id).where(audit.c.identity_id.in_(piece))))
    for piece in chunks(people):
        delete_rows(connection, "identity", identity.c.merged_into.in_(piece))
    for piece in chunks(people):
        delete_rows(connection, "identity", identity.c.id.in_(piece))
    record_audit(connection, "erase", [(one, {}) for one in people])
    connection.execute(update(gallery).values(erase_pending=1))
    bump_revision(connection)
    return len(people)
