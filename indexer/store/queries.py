"""What the gallery asks of its database: every read, and the small facts that each write shares."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import numpy as np
from sqlalchemy import ColumnElement, Connection, CursorResult, Select, and_, func, insert, or_, select, update

from indexer.decision.decision import Calibration
from indexer.decision.match_probability import MatchProbability
from indexer.errors import GalleryError, StoreDamaged
from indexer.records import (
    Embeddings,
    Enrolled,
    FloatMatrix,
    Fusion,
    Identity,
    Ids,
    ModelBinding,
    TemplateRow,
    clean_name,
)
from indexer.store.checksum import COVERED, GALLERY, checksum
from indexer.store.schema import calibration, change, gallery, identity, template, undo

_CHUNK = 5_000  # bound parameters in one statement; SQLite's own limit is 32,766 or more

_GALLERY_ROW = GALLERY.replace(" FROM ", ", g.model_id, g.checksum FROM ", 1)

_ACTIVE_PAIRS = (
    "SELECT t.id, t.identity_id FROM template t JOIN identity i ON i.id = t.identity_id"
    " WHERE t.removed_at IS NULL AND i.removed_at IS NULL"
)
_VECTORS = 2_000  # read from the database at a time

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
    """Return the gallery's row with its model; raises StoreDamaged if it is missing or not as it was written."""
    found = connection.exec_driver_sql(_GALLERY_ROW).first()
    if found is None:
        raise StoreDamaged("the database says nothing about its gallery or model; restore it from a backup")
    *covered, model_id, expected = found
    if checksum(*covered) != expected:
        raise StoreDamaged("the database's row on its gallery and model is damaged; restore it from a backup")
    uuid, _, fusion, revision, salt, erase_pending, name, digest, dimension = covered
    return GalleryRow(
        uuid, cast(Fusion, fusion), revision, bool(erase_pending), model_id, ModelBinding(name, digest, dimension), salt
    )


def revision(connection: Connection) -> int:
    """Return the gallery's revision: it grows with every change that a search or a listing could show."""
    return int(connection.execute(select(gallery.c.revision)).scalar_one())


def bump_revision(connection: Connection) -> None:
    """Count one change; part of every transaction that changes what can be seen."""
    connection.execute(update(gallery).values(revision=gallery.c.revision + 1))
    seal(connection)


def seal(connection: Connection) -> None:
    """Renew the checksum of the gallery's row: the last thing a transaction does that touches it."""
    covered = connection.exec_driver_sql(GALLERY).one()
    connection.execute(update(gallery).values(checksum=checksum(*covered)))


def note_changes(connection: Connection, which: ColumnElement[bool]) -> None:
    """Log the templates that meet a condition as changed in the coming revision: in owner, visibility or existence."""
    coming = select(gallery.c.revision + 1).scalar_subquery()
    query = select(coming, template.c.id).where(which)
    statement = insert(change).prefix_with("OR IGNORE", dialect="sqlite")
    connection.execute(statement.from_select(["revision", "template_id"], query))


def changed_since(connection: Connection, revision: int) -> Ids:
    """Return the ids of templates that changed after a revision, ascending; new ones are not among them."""
    rows = connection.exec_driver_sql(
        "SELECT DISTINCT template_id FROM change WHERE revision > ? ORDER BY template_id", (revision,)
    )
    return np.array(rows.scalars().all(), np.int64)


def record_audit(connection: Connection, action: str, people: Iterable[tuple[int | None, str | None, Any]]) -> None:
    """Append to the trail, for each (identity id, name, details): a salted digest of the name, never the name."""
    salt = connection.execute(select(gallery.c.audit_salt)).scalar_one()
    at = now()
    rows = []
    for identity_id, name, details in people:
        digest = None if name is None else hashlib.sha256(salt + name.encode()).digest()
        row = (at, action, identity_id, digest, json.dumps(details, sort_keys=True))
        rows.append((*row, checksum(*row)))
    if rows:
        connection.exec_driver_sql(
            "INSERT INTO audit (at, action, identity_id, digest, details, checksum) VALUES (?, ?, ?, ?, ?, ?)", rows
        )


def keep_undo(connection: Connection, payload: dict[str, Any]) -> None:
    """Keep what it takes to take back the trail's newest entry."""
    row = (last_id(connection, "audit"), json.dumps(payload, ensure_ascii=False))
    connection.execute(insert(undo).values(audit_id=row[0], payload=row[1], checksum=checksum(*row)))


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
    return _pairs(connection.exec_driver_sql(f"{_ACTIVE_PAIRS} ORDER BY t.id"))


