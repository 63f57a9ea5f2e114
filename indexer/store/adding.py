"""Adding templates to the database: incremental, idempotent by the photo's digest, all of a call or none of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, and_, or_, select

from indexer.errors import GalleryError, InvalidName, VectorError
from indexer.records import Added, ModelBinding, NewTemplate, clean_name
from indexer.search.scores import check_vectors
from indexer.store.bulk import insert_sealed, insert_vectors
from indexer.store.checksum import checksum
from indexer.store.crops import is_crop, keep_crops
from indexer.store.queries import bump_revision, chunks, gallery_row, next_ids, now, owner_rows, record_audit
from indexer.store.schema import identity, template
from indexer.store.sealed_cells import issue_keys, sealed_tuple, sought_values
from indexer.store.sealed_rows import change_rows, moving, rows_with, sound_rows
from indexer.store.tally import count_in, pair_sum
from indexer.store.tombstones import unbury

_PRECISIONS = ("float32", "bfloat16")
_ROWS = 10_000  # inserted at a time

Key = tuple[str | None, str]
"""What tells people apart: (external id, '') where there is one, else (None, name)."""


@dataclass(eq=False, slots=True)
class Person:
    """An identity during one call; a new one gets its id with its first template."""

    name: str
    external_id: str | None
    id: int | None = None
    removed: bool = False
    restored: bool = False
    new_templates: int = 0


@dataclass(eq=False, slots=True)
class TemplateEntry:
    """A template that is in the database (it has an id), or will be when this call ends."""

    person: Person
    id: int | None = None
    removed: bool = False
    restored: bool = False
    new: NewTemplate | None = None


@dataclass(slots=True)
class Verdict:
    """What becomes of one NewTemplate, before ids are known."""

    status: str
    person: Person | None = None
    photo: TemplateEntry | None = None
    reason_codes: tuple[str, ...] = field(default=())


def add_templates(
    connection: Connection, new: Sequence[NewTemplate], restore: bool, to_hide: Sequence[bool] | None = None
) -> list[Added]:
    """One Added for each template, in order.

    Those that the caller is going to hide (`to_hide`, one for each) may be of photos that somebody else shows. Raises
    what `check_templates` raises, and then writes nothing.
    """
    row = gallery_row(connection)
    check_templates(new, row.model)
    spellings = {(one.name, one.external_id) for one in new}
    key_of = {spelling: _key(*spelling) for spelling in spellings}
    keys = [key_of[one.name, one.external_id] for one in new]
    people = _load_people(connection, [key for key in keys if key is not None])
    photos = _load_photos(connection, new, people)
    hiding = [False] * len(new) if to_hide is None else to_hide
    verdicts = [
        _judge(one, key, people, photos, restore, hide) for one, key, hide in zip(new, keys, hiding, strict=True)
    ]
    _write(connection, row.model_id, verdicts)
    return [
        Added(
            verdict.status,  # type: ignore[arg-type]
            verdict.photo.id if verdict.photo else None,
            verdict.person.id if verdict.person else None,
            verdict.reason_codes,
            verdict.person.name if verdict.person else None,
        )
        for verdict in verdicts
    ]


def meant(connection: Connection, names: Sequence[tuple[str, str | None]]) -> list[int | None]:
    """Return whom names with external ids mean, as `add_templates` takes them; None for somebody new, or no name."""
    keys = [_key(*name) for name in names]
    people = _load_people(connection, [key for key in keys if key is not None])
    return [None if key is None or key not in people else people[key].id for key in keys]


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
        theirs = and_(template.c.identity_id == identity_id, template.c.removed_at.is_(None), taken)
        with moving(connection, theirs):
            change_rows(connection, "template", theirs, removed_at=now())


def hide_templates(connection: Connection, template_ids: Sequence[int]) -> None:
    """Hide single templates."""
    for piece in chunks(template_ids):
        theirs = template.c.id.in_(piece) & template.c.removed_at.is_(None)
        with moving(connection, theirs):
            change_rows(connection, "template", theirs, removed_at=now())


def check_templates(new: Sequence[NewTemplate], bound: ModelBinding) -> None:
    """Raise VectorError for a vector that is none of this model's, GalleryError for a description that makes no sense.

    Every number is finite, a box has an extent, the digest is a SHA-256, texts are texts: what is not cannot be kept,
    or not be found to be what was written.
    """
    for one in new:
        if one.vector.shape != (bound.dimension,) or one.vector.dtype != np.float32:
            raise VectorError(
                f"the vector of {one.source} is {one.vector.dtype} {list(one.vector.shape)};"
                f" model {bound.name} gives float32 [{bound.dimension}]"
            )
        if wrong := _nonsense(one):
            raise GalleryError(f"the template of {one.source!r:.300} cannot be kept: {wrong}")
    for piece in chunks(new):
        check_vectors(np.stack([one.vector for one in piece]), bound.dimension)


def _nonsense(one: NewTemplate) -> str | None:
    """Return what is wrong with a template's description, if something is."""
    if not isinstance(one.source, str) or not is_utf8(one.source):
        return "its source is no text"
    if not isinstance(one.source_digest, bytes) or len(one.source_digest) != 32:
        return "its digest is no SHA-256 (32 bytes)"
    if one.precision not in _PRECISIONS:
        return f"its precision is {one.precision!r:.40}, not one of {', '.join(_PRECISIONS)}"
    numbers = (one.detection_score, one.quality, *(one.box or ()))
    if not all(number is None or _is_finite(number) for number in numbers):
        return f"a number is not finite (score {one.detection_score}, quality {one.quality}, box {one.box})"
    if one.box is not None and not (len(one.box) == 4 and one.box[2] > 0 and one.box[3] > 0):
        return f"its box {one.box} has no extent"
    if one.crop is not None and not is_crop(one.crop):
        return "its picture is no small JPEG"
    return None


