"""What the gallery asks of its database: every read, and the small facts that each write shares."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import numpy as np
from sqlalchemy import Connection, Select, and_, func, insert, or_, select, update

from indexer.decision import Calibration
from indexer.errors import GalleryError, StoreDamaged
from indexer.records import (
    Embeddings,
    Enrolled,
    FloatVector,
    Fusion,
    Identity,
    Ids,
    ModelBinding,
    TemplateRow,
    clean_name,
)
from indexer.schema import audit, calibration, embedding, gallery, identity, model, template

_CHUNK = 5_000  # bound parameters in one statement; SQLite's own limit is 32,766 or more

_T = TypeVar("_T")


@dataclass(frozen=True)
class GalleryRow:
    """The one row that says what this gallery is and how far it has come."""

    uuid: str
    fusion: Fusion
    revision: int
    erase_pending: bool
    model_id: int
    model: ModelBinding
    audit_salt: bytes


def gallery_row(connection: Connection) -> GalleryRow:
    """Return the gallery's row with its model; raises StoreDamaged if it is missing."""
    row = connection.execute(select(gallery, model).join(model, gallery.c.model_id == model.c.id)).mappings().first()
    if row is None:
        raise StoreDamaged("the database says nothing about its gallery or model; restore it from a backup")
    return GalleryRow(
        uuid=row[gallery.c.uuid],
        fusion=cast(Fusion, row[gallery.c.fusion]),
        revision=row[gallery.c.revision],
        erase_pending=bool(row[gallery.c.erase_pending]),
        model_id=row[model.c.id],
        model=ModelBinding(row[model.c.name], row[model.c.digest], row[model.c.dimension]),
        audit_salt=row[gallery.c.audit_salt],
    )


def revision(connection: Connection) -> int:
    """Return the gallery's revision: it grows with every change that a search or a listing could show."""
    return int(connection.execute(select(gallery.c.revision)).scalar_one())


def bump_revision(connection: Connection) -> None:
    """Count one change; part of every transaction that changes what can be seen."""
    connection.execute(update(gallery).values(revision=gallery.c.revision + 1))


def record_audit(connection: Connection, action: str, people: Iterable[tuple[int | None, str | None, Any]]) -> None:
    """Append to the trail, for each (identity id, name, details): a salted digest of the name, never the name."""
    salt = connection.execute(select(gallery.c.audit_salt)).scalar_one()
    rows = [
        {
            "at": now(),
            "action": action,
            "identity_id": identity_id,
            "digest": None if name is None else hashlib.sha256(salt + name.encode()).digest(),
            "details": json.dumps(details, sort_keys=True),
        }
        for identity_id, name, details in people
    ]
    if rows:
        connection.execute(insert(audit), rows)


def now() -> str:
    """Return the time as the database keeps it: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def chunks(values: Sequence[_T], size: int = _CHUNK) -> Iterator[Sequence[_T]]:
    """Return the values in pieces that fit into one statement's parameters."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def size(connection: Connection) -> int:
    """N: identities that a search can return, those not removed with at least one active template."""
    return int(
        connection.execute(
            select(func.count(func.distinct(template.c.identity_id))).join(identity).where(_active)
        ).scalar_one()
    )


def active_templates(connection: Connection) -> tuple[Ids, Ids]:
    """Ids of the active templates [n] in order, and the identity of each [n], int64."""
    rows = connection.execute(
        select(template.c.id, template.c.identity_id).join(identity).where(_active).order_by(template.c.id)
    ).all()
    pairs = np.array([tuple(row) for row in rows], np.int64).reshape(-1, 2)
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])


def embeddings(connection: Connection, template_ids: Ids | None = None) -> Embeddings:
    """Return the active templates' vectors in order of template id; only those of `template_ids` (ascending) if given.

    Raises StoreDamaged for a vector that is missing or of the wrong length.
    """
    row = gallery_row(connection)
    every_id, every_identity = active_templates(connection)
    if template_ids is not None:
        wanted = np.isin(every_id, template_ids)
        every_id, every_identity = every_id[wanted], every_identity[wanted]
    vectors = np.empty((len(every_id), row.model.dimension), np.float32)
    query: Select[Any] = select(embedding.c.template_id, embedding.c.vector).where(embedding.c.model_id == row.model_id)
    if template_ids is None:
        pieces: Iterable[Select[Any]] = [query.order_by(embedding.c.template_id)]
    else:
        pieces = (
            query.where(embedding.c.template_id.in_(piece)).order_by(embedding.c.template_id)
            for piece in chunks(every_id.tolist())
        )
    place = 0
    for piece in pieces:
        for found in connection.execute(piece).yield_per(_CHUNK):
            if place < len(every_id) and found.template_id == every_id[place]:
                vectors[place] = to_vector(found.vector, row.model.dimension, found.template_id)
                place += 1
    if place < len(every_id):
        raise StoreDamaged(f"template {every_id[place]} has no vector; `faceid gallery check` lists them all")
    return Embeddings(every_id, every_identity, vectors)


def to_vector(blob: bytes, dimension: int, template_id: int) -> FloatVector:
    """Return a stored vector as float32 [dimension]; raises StoreDamaged for the wrong length."""
    if len(blob) != 4 * dimension:
        raise StoreDamaged(f"the vector of template {template_id} has {len(blob)} bytes, not {4 * dimension}")
    return np.frombuffer(blob, "<f4").astype(np.float32, copy=False)