def every_template(connection: Connection) -> Ids:
    """Return the ids of all templates, hidden ones included, ascending."""
    return np.array(connection.exec_driver_sql("SELECT id FROM template ORDER BY id").scalars().all(), np.int64)


def owners_of(connection: Connection, template_ids: Ids) -> Ids:
    """Return the identity of each template [n], -1 for one that is hidden or gone."""
    owner: dict[int, int] = {}
    for piece in chunks(template_ids.tolist()):
        marks = ",".join("?" * len(piece))
        rows = connection.exec_driver_sql(f"{_ACTIVE_PAIRS} AND t.id IN ({marks})", tuple(piece))
        owner.update((row[0], row[1]) for row in rows)
    return np.array([owner.get(one, -1) for one in template_ids.tolist()], np.int64)


def newer_templates(connection: Connection, after: int) -> tuple[Ids, Ids]:
    """Return the active templates with an id above `after` and their identities, in order of id."""
    return _pairs(connection.exec_driver_sql(f"{_ACTIVE_PAIRS} AND t.id > ? ORDER BY t.id", (after,)))


def last_id(connection: Connection, table: str) -> int:
    """Return the highest id that a table ever gave to a row; 0 before the first."""
    # AUTOINCREMENT's own memory: it also knows the ids of rows that are gone.
    found = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).scalar()
    return int(found or 0)


def next_ids(connection: Connection, table: str, count: int) -> range:
    """Return ids for `count` new rows of a table: never one that was given before."""
    first = last_id(connection, table) + 1
    return range(first, first + count)


def vectors_of(connection: Connection, template_ids: Ids) -> FloatMatrix:
    """Return vectors float32 [n, D] of templates (ascending ids), each found to be as it was written.

    Raises StoreDamaged for one that is missing, of the wrong length or changed on the disk.
    """
    row = gallery_row(connection)
    vectors = np.empty((len(template_ids), row.model.dimension), np.float32)
    for start in range(0, len(template_ids), _VECTORS):
        piece = template_ids[start : start + _VECTORS]
        # A dense piece is read as a range: one walk along the tree instead of a descent for each id.
        dense = piece[-1] - piece[0] < 2 * len(piece)
        marks = "BETWEEN ? AND ?" if dense else f"IN ({','.join('?' * len(piece))})"
        bounds = (int(piece[0]), int(piece[-1])) if dense else tuple(piece.tolist())
        rows = connection.exec_driver_sql(
            f"SELECT template_id, vector, checksum FROM embedding WHERE model_id = ? AND template_id {marks}"
            " ORDER BY template_id",
            (row.model_id, *bounds),
        ).fetchall()
        by_id = {template_id: (blob, sealed) for template_id, blob, sealed in rows}
        blobs = []
        for template_id in piece.tolist():
            blob, sealed = by_id.get(template_id, (None, 0))
            if blob is None:
                raise StoreDamaged(f"template {template_id} has no vector; `faceid gallery check` lists them all")
            if len(blob) != 4 * row.model.dimension or checksum(template_id, row.model_id, blob) != sealed:
                raise StoreDamaged(f"the vector of template {template_id} was changed on the disk; restore a backup")
            blobs.append(blob)
        found = np.frombuffer(b"".join(blobs), "<f4").reshape(len(piece), -1)
        vectors[start : start + len(piece)] = found
    return vectors


def embeddings(connection: Connection) -> Embeddings:
    """Return the active templates' vectors in order of template id; raises StoreDamaged as `vectors_of`."""
    ids, owners = active_templates(connection)
    return Embeddings(ids, owners, vectors_of(connection, ids))


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
            probability=None if row.probability is None else MatchProbability(**json.loads(row.probability)),
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
        values: dict[str, Any] = {
            "target": one.target,
            "scores": one.scores.astype("<f4").tobytes(),
            "trials": one.trials,
            "gallery_size": one.gallery_size,
            "templates_per_identity": one.templates_per_identity,
            "fusion": one.fusion,
            "model_digest": one.model_digest,
            "precision": one.precision,
            "data": one.data,
            "date": one.date,
            "probability": None if one.probability is None else json.dumps(asdict(one.probability)),
            "revision": row.revision + 1,
        }
        covered = (values[column] for column in COVERED["calibration"])
        connection.execute(insert(calibration).values(**values, checksum=checksum(*covered)))


def _pairs(rows: CursorResult[Any]) -> tuple[Ids, Ids]:
    pairs = np.array([tuple(row) for row in rows.fetchall()], np.int64).reshape(-1, 2)
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])


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