def _is_finite(number: object) -> bool:
    if type(number) is float:
        return math.isfinite(number)
    try:
        return isinstance(number, int | float | np.number) and math.isfinite(number)
    except (TypeError, OverflowError):  # complex, or an integer that no double holds
        return False


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


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
        named = sought_values(connection, "identity", "name", names)
        known = sought_values(connection, "identity", "external_id", external_ids)
        by_name = identity.c.external_id.is_(None) & identity.c.name.in_(named)
        rows += sound_rows(connection, "identity", or_(identity.c.external_id.in_(known), by_name))
    owners = owner_rows(connection, {row.merged_into or row.id for row in rows})
    by_id = {row.id: Person(row.name, row.external_id, row.id, row.removed_at is not None) for row in owners.values()}
    return {
        (None, row.name) if row.external_id is None else (row.external_id, ""): by_id[row.merged_into or row.id]
        for row in rows
    }


def _load_photos(
    connection: Connection, new: Sequence[NewTemplate], people: dict[Key, Person]
) -> dict[bytes, list[TemplateEntry]]:
    """By digest, the templates that the photos of this call already have, under whomever."""
    by_id = {person.id: person for person in people.values()}
    photos: dict[bytes, list[TemplateEntry]] = {}
    for piece in chunks(list({one.source_digest for one in new})):
        rows = rows_with(connection, "template", "source_digest", piece)
        for owner in owner_rows(connection, {row.identity_id for row in rows}).values():
            by_id.setdefault(owner.id, Person(owner.name, owner.external_id, owner.id, owner.removed_at is not None))
        for row in rows:
            mine = TemplateEntry(by_id[row.identity_id], row.id, row.removed_at is not None)
            photos.setdefault(row.source_digest, []).append(mine)
    return photos


def _judge(
    one: NewTemplate,
    key: Key | None,
    people: dict[Key, Person],
    photos: dict[bytes, list[TemplateEntry]],
    restore: bool,
    hide: bool,
) -> Verdict:
    if key is None:
        return Verdict("rejected", reason_codes=("invalid_name",))
    person = people.get(key)
    if person is None:
        person = people[key] = Person(clean_name(one.name), key[0])
    same = photos.get(one.source_digest)
    if same is None and not person.removed:  # the plain case of a photo that is new to the gallery
        mine = TemplateEntry(person, new=one)
        photos[one.source_digest] = [mine]
        person.new_templates += 1
        return Verdict("enrolled", person, mine)
    same = photos.setdefault(one.source_digest, [])
    known = next((photo for photo in same if photo.person is person), None)
    if hide and known is not None and (person.removed or known.removed):
        return Verdict("already_enrolled", person, known)  # hidden there and here: the two agree
    if not restore and (person.removed or (known is not None and known.removed)):
        return Verdict("rejected", person, known, ("removed",))
    shown = any(not photo.removed and not photo.person.removed for photo in same if photo.person is not person)
    if shown and not hide:
        return Verdict("rejected", person, None, ("enrolled_as_someone_else",))
    person.restored |= person.removed
    person.removed = False
    if known is None:
        mine = TemplateEntry(person, new=one)
        same.append(mine)
        person.new_templates += 1
        return Verdict("enrolled", person, mine)
    known.restored |= known.removed
    known.removed = False
    if known.new is None and (known.restored or person.restored):
        return Verdict("enrolled", person, known, ("restored",))
    return Verdict("already_enrolled", person, known)


