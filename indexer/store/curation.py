"""What is done to enrolled people: rename, merge, remove, restore, erase. Each function is part of one transaction.

What can be taken back leaves an undo record with its entry in the trail: see `indexer.store.undo`.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from indexer.errors import GalleryError
from indexer.records import clean_name
from indexer.store.adding import hide_templates, hide_templates_of_others, is_utf8
from indexer.store.deleting import delete_templates
from indexer.store.queries import bump_revision, chunks, keep_undo, next_ids, now, record_audit
from indexer.store.rejections import forget_all
from indexer.store.schema import audit, crop, gallery, identity, template, undo
from indexer.store.sealed_cells import issue_keys, keys_of, reseal_templates, sought
from indexer.store.sealed_rows import change_rows, delete_rows, insert_rows, moving, rows_with, sound_rows
from indexer.store.tombstones import bury


def rename(connection: Connection, identity_id: int, new_name: str) -> None:
    """Give a person another name; refused where it is the key of somebody else.

    The old name stays as an alias, as after a merge, so that enrolling its folder again reaches the person.
    """
    row = person(connection, identity_id)
    set_name(connection, row, new_name)
    alias = _leave_alias(connection, row)
    record_audit(connection, "rename", [(identity_id, {})])
    keep_undo(connection, {"name": row.name, "alias": alias})
    bump_revision(connection)


def _leave_alias(connection: Connection, row: Row[Any]) -> int | None:
    """Let the former name lead to its person; None where it is no key, or leads there by now."""
    named_so = (identity.c.name == sought(connection, row.name)) & identity.c.external_id.is_(None)
    if row.external_id is not None or connection.execute(select(identity.c.id).where(named_so)).first():
        return None
    (alias,) = next_ids(connection, "identity", 1)
    issue_keys(connection, [alias])
    at = now()
    new = {"id": alias, "name": row.name, "external_id": None, "created_at": at, "removed_at": at}
    insert_rows(connection, "identity", [{**new, "merged_into": row.id, "sealed": None}])
    return alias


def set_name(connection: Connection, row: Row[Any], new_name: str) -> None:
    """Write a person's new name; raises InvalidName, and GalleryError where it is the key of somebody else."""
    name = clean_name(new_name)
    if row.external_id is None:
        other = connection.execute(
            select(identity.c.id, identity.c.removed_at, identity.c.merged_into).where(
                identity.c.name == sought(connection, name), identity.c.external_id.is_(None), identity.c.id != row.id
            )
        ).first()
        if other is not None and other.merged_into == row.id:  # an alias of this very person: the two change names
            change_rows(connection, "identity", identity.c.id == other.id, name=secrets.token_hex(16))
            change_rows(connection, "identity", identity.c.id == row.id, name=name)
            change_rows(connection, "identity", identity.c.id == other.id, name=row.name)
            return
        if other is not None:
            state = "merged" if other.merged_into else "removed" if other.removed_at else "enrolled"
            raise GalleryError(
                f"{name!r} is already the name of identity {other.id} ({state});"
                " merge the two, erase one, or tell them apart by external ids"
            )
    change_rows(connection, "identity", identity.c.id == row.id, name=name)


def merge(connection: Connection, source_id: int, into_id: int) -> None:
    """Move every template of `source_id` to `into_id`; the source stays as an alias that leads there."""
    if source_id == into_id:
        raise GalleryError(f"identity {source_id} cannot be merged into itself")
    source, into = person(connection, source_id), person(connection, into_id)
    for row in (source, into):
        if row.removed_at is not None:
            raise GalleryError(f"identity {row.id} ({row.name}) is removed; restore it before merging")
    swapped, stays = _twins(connection, source_id, into_id)
    leaving = select(template.c.id).where(template.c.identity_id == source_id, template.c.id.not_in(stays))
    moved = list(connection.execute(leaving).scalars())
    aliases = list(connection.execute(select(identity.c.id).where(identity.c.merged_into == source_id)).scalars())
    with moving(connection, template.c.identity_id.in_([source_id, into_id])):
        for mine, theirs in swapped:
            swap_templates(connection, mine, theirs)
        for piece in chunks(moved):
            change_rows(connection, "template", template.c.id.in_(piece), identity_id=into_id)
        change_rows(connection, "identity", identity.c.merged_into == source_id, merged_into=into_id)
        change_rows(connection, "identity", identity.c.id == source_id, merged_into=into_id, removed_at=now())
    count = len(moved) + len(swapped)
    record_audit(connection, "merge", [(source_id, {"into": into_id, "templates": count})])
    keep_undo(connection, {"into": into_id, "moved": moved, "swapped": swapped, "aliases": aliases})
    bump_revision(connection)


