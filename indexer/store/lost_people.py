"""A copy of a backup without those whose keys were destroyed since: the others are a sound gallery again."""

import json
from base64 import b64decode
from collections.abc import Callable, Collection, Container
from typing import Any

from sqlalchemy import Connection, select, update

from indexer.store.adding import hide_templates_of_others
from indexer.store.deleting import delete_templates
from indexer.store.person_keys import person_of
from indexer.store.queries import bump_revision, chunks, record_audit
from indexer.store.schema import audit, gallery, identity, template, undo
from indexer.store.sealed_rows import change_rows, delete_rows, moving, sound_rows


def drop_lost_people(connection: Connection, known: Container[int]) -> int:
    """Delete what lies under keys that are not `known` any more; how many people. The caller then scrubs."""
    people = {one for one in connection.execute(select(identity.c.id)).scalars() if one not in known}
    lost = _templates_under_lost_keys(connection, known)
    if not people and not lost:
        return 0
    for piece in chunks(sorted(lost)):
        delete_templates(connection, template.c.id.in_(piece))
    freed = _free_from_lost(connection, people)
    for piece in chunks(sorted(people)):
        delete_templates(connection, template.c.identity_id.in_(piece))
    for piece in chunks(sorted(people)):
        delete_rows(connection, "undo", undo.c.audit_id.in_(select(audit.c.id).where(audit.c.identity_id.in_(piece))))
    for piece in chunks(sorted(people)):
        delete_rows(connection, "identity", identity.c.merged_into.in_(piece))
    for piece in chunks(sorted(people)):
        delete_rows(connection, "identity", identity.c.id.in_(piece))
    if freed:
        hide_templates_of_others(connection, freed)
    record_audit(connection, "erase", [(one, {}) for one in sorted(people)])
    connection.execute(update(gallery).values(erase_pending=1))
    bump_revision(connection)
    return len(people)


def _templates_under_lost_keys(connection: Connection, known: Container[int]) -> set[int]:
    """Return the templates of which a part cannot be read: after a merge, parts of one are under two keys."""
    cells: dict[str, Callable[[Any], bytes]] = {
        "SELECT template_id, substr(vector, 1, 8) FROM embedding": bytes,
        "SELECT template_id, substr(jpeg, 1, 8) FROM crop": bytes,
        "SELECT id, substr(source, 1, 12) FROM template": b64decode,
    }
    return {
        number
        for query, as_bytes in cells.items()
        for number, beginning in connection.exec_driver_sql(query)
        if person_of(as_bytes(beginning)) not in known
    }


def _free_from_lost(connection: Connection, people: Collection[int]) -> list[int]:
    """Take those back who were merged into somebody whose key is gone, and whose own is not; return who they are.

    The merge was undone since: else both keys would be gone.
    """
    freed = []
    mergers = select(audit.c.id, audit.c.identity_id).join(undo).where(audit.c.action == "merge")
    for number, source in connection.execute(mergers.order_by(audit.c.id.desc())).all():
        if source in people:
            continue
        (row,) = sound_rows(connection, "undo", undo.c.audit_id == number)
        payload = json.loads(row.payload)
        if payload["into"] not in people:
            continue
        ids = [*payload["moved"], *(mine for mine, _ in payload["swapped"])]
        owners = select(template.c.id, template.c.identity_id)
        found = [one for piece in chunks(ids) for one in connection.execute(owners.where(template.c.id.in_(piece)))]
        with moving(connection, template.c.identity_id.in_({source, *(one.identity_id for one in found)})):
            for piece in chunks([one.id for one in found if one.identity_id in people]):
                change_rows(connection, "template", template.c.id.in_(piece), identity_id=source)
            aliases = sound_rows(connection, "identity", identity.c.id.in_(set(payload["aliases"]) - set(people)))
            back = identity.c.id.in_([one.id for one in aliases if one.merged_into in people])
            change_rows(connection, "identity", back, merged_into=source)
            change_rows(connection, "identity", identity.c.id == source, merged_into=None, removed_at=None)
        delete_rows(connection, "undo", undo.c.audit_id == number)
        freed.append(source)
    return freed
