"""Taking back: remove, merge, rename, move and remove_templates from their undo records, until these are purged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from indexer.errors import GalleryError, StoreDamaged
from indexer.store import curation
from indexer.store.adding import hide_templates, hide_templates_of_others
from indexer.store.deleting import delete_templates
from indexer.store.queries import bump_revision, chunks, record_audit
from indexer.store.schema import audit, gallery, identity, template, undo
from indexer.store.sealed_rows import change_rows, delete_rows, every_row, moving, rows_with, sound_rows

_BLOCKING = ("remove", "merge", "rename", "remove_photos", "reassign")
"""A later one of these about the same people must be taken back first; enrolments and restores are no obstacle."""


@dataclass(frozen=True)
class Undoable:
    """An entry of the trail that can be taken back: its id, time (ISO 8601, UTC), action and whom it was about."""

    id: int
    at: str
    action: str
    identity_ids: tuple[int, ...]


def undoable(connection: Connection) -> list[Undoable]:
    """Return what can be taken back, newest first: nothing about somebody who was erased since.

    Raises StoreDamaged where rows of people or of the trail are missing.
    """
    kept = _kept(connection)
    there = _not_erased(connection, {one for entry in kept for one in entry.identity_ids})
    return [entry for entry in kept if there.issuperset(entry.identity_ids)]


def _not_erased(connection: Connection, about: set[int]) -> set[int]:
    """Return those of some people who are in the gallery, in whatever state. Raises StoreDamaged."""
    there: set[int] = set()
    for piece in chunks(sorted(about)):
        there.update(connection.execute(select(identity.c.id).where(identity.c.id.in_(piece))).scalars())
    if there != about:
        every_row(connection, "identity")  # whoever is not there was erased, not lost
    return there


def _kept(connection: Connection) -> list[Undoable]:
    """Return every entry that has an undo record, newest first."""
    payloads = {row.audit_id: json.loads(row.payload) for row in every_row(connection, "undo")}
    entries = [row for piece in chunks(sorted(payloads)) for row in rows_with(connection, "audit", "id", piece)]
    found = []
    for row in reversed(entries):
        ids = {row.identity_id, payloads[row.id].get("into")} - {None}
        found.append(Undoable(row.id, row.at, row.action, tuple(sorted(ids))))
    if len(found) < len(payloads):
        raise StoreDamaged("entries of the database's trail are gone; restore a backup or an export")
    return found


def take_back(connection: Connection, audit_id: int | None) -> Undoable:
    """Undo one entry of the trail, the newest if none is named; raises GalleryError where that is not possible."""
    candidates = undoable(connection)
    if audit_id is None and candidates:
        audit_id = candidates[0].id
    entry = next((one for one in candidates if one.id == audit_id), None)
    if entry is None:
        if audit_id is None:
            raise GalleryError("there is nothing to undo")
        raise GalleryError(
            f"entry {audit_id} of the trail cannot be undone: it was undone, purged, erased, or is no remove, merge,"
            " move or rename; `faceid gallery undo --list` shows what can"
        )
    (row,) = sound_rows(connection, "undo", undo.c.audit_id == audit_id)
    payload = json.loads(row.payload)
    _refuse_if_later(connection, entry)
    if entry.action == "remove_photos":
        _refuse_if_hidden_again(connection, entry, payload["templates"])
    {"rename": _rename, "remove": _remove, "merge": _merge, "reassign": _reassign, "remove_photos": _remove_photos}[
        entry.action
    ](connection, entry, payload)
    delete_rows(connection, "undo", undo.c.audit_id == entry.id)
    about = entry.identity_ids[0] if len(entry.identity_ids) == 1 else None
    record_audit(connection, "undo", [(about, {"of": entry.id, "action": entry.action})])
    bump_revision(connection)
    return entry


def purge(connection: Connection, older_than: timedelta) -> int:
    """Delete undo records of at least that age, and copies of photos that only an undo would need; how many records.

    The aliases that renames left go too. The caller then scrubs: a record, or an alias, holds a former name.
    """
    before = (datetime.now(UTC) - older_than).strftime("%Y-%m-%dT%H:%M:%SZ")
    old = [one.id for one in _kept(connection) if one.at <= before]
    if not old:
        return 0
    for piece in chunks(old):
        for row in sound_rows(connection, "undo", undo.c.audit_id.in_(piece)):
            if (alias := json.loads(row.payload).get("alias")) is not None:
                delete_rows(connection, "identity", _is_mere_alias(alias))
        delete_rows(connection, "undo", undo.c.audit_id.in_(piece))
    mergers = select(audit.c.identity_id).join(undo, undo.c.audit_id == audit.c.id).where(audit.c.action == "merge")
    aliases = select(identity.c.id).where(identity.c.merged_into.is_not(None), identity.c.id.not_in(mergers))
    leftover = template.c.identity_id.in_(aliases)
    delete_templates(connection, leftover)
    record_audit(connection, "purge", [(None, {"records": len(old)})])
    connection.execute(update(gallery).values(erase_pending=1))
    bump_revision(connection)
    return len(old)


def _refuse_if_later(connection: Connection, entry: Undoable) -> None:
    """Raise GalleryError where a later entry must be taken back first: none that is past taking back."""
    undone: set[int] = set()
    for row in sound_rows(connection, "audit", audit.c.action.in_(("undo", "restore"))):
        of = json.loads(row.details).get("of", [])
        undone.update(of if isinstance(of, list) else [of])
    later = sound_rows(connection, "audit", (audit.c.id > entry.id) & audit.c.action.in_(_BLOCKING))
    about = {row.id: {row.identity_id, json.loads(row.details).get("into")} - {None} for row in later}
    there = _not_erased(connection, set().union(*about.values()))
    for row in reversed(later):
        if row.id not in undone and about[row.id] & set(entry.identity_ids) and about[row.id] <= there:
            raise GalleryError(
                f"entry {row.id} ({row.action}) came later and is about the same people as entry {entry.id}"
                f" ({entry.action}); undo or reverse that one first"
            )


def _refuse_if_hidden_again(connection: Connection, entry: Undoable, template_ids: Sequence[int]) -> None:
    """Raise GalleryError where a later entry hides or moves some of the same photos, which were restored between."""
    for row in reversed(sound_rows(connection, "undo", undo.c.audit_id > entry.id)):
        if not set(template_ids).isdisjoint(json.loads(row.payload).get("templates", ())):
            raise GalleryError(
                f"entry {row.audit_id} came later and is about the same photos as entry {entry.id} ({entry.action});"
                " undo that one first"
            )


def _rename(connection: Connection, entry: Undoable, payload: dict[str, Any]) -> None:
    if payload.get("alias") is not None:
        delete_rows(connection, "identity", _is_mere_alias(payload["alias"]))
    curation.set_name(connection, curation.person(connection, entry.identity_ids[0]), payload["name"])


def _is_mere_alias(identity_id: int) -> ColumnElement[bool]:
    """Whether an identity is a former name and nothing else: it leads to a person and owns no template."""
    owns = select(template.c.id).where(template.c.identity_id == identity.c.id).exists()
    return (identity.c.id == identity_id) & identity.c.merged_into.is_not(None) & ~owns


def _remove(connection: Connection, entry: Undoable, payload: dict[str, Any]) -> None:
    curation.bring_back(connection, entry.identity_ids[0])


def _merge(connection: Connection, entry: Undoable, payload: dict[str, Any]) -> None:
    into_id = payload["into"]
    source_id = next(one for one in entry.identity_ids if one != into_id)
    with moving(connection, template.c.identity_id.in_([source_id, into_id])):
        for mine, theirs in payload["swapped"]:
            curation.swap_templates(connection, mine, theirs)
        for piece in chunks(payload["moved"]):
            still = template.c.id.in_(piece) & (template.c.identity_id == into_id)
            change_rows(connection, "template", still, identity_id=source_id)
        back = identity.c.id.in_(payload["aliases"]) & (identity.c.merged_into == into_id)
        change_rows(connection, "identity", back, merged_into=source_id)
        change_rows(connection, "identity", identity.c.id == source_id, merged_into=None, removed_at=None)
    # What was done to them meanwhile (a move and its undoing, another place or model) left them under the other's key.
    for piece in chunks([*payload["moved"], *chain.from_iterable(payload["swapped"])]):
        curation.reseal(connection, piece)
    hide_templates_of_others(connection, [source_id])


def _reassign(connection: Connection, entry: Undoable, payload: dict[str, Any]) -> None:
    into_id = payload["into"]
    source_id = next(one for one in entry.identity_ids if one != into_id)
    rows = [
        row
        for piece in chunks(payload["templates"])
        for row in sound_rows(connection, "template", template.c.id.in_(piece) & (template.c.identity_id == into_id))
    ]
    known = {
        row.source_digest
        for piece in chunks([row.source_digest for row in rows])
        for row in rows_with(connection, "template", "source_digest", piece)
        if row.identity_id == source_id
    }
    # A photo that was enrolled anew under the one whose it was is there already: the copy that was moved is hidden.
    hide_templates(connection, [row.id for row in rows if row.source_digest in known])
    back = [row.id for row in rows if row.source_digest not in known]
    curation.give_templates(connection, back, source_id)
    hide_templates_of_others(connection, [source_id])


def _remove_photos(connection: Connection, entry: Undoable, payload: dict[str, Any]) -> None:
    owners: set[int] = set()
    for piece in chunks(payload["templates"]):
        mine = template.c.id.in_(piece)
        with moving(connection, mine):
            change_rows(connection, "template", mine, removed_at=None)
        # Who is removed shows nothing: what became somebody else's meanwhile is looked at when the person comes back.
        shown = select(template.c.identity_id).join(identity, identity.c.id == template.c.identity_id)
        owners |= set(connection.execute(shown.where(mine, identity.c.removed_at.is_(None))).scalars())
    hide_templates_of_others(connection, sorted(owners))