def remove(connection: Connection, identity_id: int) -> None:
    """Hide a person from every search, until restored."""
    row = person(connection, identity_id)
    if row.removed_at is None:
        with moving(connection, template.c.identity_id == identity_id):
            change_rows(connection, "identity", identity.c.id == identity_id, removed_at=now())
        record_audit(connection, "remove", [(identity_id, {})])
        keep_undo(connection, {})
        bump_revision(connection)


def restore(connection: Connection, identity_id: int) -> None:
    """Bring a removed person back, without the templates removed one by one or since enrolled as somebody else."""
    row = person(connection, identity_id)
    if row.removed_at is not None:
        bring_back(connection, identity_id)
        removals = select(audit.c.id).join(undo).where(audit.c.action == "remove", audit.c.identity_id == identity_id)
        undone = list(connection.execute(removals).scalars())  # this was what there is to take back of them
        delete_rows(connection, "undo", undo.c.audit_id.in_(undone))
        record_audit(connection, "restore", [(identity_id, {"of": undone})])
        bump_revision(connection)


def bring_back(connection: Connection, identity_id: int) -> None:
    """Make a removed person visible again."""
    with moving(connection, template.c.identity_id == identity_id):
        change_rows(connection, "identity", identity.c.id == identity_id, removed_at=None)
    hide_templates_of_others(connection, [identity_id])


def remove_templates(connection: Connection, template_ids: Sequence[int]) -> int:
    """Hide single templates; how many were active. Refused, all of them, if one does not exist."""
    wanted = sorted(set(template_ids))
    known: set[int] = set()
    hidden: list[int] = []
    for piece in chunks(wanted):
        rows = sound_rows(connection, "template", template.c.id.in_(piece))
        known |= {row.id for row in rows}
        hidden += [row.id for row in rows if row.removed_at is None]
    if len(known) < len(wanted):
        raise GalleryError(f"there is no template {min(set(wanted) - known)} in this gallery")
    if hidden:
        hide_templates(connection, hidden)
        record_audit(connection, "remove_photos", [(None, {"templates": len(hidden)})])
        keep_undo(connection, {"templates": sorted(hidden)})
        bump_revision(connection)
    return len(hidden)


def note_places(connection: Connection, sources: Mapping[int, str]) -> None:
    """Note where templates' photos are by now."""
    if not all(isinstance(source, str) and is_utf8(source) for source in sources.values()):
        raise GalleryError("a photo's place is a text in UTF-8")
    known = sum(
        change_rows(connection, "template", template.c.id == template_id, source=source)
        for template_id, source in sources.items()
    )
    if known:
        record_audit(connection, "move", [(None, {"templates": known})])
        bump_revision(connection)


def move_templates(connection: Connection, template_ids: Sequence[int], into_id: int) -> int:
    """Give templates of one person to another, whose photos they are; how many moved.

    Refused, all of them, where one does not exist, is hidden, or is of a photo that `into_id` has already.
    """
    into = person(connection, into_id)
    wanted = sorted(set(template_ids))
    rows = [row for piece in chunks(wanted) for row in sound_rows(connection, "template", template.c.id.in_(piece))]
    shown = {row.id for row in rows if row.removed_at is None}
    if len(shown) < len(wanted):
        raise GalleryError(f"there is no template {min(set(wanted) - shown)} in this gallery, or it is hidden")
    sources = {row.identity_id for row in rows} - {into_id}
    if len(sources) > 1:
        raise GalleryError(f"templates of {len(sources)} people are moved person by person")
    if into.removed_at is not None or any(person(connection, one).removed_at is not None for one in sources):
        raise GalleryError("templates move between people who are enrolled; restore the removed one first")
    moved = [row.id for row in rows if row.identity_id != into_id]
    if not moved:
        return 0
    twin = template.alias()
    taken = (
        select(template.c.id)
        .join(twin, (twin.c.source_digest == template.c.source_digest) & (twin.c.identity_id == into_id))
        .where(template.c.id.in_(moved))
    )
    has_it = connection.execute(taken).scalars().first()
    if has_it is not None:
        raise GalleryError(
            f"identity {into_id} has the photo of template {has_it} already; remove the template instead"
        )
    (source,) = sources
    give_templates(connection, moved, into_id)
    record_audit(connection, "reassign", [(source, {"into": into_id, "templates": len(moved)})])
    keep_undo(connection, {"into": into_id, "templates": moved})
    bump_revision(connection)
    return len(moved)


