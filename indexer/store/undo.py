"""Taking back: remove, merge, rename and remove_templates from their undo records, until these are purged."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select, update

from indexer.errors import GalleryError, StoreDamaged
from indexer.store import curation
from indexer.store.adding import hide_templates_of_others
from indexer.store.checksum import checksum
from indexer.store.queries import bump_revision, chunks, note_changes, record_audit
from indexer.store.schema import audit, embedding, gallery, identity, template, undo

_BLOCKING = ("remove", "restore", "merge", "rename", "remove_photos")
"""A later one of these about the same people must be taken back first; enrolments are no obstacle."""


@dataclass(frozen=True)
class Undoable:
    """An entry of the trail that can be taken back: its id, time (ISO 8601, UTC), action and whom it was about."""

    id: int
    at: str
    action: str
    identity_ids: tuple[int, ...]


def undoable(connection: Connection) -> list[Undoable]:
    """Return what can be taken back, newest first."""
    query = select(audit.c.id, audit.c.at, audit.c.action, audit.c.identity_id, undo.c.payload, undo.c.checksum)
    found = []
    for row in connection.execute(query.join(undo, undo.c.audit_id == audit.c.id).order_by(audit.c.id.desc())):
        payload = _payload(row.id, row.payload, row.checksum)
        ids = {row.identity_id, payload.get("into")} - {None}
        found.append(Undoable(row.id, row.at, row.action, tuple(sorted(ids))))
    return found


def take_back(connection: Connection, audit_id: int | None) -> Undoable:
    """Undo one entry of the trail, the newest if none is named; raises GalleryError where that is not possible."""
    candidates = undoable(connection)
    if audit_id is None and candidates:
        audit_id = candidates[0].id
    entry = next((one for one in candidates if one.id == audit_id), None)
    if entry is None:
        what = "nothing" if audit_id is None else f"entry {audit_id} of the trail"
        raise GalleryError(f"{what} can be undone: it was undone, purged, erased, or is no remove, merge or rename")
    row = connection.execute(select(undo.c.payload, undo.c.checksum).where(undo.c.audit_id == audit_id)).one()
    payload = _payload(entry.id, row.payload, row.checksum)
    _refuse_if_later(connection, entry, payload)
    {"rename": _rename, "remove": _remove, "merge": _merge, "remove_photos": _remove_photos}[entry.action](
        connection, entry, payload
    )
    connection.execute(delete(undo).where(undo.c.audit_id == entry.id))
    about = entry.identity_ids[0] if len(entry.identity_ids) == 1 else None
    record_audit(connection, "undo", [(about, None, {"of": entry.id, "action": entry.action})])
    bump_revision(connection)
    return entry


def purge(connection: Connection, older_than: timedelta) -> int:
    """Delete undo records of at least that age, and copies of photos that only an undo would need; how many records.

    The caller then scrubs: a record may hold a former name.
    """
    before = (datetime.now(UTC) - older_than).strftime("%Y-%m-%dT%H:%M:%SZ")
    old = select(audit.c.id).where(audit.c.at <= before)
    count = connection.execute(delete(undo).where(undo.c.audit_id.in_(old))).rowcount
    if not count:
        return 0
    mergers = select(audit.c.identity_id).join(undo, undo.c.audit_id == audit.c.id).where(audit.c.action == "merge")
    aliases = select(identity.c.id).where(identity.c.merged_into.is_not(None), identity.c.id.not_in(mergers))
    leftover = template.c.identity_id.in_(aliases)
    doomed = select(template.c.id).where(leftover)
    connection.execute(delete(embedding).where(embedding.c.template_id.in_(doomed)))
    connection.execute(delete(template).where(leftover))
    record_audit(connection, "purge", [(None, None, {"records": count})])
    connection.execute(update(gallery).values(erase_pending=1))
    bump_revision(connection)
    return count


def _payload(audit_id: int, text: str, expected: int) -> dict[str, Any]:
    if checksum(audit_id, text) != expected:
        raise StoreDamaged(f"the undo record of entry {audit_id} was changed on the disk; restore a backup")
    payload: dict[str, Any] = json.loads(text)
    return payload


def _refuse_if_later(connection: Connection, entry: Undoable, payload: dict[str, Any]) -> None:
    undone = {
        json.loads(details)["of"]
        for details in connection.execute(select(audit.c.details).where(audit.c.action == "undo")).scalars()
    }
    later = select(audit.c.id, audit.c.action, audit.c.identity_id, audit.c.details).where(
        audit.c.id > entry.id, audit.c.action.in_(_BLOCKING)
    )
    for row in connection.execute(later.order_by(audit.c.id.desc())):
        about = {row.identity_id, json.loads(row.details).get("into")}
        if row.id not in undone and about & set(entry.identity_ids):
            raise GalleryError(
                f"entry {row.id} ({row.action}) came later and is about the same people as entry {entry.id}"
                f" ({entry.action}); undo or reverse that one first"
            )
    for identity_id in entry.identity_ids:
        if connection.execute(select(identity.c.id).where(identity.c.id == identity_id)).first() is None:
            raise GalleryError(f"entry {entry.id} cannot be undone: identity {identity_id} was erased")


def _rename(connection: Connection, entry: Undoable, payload: dict[str, Any]) -> None:
    curation.set_name(connection, curation.person(connection, entry.identity_ids[0]), payload["name"])


def _remove(connection: Connection, entry: Undoable, payload: dict[str, Any]) -> None:
    curation.bring_back(connection, entry.identity_ids[0])


def _merge(connection: Connection, entry: Undoable, payload: dict[str, Any]) -> None:
    into_id = payload["into"]
    source_id = next(one for one in entry.identity_ids if one != into_id)
    note_changes(connection, template.c.identity_id.in_([source_id, into_id]))
    for mine, theirs in payload["swapped"]:
        curation.swap_templates(connection, mine, theirs)
    for piece in chunks(payload["moved"]):
        still = template.c.id.in_(piece) & (template.c.identity_id == into_id)
        connection.execute(update(template).where(still).values(identity_id=source_id))
    back = identity.c.id.in_(payload["aliases"]) & (identity.c.merged_into == into_id)
    connection.execute(update(identity).where(back).values(merged_into=source_id))
    connection.execute(update(identity).where(identity.c.id == source_id).values(merged_into=None, removed_at=None))
    hide_templates_of_others(connection, [source_id])


def _remove_photos(connection: Connection, entry: Undoable, payload: dict[str, Any]) -> None:
    owners: set[int] = set()
    for piece in chunks(payload["templates"]):
        mine = template.c.id.in_(piece)
        note_changes(connection, mine)
        connection.execute(update(template).where(mine).values(removed_at=None))
        owners |= set(connection.execute(select(template.c.identity_id).where(mine)).scalars())
    hide_templates_of_others(connection, sorted(owners))
