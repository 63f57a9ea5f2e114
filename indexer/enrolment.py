"""Adding templates to the database: incremental, idempotent by the photo's digest, all of a call or none of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, insert, or_, select, update

from indexer.errors import InvalidName, VectorError
from indexer.records import Added, NewTemplate, clean_name
from indexer.schema import embedding, identity, template
from indexer.store import bump_revision, chunks, gallery_row, now, record_audit
from indexer.vector_index import check_vectors

Key = tuple[str | None, str]
"""What tells people apart: (external id, '') where there is one, else (None, name)."""


@dataclass(eq=False)
class Person:
    """An identity during one call; a new one gets its id with its first template."""

    name: str
    external_id: str | None
    id: int | None = None
    removed: bool = False
    restored: bool = False
    new_templates: int = 0


@dataclass(eq=False)
class Photo:
    """A template that is in the database (it has an id), or will be when this call ends."""

    person: Person
    id: int | None = None
    removed: bool = False
    restored: bool = False
    new: NewTemplate | None = None


@dataclass
class Verdict:
    """What becomes of one NewTemplate, before ids are known."""

    status: str
    person: Person | None = None
    photo: Photo | None = None
    reason_codes: tuple[str, ...] = field(default=())


def add_templates(connection: Connection, new: Sequence[NewTemplate], restore: bool) -> list[Added]:
    """One Added for each template, in order.

    Raises VectorError, and writes nothing, for a vector that is no embedding of this gallery's model or a digest that
    is no SHA-256.
    """
    model_id = _check(connection, new)
    spellings = {(one.name, one.external_id) for one in new}
    key_of = {spelling: _key(*spelling) for spelling in spellings}
    keys = [key_of[one.name, one.external_id] for one in new]
    people = _load_people(connection, [key for key in keys if key is not None])
    photos = _load_photos(connection, new, people)
    verdicts = [_judge(one, key, people, photos, restore) for one, key in zip(new, keys, strict=True)]
    _write(connection, model_id, verdicts)
    return [
        Added(
            verdict.status,  # type: ignore[arg-type]
            verdict.photo.id if verdict.photo else None,
            verdict.person.id if verdict.person else None,
            verdict.reason_codes,
        )
        for verdict in verdicts
    ]


def hide_templates_of_others(connection: Connection, identity_ids: Sequence[int]) -> None:
    """After a restore: a photo that became another person's in the meantime stays hidden under the restored one."""
    other, owner = template.alias(), identity.alias()
    taken = (
        select(other.c.id)
        .join(owner, owner.c.id == other.c.identity_id)
        .where(
            other.c.source_digest == template.c.source_digest,
            other.c.identity_id != template.c.identity_id,
            other.c.removed_at.is_(None),
            owner.c.removed_at.is_(None),
        )
        .exists()
    )
    for identity_id in identity_ids:
        connection.execute(
            update(template)
            .where(template.c.identity_id == identity_id, template.c.removed_at.is_(None), taken)
            .values(removed_at=now())
        )


def _check(connection: Connection, new: Sequence[NewTemplate]) -> int:
    row = gallery_row(connection)
    for one in new:
        if one.vector.shape != (row.model.dimension,) or one.vector.dtype != np.float32:
            raise VectorError(
                f"the vector of {one.source} is {one.vector.dtype} {list(one.vector.shape)};"
                f" model {row.model.name} gives float32 [{row.model.dimension}]"
            )
        if len(one.source_digest) != 32:
            raise VectorError(f"the digest of {one.source} has {len(one.source_digest)} bytes; SHA-256 has 32")
    if new:
        check_vectors(np.stack([one.vector for one in new]), row.model.dimension)
    return row.model_id


def _key(name: str, external_id: str | None) -> Key | None:
    try:
        cleaned = clean_name(name)
        return (None, cleaned) if external_id is None else (clean_name(external_id), "")
    except InvalidName:
        return None


def _load_people(connection: Connection, keys: Sequence[Key]) -> dict[Key, Person]:
    """Return the people the keys mean; a merged one's key means the person it was merged into."""
    rows: list[Row[Any]] = []
    for piece in chunks(list(dict.fromkeys(keys))):
        external_ids = [key[0] for key in piece if key[0] is not None]
        names = [key[1] for key in piece if key[0] is None]
        by_name = identity.c.external_id.is_(None) & identity.c.name.in_(names)
        rows += connection.execute(select(identity).where(or_(identity.c.external_id.in_(external_ids), by_name))).all()
    targets = {row.merged_into for row in rows} - {None}
    by_id = {
        row.id: Person(row.name, row.external_id, row.id, row.removed_at is not None)
        for row in [*rows, *connection.execute(select(identity).where(identity.c.id.in_(targets)))]
    }
    return {
        (None, row.name) if row.external_id is None else (row.external_id, ""): by_id[row.merged_into or row.id]
        for row in rows
    }