def _write(connection: Connection, model_id: int, verdicts: Sequence[Verdict]) -> None:
    photos = list({id(verdict.photo): verdict.photo for verdict in verdicts if verdict.photo}.values())
    people = list({id(verdict.person): verdict.person for verdict in verdicts if verdict.person}.values())
    fresh = [photo for photo in photos if photo.new is not None]
    restored = [person.id for person in people if person.restored and person.id is not None]
    revived = [photo.id for photo in photos if photo.restored and photo.id is not None]
    if not (fresh or restored or revived):
        return
    _insert_people(connection, [person for person in people if person.id is None and person.new_templates])
    for piece in chunks(restored):
        with moving(connection, template.c.identity_id.in_(piece)):
            change_rows(connection, "identity", identity.c.id.in_(piece), removed_at=None)
    for piece in chunks(revived):
        with moving(connection, template.c.id.in_(piece)):
            change_rows(connection, "template", template.c.id.in_(piece), removed_at=None)
    _insert_templates(connection, model_id, fresh)
    unbury(connection, [photo.new.source_digest for photo in fresh if photo.new is not None])
    hide_templates_of_others(connection, restored)
    touched = [person for person in people if person.new_templates or person.restored]
    record_audit(connection, "enroll", [(person.id, {"templates": person.new_templates}) for person in touched])
    bump_revision(connection)


def _insert_people(connection: Connection, people: Sequence[Person]) -> None:
    created_at = now()
    rows = []
    ids = next_ids(connection, "identity", len(people))
    issue_keys(connection, ids)
    for person, new_id in zip(people, ids, strict=True):
        person.id = new_id
        row = (person.id, person.name, person.external_id, created_at, None, None, None)
        row = sealed_tuple(connection, "identity", row)
        rows.append((*row, checksum(*row)))
    if rows:
        insert_sealed(connection, "identity", rows)
        count_in(connection, "identity", len(rows), sum(row[-1] for row in rows), rows[-1][0])


def _insert_templates(connection: Connection, model_id: int, photos: Sequence[TemplateEntry]) -> None:
    created_at = now()
    ids = next_ids(connection, "template", len(photos))
    for start in range(0, len(photos), _ROWS):
        rows, vectors = [], []
        for photo, new_id in zip(photos[start : start + _ROWS], ids[start : start + _ROWS], strict=True):
            one, photo.id = photo.new, new_id
            assert one is not None
            row = sealed_tuple(connection, "template", (new_id, photo.person.id, *_described(one), created_at, None))
            rows.append((*row, checksum(*row)))
            vectors.append(one.vector)
        insert_sealed(connection, "template", rows)
        _count_templates(connection, rows)
        numbers, owners = [row[0] for row in rows], [row[1] for row in rows]
        insert_vectors(connection, np.array(numbers, np.int64), model_id, np.stack(vectors), owners)
    pictures = [(photo.id, photo.new.crop) for photo in photos if photo.new is not None]
    keep_crops(connection, {new_id: jpeg for new_id, jpeg in pictures if new_id is not None and jpeg is not None})


def _count_templates(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Count new rows (id, owner, ..., checksum), visible all of them, of people who are not removed (by now)."""
    pairs = np.array([row[:2] for row in rows], np.int64)
    weight = pair_sum(pairs[:, 0], pairs[:, 1])
    count_in(connection, "template", len(rows), sum(row[-1] for row in rows), rows[-1][0])
    count_in(connection, "visible", len(rows), weight)
    count_in(connection, "active", len(rows), weight)


def _described(one: NewTemplate) -> tuple[str | bytes | float | None, ...]:
    """Return what a template's row says about its photo, in the checksum's order, numbers as SQLite gives them."""
    box = (None,) * 4 if one.box is None else tuple(float(side) for side in one.box)
    score = None if one.detection_score is None else float(one.detection_score)
    quality = None if one.quality is None else float(one.quality)
    return (one.source, one.source_digest, *box, score, quality, one.precision)
