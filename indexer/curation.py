"""What is done to enrolled people: rename, merge, remove, restore, erase. Each function is part of one transaction."""

from collections.abc import Sequence

from sqlalchemy import Connection, Row, delete, exists, func, select, update

from indexer.enrolment import hide_templates_of_others
from indexer.errors import GalleryError
from indexer.records import clean_name
from indexer.schema import embedding, gallery, identity, template
from indexer.store import bump_revision, chunks, now, record_audit


def rename(connection: Connection, identity_id: int, new_name: str) -> None:
    """Give a person another name; refused where it is the key of somebody else."""
    row = _person(connection, identity_id)
    name = clean_name(new_name)
    if row.external_id is None:
        other = connection.execute(
            select(identity.c.id, identity.c.removed_at, identity.c.merged_into).where(
                identity.c.name == name, identity.c.external_id.is_(None), identity.c.id != identity_id
            )
        ).first()
        if other is not None:
            state = "merged" if other.merged_into else "removed" if other.removed_at else "enrolled"
            raise GalleryError(
                f"{name!r} is already the name of identity {other.id} ({state});"
                " merge the two, erase one, or tell them apart by external ids"
            )
    connection.execute(update(identity).where(identity.c.id == identity_id).values(name=name))
    record_audit(connection, "rename", [(identity_id, name, {})])
    bump_revision(connection)


def merge(connection: Connection, source_id: int, into_id: int) -> None:
    """Move every template of `source_id` to `into_id`; the source stays as an alias that leads there."""
    if source_id == into_id:
        raise GalleryError(f"identity {source_id} cannot be merged into itself")
    source, into = _person(connection, source_id), _person(connection, into_id)
    for row in (source, into):
        if row.removed_at is not None:
            raise GalleryError(f"identity {row.id} ({row.name}) is removed; restore it before merging")
    # One photo under both (one of the two hidden): the active one stays.
    other = template.alias()
    for loser, winner in ((source_id, into_id), (into_id, source_id)):
        twin = exists().where(
            other.c.identity_id == winner,
            other.c.source_digest == template.c.source_digest,
            other.c.removed_at.is_(None) | template.c.removed_at.is_not(None),
        )
        connection.execute(delete(template).where(template.c.identity_id == loser, twin))
    moved = connection.execute(
        update(template).where(template.c.identity_id == source_id).values(identity_id=into_id)
    ).rowcount
    connection.execute(update(identity).where(identity.c.merged_into == source_id).values(merged_into=into_id))
    connection.execute(update(identity).where(identity.c.id == source_id).values(merged_into=into_id, removed_at=now()))
    record_audit(connection, "merge", [(source_id, source.name, {"into": into_id, "templates": moved})])
    bump_revision(connection)


def remove(connection: Connection, identity_id: int) -> None:
    """Hide a person from every search, until restored."""
    row = _person(connection, identity_id)
    if row.removed_at is None:
        connection.execute(update(identity).where(identity.c.id == identity_id).values(removed_at=now()))
        record_audit(connection, "remove", [(identity_id, row.name, {})])
        bump_revision(connection)


def restore(connection: Connection, identity_id: int) -> None:
    """Bring a removed person back, without the templates removed one by one or since enrolled as somebody else."""
    row = _person(connection, identity_id)
    if row.removed_at is not None:
        connection.execute(update(identity).where(identity.c.id == identity_id).values(removed_at=None))
        hide_templates_of_others(connection, [identity_id])
        record_audit(connection, "restore", [(identity_id, row.name, {})])
        bump_revision(connection)


def remove_templates(connection: Connection, template_ids: Sequence[int]) -> int:
    """Hide single templates; how many were active. Refused, all of them, if one does not exist."""
    wanted = sorted(set(template_ids))
    known: set[int] = set()
    removed = 0
    for piece in chunks(wanted):
        known |= set(connection.execute(select(template.c.id).where(template.c.id.in_(piece))).scalars())
        hidden = update(template).where(template.c.id.in_(piece), template.c.removed_at.is_(None))
        removed += connection.execute(hidden.values(removed_at=now())).rowcount
    if len(known) < len(wanted):
        raise GalleryError(f"there is no template {min(set(wanted) - known)} in this gallery")
    if removed:
        record_audit(connection, "remove_photos", [(None, None, {"templates": removed})])
        bump_revision(connection)
    return removed


def erase(connection: Connection, identity_id: int) -> None:
    """Delete a person, the aliases merged into it, and all their templates; the caller then scrubs the file."""
    row = _person(connection, identity_id)
    people = [
        identity_id,
        *connection.execute(select(identity.c.id).where(identity.c.merged_into == identity_id)).scalars(),
    ]
    doomed = select(template.c.id).where(template.c.identity_id.in_(people))
    count = connection.execute(select(func.count()).select_from(doomed.subquery())).scalar_one()
    record_audit(connection, "erase", [(identity_id, row.name, {"templates": count})])
    connection.execute(delete(embedding).where(embedding.c.template_id.in_(doomed)))
    connection.execute(delete(template).where(template.c.identity_id.in_(people)))
    connection.execute(delete(identity).where(identity.c.merged_into == identity_id))
    connection.execute(delete(identity).where(identity.c.id == identity_id))
    connection.execute(update(gallery).values(erase_pending=1))
    bump_revision(connection)


def _person(connection: Connection, identity_id: int) -> Row[tuple[object, ...]]:
    row = connection.execute(select(identity).where(identity.c.id == identity_id)).first()
    if row is None:
        raise GalleryError(f"there is no identity {identity_id} in this gallery")
    if row.merged_into is not None:
        raise GalleryError(f"identity {identity_id} was merged into identity {row.merged_into}; use that one")
    return row