def _load_photos(
    connection: Connection, new: Sequence[NewTemplate], people: dict[Key, Person]
) -> dict[bytes, list[Photo]]:
    """By digest, the templates that the photos of this call already have, under whomever."""
    by_id = {person.id: person for person in people.values()}
    photos: dict[bytes, list[Photo]] = {}
    columns = (template.c.id, template.c.source_digest, template.c.removed_at.label("hidden"))
    query = select(
        *columns, identity.c.id.label("owner"), identity.c.name, identity.c.external_id, identity.c.removed_at
    )
    for piece in chunks(list(dict.fromkeys(one.source_digest for one in new))):
        for row in connection.execute(query.join(identity).where(template.c.source_digest.in_(piece))):
            person = by_id.setdefault(
                row.owner, Person(row.name, row.external_id, row.owner, row.removed_at is not None)
            )
            photos.setdefault(row.source_digest, []).append(Photo(person, row.id, row.hidden is not None))
    return photos


def _judge(
    one: NewTemplate,
    key: Key | None,
    people: dict[Key, Person],
    photos: dict[bytes, list[Photo]],
    restore: bool,
) -> Verdict:
    if key is None:
        return Verdict("rejected", reason_codes=("invalid_name",))
    person = people.get(key)
    if person is None:
        person = people[key] = Person(clean_name(one.name), key[0])
    same = photos.setdefault(one.source_digest, [])
    mine = next((photo for photo in same if photo.person is person), None)
    if not restore and (person.removed or (mine is not None and mine.removed)):
        return Verdict("rejected", person, mine, ("removed",))
    if any(not photo.removed and not photo.person.removed for photo in same if photo.person is not person):
        return Verdict("rejected", person, None, ("enrolled_as_someone_else",))
    person.restored |= person.removed
    person.removed = False
    if mine is None:
        mine = Photo(person, new=one)
        same.append(mine)
        person.new_templates += 1
        return Verdict("enrolled", person, mine)
    mine.restored |= mine.removed
    mine.removed = False
    if mine.new is None and (mine.restored or person.restored):
        return Verdict("enrolled", person, mine, ("restored",))
    return Verdict("already_enrolled", person, mine)


def _write(connection: Connection, model_id: int, verdicts: Sequence[Verdict]) -> None:
    photos = list({id(verdict.photo): verdict.photo for verdict in verdicts if verdict.photo}.values())
    people = list({id(verdict.person): verdict.person for verdict in verdicts if verdict.person}.values())
    fresh = [photo for photo in photos if photo.new is not None]
    restored = [person.id for person in people if person.restored and person.id is not None]
    revived = [photo.id for photo in photos if photo.restored and photo.id is not None]
    if not (fresh or restored or revived):
        return
    _insert_people(connection, [person for person in people if person.id is None and person.new_templates])
    _insert_templates(connection, model_id, fresh)
    for piece in chunks(restored):
        connection.execute(update(identity).where(identity.c.id.in_(piece)).values(removed_at=None))
    for piece in chunks(revived):
        connection.execute(update(template).where(template.c.id.in_(piece)).values(removed_at=None))
    hide_templates_of_others(connection, restored)
    touched = [person for person in people if person.new_templates or person.restored]
    record_audit(
        connection,
        "enroll",
        [(person.id, person.name, {"templates": person.new_templates}) for person in touched],
    )
    bump_revision(connection)


def _insert_people(connection: Connection, people: Sequence[Person]) -> None:
    if not people:
        return
    created_at = now()
    rows = [{"name": one.name, "external_id": one.external_id, "created_at": created_at} for one in people]
    # Rows of a batched RETURNING come in any order: each is known by its key.
    returned = connection.execute(
        insert(identity).returning(identity.c.id, identity.c.name, identity.c.external_id), rows
    )
    ids = {(None, name) if external_id is None else (external_id, ""): key for key, name, external_id in returned}
    for person in people:
        person.id = ids[(None, person.name) if person.external_id is None else (person.external_id, "")]


def _insert_templates(connection: Connection, model_id: int, photos: Sequence[Photo]) -> None:
    if not photos:
        return
    created_at = now()
    rows = [_row(photo, created_at) for photo in photos]
    returned = connection.execute(
        insert(template).returning(template.c.id, template.c.identity_id, template.c.source_digest), rows
    )
    ids = {(identity_id, digest): template_id for template_id, identity_id, digest in returned}
    vectors = []
    for photo in photos:
        assert photo.new is not None
        photo.id = ids[photo.person.id, photo.new.source_digest]
        blob = photo.new.vector.astype("<f4").tobytes()
        vectors.append({"template_id": photo.id, "model_id": model_id, "vector": blob})
    vectors.sort(key=lambda row: row["template_id"])  # appended in the tree's own order
    connection.execute(insert(embedding), vectors)


def _row(photo: Photo, created_at: str) -> dict[str, Any]:
    one = photo.new
    assert one is not None
    x, y, width, height = one.box or (None, None, None, None)
    return {
        "identity_id": photo.person.id,
        "source": one.source,
        "source_digest": one.source_digest,
        "box_x": x,
        "box_y": y,
        "box_width": width,
        "box_height": height,
        "detection_score": one.detection_score,
        "quality": one.quality,
        "precision": one.precision,
        "created_at": created_at,
    }