def names(connection: Connection, identity_ids: Iterable[int]) -> dict[int, str]:
    """Return the names of identities by id."""
    found: dict[int, str] = {}
    for piece in chunks(sorted(set(identity_ids))):
        rows = connection.execute(select(identity.c.id, identity.c.name).where(identity.c.id.in_(piece)))
        found.update((row.id, row.name) for row in rows)
    return found


def identities(connection: Connection, include_removed: bool) -> list[Identity]:
    """Every identity in order of id, aliases left by merges aside."""
    query = _identity_query.where(identity.c.merged_into.is_(None))
    if not include_removed:
        query = query.where(identity.c.removed_at.is_(None))
    return _to_identities(connection, query)


def find(connection: Connection, ref: str | int) -> list[Identity]:
    """Return whom `ref` means, removed people included: an id, an external id or a name; merged ones resolved."""
    text = str(ref)
    meanings = []
    if text.isascii() and text.isdigit() and int(text) < 2**63:
        meanings.append(identity.c.id == int(text))
    if isinstance(ref, str):
        word = clean_name(ref)
        meanings += [identity.c.external_id == word, identity.c.name == word]
    hits = connection.execute(select(identity.c.id, identity.c.merged_into).where(or_(*meanings))).all()
    ids = sorted({row.id if row.merged_into is None else row.merged_into for row in hits})
    return _to_identities(connection, _identity_query.where(identity.c.id.in_(ids)))


def enrolled(connection: Connection, digests: Sequence[bytes]) -> dict[bytes, list[Enrolled]]:
    """Return the templates that photos (by SHA-256) already have, in order of id; a digest with none is left out."""
    found: dict[bytes, list[Enrolled]] = {}
    for piece in chunks(list(dict.fromkeys(digests))):
        query = select(
            template.c.id,
            template.c.identity_id,
            template.c.source_digest,
            identity.c.name,
            identity.c.external_id,
            (~_active).label("removed"),
        ).join(identity)
        for row in connection.execute(query.where(template.c.source_digest.in_(piece)).order_by(template.c.id)):
            found.setdefault(row.source_digest, []).append(
                Enrolled(row.id, row.identity_id, row.name, row.external_id, bool(row.removed))
            )
    return found


def template_rows(connection: Connection, include_removed: bool, after: int, limit: int) -> list[TemplateRow]:
    """Return the next `limit` templates with an id above `after`."""
    query = select(template, identity.c.name, identity.c.external_id, (~_active).label("removed")).join(identity)
    query = query.where(template.c.id > after).order_by(template.c.id).limit(limit)
    if not include_removed:
        query = query.where(_active)
    return [
        TemplateRow(
            id=row.id,
            identity_id=row.identity_id,
            name=row.name,
            external_id=row.external_id,
            source=row.source,
            source_digest=row.source_digest,
            box=None if row.box_x is None else (row.box_x, row.box_y, row.box_width, row.box_height),
            detection_score=row.detection_score,
            quality=row.quality,
            precision=row.precision,
            created_at=row.created_at,
            removed=bool(row.removed),
        )
        for row in connection.execute(query)
    ]


def calibrations(connection: Connection) -> list[Calibration]:
    """Return the calibrations of the gallery's present model, oldest first."""
    digest = gallery_row(connection).model.digest
    query = select(calibration).where(calibration.c.model_digest == digest).order_by(calibration.c.id)
    return [
        Calibration(
            target=row.target,
            scores=np.frombuffer(row.scores, "<f4").astype(np.float32),
            trials=row.trials,
            gallery_size=row.gallery_size,
            templates_per_identity=row.templates_per_identity,
            fusion=row.fusion,
            model_digest=row.model_digest,
            precision=row.precision,
            data=row.data,
            date=row.date,
        )
        for row in connection.execute(query)
    ]


def save_calibrations(connection: Connection, new: Sequence[Calibration]) -> None:
    """Keep calibrations; one of the same target, data and size is replaced. Refuses another model's."""
    row = gallery_row(connection)
    for one in new:
        if one.model_digest != row.model.digest:
            raise GalleryError(
                f"a calibration of model {one.model_digest} does not fit a gallery of {row.model.digest}"
            )
        connection.execute(
            calibration.delete().where(
                calibration.c.target == one.target,
                calibration.c.model_digest == one.model_digest,
                calibration.c.gallery_size.is_not_distinct_from(one.gallery_size),
                calibration.c.data == one.data,
            )
        )
        connection.execute(
            insert(calibration).values(
                target=one.target,
                scores=one.scores.astype("<f4").tobytes(),
                trials=one.trials,
                gallery_size=one.gallery_size,
                templates_per_identity=one.templates_per_identity,
                fusion=one.fusion,
                model_digest=one.model_digest,
                precision=one.precision,
                data=one.data,
                date=one.date,
                revision=row.revision + 1,
            )
        )


_active = and_(template.c.removed_at.is_(None), identity.c.removed_at.is_(None))

_identity_query = (
    select(
        identity.c.id,
        identity.c.name,
        identity.c.external_id,
        identity.c.removed_at,
        identity.c.created_at,
        func.count(template.c.id).label("templates"),
    )
    .join(template, and_(template.c.identity_id == identity.c.id, template.c.removed_at.is_(None)), isouter=True)
    .group_by(identity.c.id)
    .order_by(identity.c.id)
)


def _to_identities(connection: Connection, query: Select[Any]) -> list[Identity]:
    return [
        Identity(row.id, row.name, row.external_id, row.templates, row.removed_at is not None, row.created_at)
        for row in connection.execute(query)
    ]