def give_templates(connection: Connection, template_ids: Sequence[int], into_id: int) -> None:
    """Change whose templates are."""
    for piece in chunks(template_ids):
        theirs = template.c.id.in_(piece)
        with moving(connection, theirs):
            change_rows(connection, "template", theirs, identity_id=into_id)
        reseal(connection, piece)


def reseal(connection: Connection, template_ids: Sequence[int]) -> None:
    """Put templates that changed hands for good under their new owner's key, where each person has one."""
    if keys_of(connection) is None:
        return
    reseal_templates(connection, template_ids)
    for row in sound_rows(connection, "template", template.c.id.in_(template_ids)):
        change_rows(connection, "template", template.c.id == row.id, source=row.source)
    for row in rows_with(connection, "crop", "template_id", template_ids):
        change_rows(connection, "crop", crop.c.template_id == row.template_id, jpeg=row.jpeg)


def erase(connection: Connection, identity_id: int) -> None:
    """Delete a person, the aliases merged into it, all their templates and undo records; the caller then scrubs."""
    person(connection, identity_id)
    aliases = connection.execute(select(identity.c.id).where(identity.c.merged_into == identity_id)).scalars()
    people = [identity_id, *aliases]
    theirs = template.c.identity_id.in_(people)
    digests = [row.source_digest for row in sound_rows(connection, "template", theirs)]
    record_audit(connection, "erase", [(identity_id, {"templates": len(digests)})])
    bury(connection, digests)
    forget_all(connection)  # whose they are is not known: perhaps this person's
    entries = select(audit.c.id).where(audit.c.identity_id.in_(people))
    delete_rows(connection, "undo", undo.c.audit_id.in_(entries))
    delete_templates(connection, theirs)
    delete_rows(connection, "identity", identity.c.merged_into == identity_id)
    delete_rows(connection, "identity", identity.c.id == identity_id)
    connection.execute(update(gallery).values(erase_pending=1))
    bump_revision(connection)


def person(connection: Connection, identity_id: int) -> Row[Any]:
    """Return an identity's row; raises GalleryError for one that is unknown or was merged into another."""
    row = next(iter(sound_rows(connection, "identity", identity.c.id == identity_id)), None)
    if row is None:
        raise GalleryError(f"there is no identity {identity_id} in this gallery")
    if row.merged_into is not None:
        raise GalleryError(f"identity {identity_id} was merged into identity {row.merged_into}; use that one")
    return row


def swap_templates(connection: Connection, one: int, other: int) -> None:
    """Let two templates of one photo change owners."""
    rows = {row.id: row for row in sound_rows(connection, "template", template.c.id.in_([one, other]))}
    if len(rows) < 2:
        return

    def write(template_id: int, **values: Any) -> None:
        change_rows(connection, "template", template.c.id == template_id, **values)

    # An owner has a photo once, also for the moment between the two moves.
    write(other, source_digest=secrets.token_bytes(32))
    write(one, identity_id=rows[other].identity_id)
    write(other, identity_id=rows[one].identity_id)
    write(other, source_digest=rows[other].source_digest)


def _twins(connection: Connection, source_id: int, into_id: int) -> tuple[list[list[int]], list[int]]:
    """One photo under both people, hidden under one of them at least: what to do with each of the source's.

    Returns the pairs [source's, other's] that change places, because the source's is the visible one, and the ids of
    the source's that stay where they are, under the alias: nothing is deleted, so that the merge can be undone.
    """
    other = template.alias()
    query = (
        select(template.c.id, other.c.id.label("twin"), template.c.removed_at, other.c.removed_at.label("its_removal"))
        .join(other, other.c.source_digest == template.c.source_digest)
        .where(template.c.identity_id == source_id, other.c.identity_id == into_id)
    )
    swapped, stays = [], []
    for row in connection.execute(query):
        if row.removed_at is None and row.its_removal is not None:
            swapped.append([row.id, row.twin])
        stays.append(row.id)
    return swapped, stays
