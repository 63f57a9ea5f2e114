"""What the gallery asks of its database: every read, and the small facts that each write shares."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import numpy as np
from sqlalchemy import Connection, CursorResult, Row, and_, select, update

from indexer.decided_on import DecidedOn
from indexer.decision.decision import Calibration, Circumstances
from indexer.decision.match_probability import MatchProbability
from indexer.errors import GalleryError, StoreDamaged
from indexer.fusion import Fusion
from indexer.records import (
    Embeddings,
    Enrolled,
    FloatMatrix,
    Identity,
    Ids,
    ModelBinding,
    TemplateRow,
    Turn,
    clean_name,
)
from indexer.store.checksum import COVERED, GALLERY, checksum
from indexer.store.schema import calibration, gallery
from indexer.store.sealed_cells import opened_rows, opened_vectors, vector_size
from indexer.store.sealed_rows import check_row, delete_rows, every_row, insert_rows, rows_with
from indexer.store.tally import ACTIVE_PAIRS, is_active_set, pair_sql, tally

_CHUNK = 5_000  # bound parameters in one statement; SQLite's own limit is 32,766 or more

_GALLERY_ROW = GALLERY.replace(" FROM ", ", g.id, g.checksum FROM ", 1)

_ACTIVE_PAIRS = f"SELECT t.id, t.identity_id {ACTIVE_PAIRS}"
_ALL = 2**62  # rows: no limit
_VECTORS = 2_000  # read from the database at a time
_CHANGED_HANDS = (
    "templates appeared, vanished or changed hands in the database by themselves; restore a backup or an export"
)

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
    model_since: int
    """The revision in which the gallery was bound to its model: no older cache is of this model's vectors."""
    erasure_key: bytes
    decided_on: DecidedOn
    turn: Turn | None
    """How the vectors are turned; None where they lie as the model gave them."""


def gallery_row(connection: Connection) -> GalleryRow:
    """Return the gallery's row with its model; raises StoreDamaged if it is missing or not as it was written."""
    found = connection.exec_driver_sql(_GALLERY_ROW).first()
    if found is None:
        raise StoreDamaged("the database says nothing about its gallery or model; restore it from a backup")
    *covered, number, expected = found
    if number != 1 or checksum(*covered) != expected:
        raise StoreDamaged("the database's row on its gallery and model is damaged; restore it from a backup")
    uuid, _, fusion, revision, model_id, model_since, key, erase_pending, on, turn_key, turn_salt, *named = covered
    bound = ModelBinding(*named)
    return GalleryRow(
        uuid,
        cast(Fusion, fusion),
        revision,
        bool(erase_pending),
        model_id,
        bound,
        model_since,
        key,
        cast(DecidedOn, on),
        None if turn_key is None else Turn(turn_key, turn_salt),
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


def changed_since(connection: Connection, revision: int) -> Ids:
    """Return the ids of templates that changed after a revision, ascending; new ones are not among them."""
    rows = connection.exec_driver_sql(
        "SELECT DISTINCT template_id FROM change WHERE revision > ? ORDER BY template_id", (revision,)
    )
    try:
        return np.array(rows.scalars().all(), np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise StoreDamaged("the database's log of changes is damaged; restore a backup or an export") from error


def erased_since(connection: Connection, entry: int) -> bool:
    """Say whether templates were deleted for good after an entry of the trail."""
    query = "SELECT id FROM audit WHERE id > ? AND action IN ('erase', 'purge') LIMIT 1"
    return connection.exec_driver_sql(query, (entry,)).first() is not None


def record_audit(connection: Connection, action: str, about: Iterable[tuple[int | None, Any]]) -> None:
    """Append to the trail, for each (identity id, details): never a name, nor a digest that guessing could undo."""
    at = now()
    entries = list(about)
    insert_rows(
        connection,
        "audit",
        [
            {"id": new_id, "at": at, "action": action, "identity_id": identity_id, "details": json.dumps(details)}
            for new_id, (identity_id, details) in zip(next_ids(connection, "audit", len(entries)), entries, strict=True)
        ],
    )


def keep_undo(connection: Connection, payload: dict[str, Any]) -> None:
    """Keep what it takes to take back the trail's newest entry."""
    entry = last_id(connection, "audit")
    insert_rows(connection, "undo", [{"audit_id": entry, "payload": json.dumps(payload, ensure_ascii=False)}])


def now() -> str:
    """Return the time as the database keeps it: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def chunks(values: Sequence[_T], size: int = _CHUNK) -> Iterator[Sequence[_T]]:
    """Return the values in pieces that fit into one statement's parameters."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def size(connection: Connection) -> int:
    """N: identities that a search can return, those not removed with at least one active template."""
    weight = pair_sql("t.id", "t.identity_id")
    people, *found = connection.exec_driver_sql(
        f"SELECT COUNT(DISTINCT t.identity_id), COUNT(*), COALESCE(SUM({weight}), 0) {ACTIVE_PAIRS}"
    ).one()
    expected = tally(connection, "active")
    if found != [expected.rows, expected.total]:
        raise StoreDamaged(_CHANGED_HANDS)
    return int(people)


def active_templates(connection: Connection) -> tuple[Ids, Ids]:
    """Ids of the active templates [n] in order, and the identity of each [n], int64; raises StoreDamaged."""
    ids, owners = _pairs(connection.exec_driver_sql(f"{_ACTIVE_PAIRS} ORDER BY t.id"))
    if not is_active_set(connection, ids, owners):
        raise StoreDamaged(_CHANGED_HANDS)
    return ids, owners


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


def templates_of_people(connection: Connection, identity_ids: Ids) -> tuple[Ids, Ids]:
    """Return the active templates of some people and whose each is, in order of template id."""
    found = [
        _pairs(connection.exec_driver_sql(f"{_ACTIVE_PAIRS} AND i.id IN ({','.join('?' * len(piece))})", tuple(piece)))
        for piece in chunks(identity_ids.tolist())
    ]
    ids, owners = (np.concatenate([np.empty(0, np.int64), *its]) for its in zip(*found, strict=True))
    order = np.argsort(ids, kind="stable")
    return ids[order], owners[order]


def searchable(connection: Connection, identity_ids: Sequence[int]) -> set[int]:
    """Return those of some identities that a search can return."""
    found: set[int] = set()
    for piece in chunks(identity_ids):
        query = f"SELECT DISTINCT i.id {ACTIVE_PAIRS} AND i.id IN ({','.join('?' * len(piece))})"
        found |= set(connection.exec_driver_sql(query, tuple(piece)).scalars())
    return found


def newer_templates(connection: Connection, after: int) -> tuple[Ids, Ids]:
    """Return the active templates with an id above `after` and their identities, in order of id."""
    return _pairs(connection.exec_driver_sql(f"{_ACTIVE_PAIRS} AND t.id > ? ORDER BY t.id", (after,)))


def last_id(connection: Connection, table: str) -> int:
    """Return the highest id that a table ever gave to a row, also to one that is gone; 0 before the first."""
    return tally(connection, table).last_id


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
    size = vector_size(connection, row.model.dimension)
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
            whole = isinstance(blob, bytes) and len(blob) == size
            if not whole or checksum(template_id, row.model_id, blob) != sealed:
                raise StoreDamaged(f"the vector of template {template_id} was changed on the disk; restore a backup")
            blobs.append(blob)
        opened = opened_vectors(connection, row.model_id, piece.tolist(), blobs)
        found = np.frombuffer(b"".join(opened), "<f4").reshape(len(piece), -1)
        vectors[start : start + len(piece)] = found
    return vectors


def embeddings(connection: Connection) -> Embeddings:
    """Return the active templates' vectors in order of template id; raises StoreDamaged as `vectors_of`."""
    ids, owners = active_templates(connection)
    return Embeddings(ids, owners, vectors_of(connection, ids))


@dataclass(frozen=True)
class Named:
    """What people call an identity; `namesakes`: another one that is not removed bears the same name."""

    name: str
    external_id: str | None
    namesakes: bool


def names(connection: Connection, identity_ids: Sequence[int]) -> dict[int, Named]:
    """Return the names of identities; raises StoreDamaged for one that is missing or not as it was written."""
    rows = {row.id: row for row in owner_rows(connection, set(identity_ids)).values()}
    shared = _shared_names(connection, sorted({row.name for row in rows.values()}))
    return {key: Named(row.name, row.external_id, row.name in shared) for key, row in rows.items()}


def _shared_names(connection: Connection, names: Sequence[str]) -> set[str]:
    """Return those of the names that more than one identity bears, removed ones and aliases aside."""
    bearers: Counter[str] = Counter()
    for piece in chunks(names):
        bearers.update(row.name for row in rows_with(connection, "identity", "name", piece) if row.removed_at is None)
    return {name for name, count in bearers.items() if count > 1}


def identities(connection: Connection, include_removed: bool) -> list[Identity]:
    """Every identity in order of id, aliases left by merges aside; raises StoreDamaged."""
    weight = pair_sql("id", "identity_id")
    counts = connection.exec_driver_sql(
        f"SELECT identity_id, COUNT(*), SUM({weight}) FROM template WHERE removed_at IS NULL GROUP BY identity_id"
    ).all()
    expected = tally(connection, "visible")
    if (sum(row[1] for row in counts), sum(row[2] for row in counts)) != (expected.rows, expected.total):
        raise StoreDamaged(_CHANGED_HANDS)
    templates = {row[0]: row[1] for row in counts}
    return [
        _to_identity(row, templates.get(row.id, 0))
        for row in every_row(connection, "identity")
        if row.merged_into is None and (include_removed or row.removed_at is None)
    ]


def find(connection: Connection, ref: str | int) -> list[Identity]:
    """Return whom `ref` means, removed people included: an id, an external id or a name; merged ones resolved."""
    text = str(ref)
    hits: list[Row[Any]] = []
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63:  # Python reads no longer ones
        hits += rows_with(connection, "identity", "id", [int(text)])
    if isinstance(ref, str):
        word = clean_name(ref)
        hits += rows_with(connection, "identity", "external_id", [word])
        hits += rows_with(connection, "identity", "name", [word])
    if not hits:
        every_row(connection, "identity")  # finds a name that was damaged on the disk
    ids = {row.id if row.merged_into is None else row.merged_into for row in hits}
    found = sorted(owner_rows(connection, ids).values(), key=lambda row: row.id)
    theirs = rows_with(connection, "template", "identity_id", sorted(ids)) if ids else []
    visible = Counter(row.identity_id for row in theirs if row.removed_at is None)
    return [_to_identity(row, visible[row.id]) for row in found]


def enrolled(connection: Connection, digests: Sequence[bytes]) -> dict[bytes, list[Enrolled]]:
    """Return the templates that photos (by SHA-256) already have, in order of id; a digest with none is left out."""
    found: dict[bytes, list[Enrolled]] = {}
    for piece in chunks(list(dict.fromkeys(digests))):
        rows = rows_with(connection, "template", "source_digest", piece)
        owners = owner_rows(connection, {row.identity_id for row in rows})
        for row in rows:
            owner = owners[row.identity_id]
            removed = row.removed_at is not None or owner.removed_at is not None
            found.setdefault(row.source_digest, []).append(
                Enrolled(row.id, owner.id, owner.name, owner.external_id, removed, row.source)
            )
    return found


@dataclass(frozen=True)
class Page:
    """Templates in order of id; `last_id` and `checksums` are those of all rows looked at, hidden ones included."""

    templates: list[TemplateRow]
    rows: int
    checksums: int
    last_id: int


def template_page(connection: Connection, include_removed: bool, after: int, limit: int) -> Page:
    """Look at the next `limit` templates with an id above `after` (-1: at all); raises StoreDamaged."""
    columns = ", ".join(COVERED["template"])
    rows = connection.exec_driver_sql(
        f"SELECT {columns}, checksum FROM template WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    ).all()
    for row in rows:
        check_row("template", row)
    rows = opened_rows(connection, "template", rows)
    owners = owner_rows(connection, {row.identity_id for row in rows})
    shown = []
    for row in rows:
        owner = owners[row.identity_id]
        removed = row.removed_at is not None or owner.removed_at is not None
        if include_removed or not removed:
            shown.append(_to_template(row, owner, removed))
    return Page(shown, len(rows), sum(row.checksum for row in rows), rows[-1].id if rows else after)


def templates_of(connection: Connection, identity_id: int, include_removed: bool) -> list[TemplateRow]:
    """Return one person's templates in order of id; none for an unknown id. Raises StoreDamaged."""
    rows = rows_with(connection, "template", "identity_id", [identity_id])
    owners = owner_rows(connection, {row.identity_id for row in rows})
    shown = []
    for row in rows:
        removed = row.removed_at is not None or owners[row.identity_id].removed_at is not None
        if include_removed or not removed:
            shown.append(_to_template(row, owners[row.identity_id], removed))
    return shown


@dataclass(frozen=True)
class PageCount:
    """What the pages of one walk through the templates held so far, and in which revision it began (0: not yet)."""

    revision: int = 0
    rows: int = 0
    checksums: int = 0
    last_id: int = 0


def counted_page(connection: Connection, before: PageCount, page: Page, *, is_last: bool) -> PageCount:
    """Add a page to the count; raises StoreDamaged if templates are missing at the end of an undisturbed walk."""
    present = revision(connection)
    count = PageCount(
        before.revision or present, before.rows + page.rows, before.checksums + page.checksums, page.last_id
    )
    expected = tally(connection, "template")
    if is_last and count.revision == present and (count.rows, count.checksums) != (expected.rows, expected.total):
        raise StoreDamaged(_CHANGED_HANDS)
    return count


def template_rows(connection: Connection, include_removed: bool, after: int, limit: int) -> list[TemplateRow]:
    """Return the templates among the next `limit` with an id above `after`."""
    return template_page(connection, include_removed, after, limit).templates


def every_template_row(connection: Connection) -> list[TemplateRow]:
    """Return all templates, none missing, in order of id; raises StoreDamaged."""
    page = template_page(connection, True, 0, _ALL)
    expected = tally(connection, "template")
    if (page.rows, page.checksums) != (expected.rows, expected.total):
        raise StoreDamaged(_CHANGED_HANDS)
    return page.templates


def calibrations(connection: Connection) -> list[Calibration]:
    """Return the calibrations of the gallery's present model, oldest first; raises StoreDamaged."""
    digest = gallery_row(connection).model.digest
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
            circumstances=_circumstances(row),
            on=row.decided_on,
        )
        for row in every_row(connection, "calibration")
        if row.model_digest == digest
    ]


def save_calibrations(connection: Connection, new: Sequence[Calibration]) -> None:
    """Keep calibrations; one of the same target, data, size and kind of scores is replaced. Refuses another model's."""
    row = gallery_row(connection)
    for one in new:
        if one.model_digest != row.model.digest:
            raise GalleryError(
                f"a calibration of model {one.model_digest} does not fit a gallery of {row.model.digest}"
            )
        delete_rows(
            connection,
            "calibration",
            and_(
                calibration.c.target == one.target,
                calibration.c.model_digest == one.model_digest,
                calibration.c.gallery_size.is_not_distinct_from(one.gallery_size),
                calibration.c.data == one.data,
                calibration.c.decided_on == one.on,
            ),
        )
        (new_id,) = next_ids(connection, "calibration", 1)
        values: dict[str, Any] = {
            "id": new_id,
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
            "decided_on": one.on,
            **_circumstance_columns(one.circumstances),
        }
        insert_rows(connection, "calibration", [values])


def _circumstances(row: Row[Any]) -> Circumstances | None:
    if row.contents is None:
        return None
    scores = None if row.cohort_scores is None else np.frombuffer(row.cohort_scores, "<f4").astype(np.float32)
    return Circumstances(row.contents, row.templates, row.detector, row.quality_policy, row.cohort, scores)


def _circumstance_columns(then: Circumstances | None) -> dict[str, Any]:
    scores = None if then is None or then.cohort_scores is None else then.cohort_scores.astype("<f4").tobytes()
    return {
        "contents": then and then.contents,
        "templates": then and then.templates,
        "detector": then and then.detector,
        "quality_policy": then and then.quality_policy,
        "cohort": then and then.cohort,
        "cohort_scores": scores,
    }


def _pairs(rows: CursorResult[Any]) -> tuple[Ids, Ids]:
    try:
        pairs = np.array([tuple(row) for row in rows.fetchall()], np.int64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise StoreDamaged(_CHANGED_HANDS) from error
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])


def owner_rows(connection: Connection, ids: set[int]) -> dict[int, Row[Any]]:
    """Return the rows of identities that templates belong to; raises StoreDamaged for one that is missing."""
    found: dict[int, Row[Any]] = {}
    for piece in chunks(sorted(ids)):
        found.update((row.id, row) for row in rows_with(connection, "identity", "id", piece))
    if lost := ids - set(found):
        raise StoreDamaged(f"identity {min(lost)} is gone from the database; restore a backup or an export")
    return found


def _to_identity(row: Sequence[Any], templates: int) -> Identity:
    # Unpacked, here and below: asking a row for its columns by name takes longer than all its checksums.
    number, name, external_id, created_at, removed_at, *_ = row
    return Identity(number, name, external_id, templates, removed_at is not None, created_at)


def _to_template(row: Sequence[Any], owner: Sequence[Any], removed: bool) -> TemplateRow:
    number, owner_id, source, digest, x, y, width, height, score, quality, precision, created_at, gone, *_ = row
    box = None if x is None else (x, y, width, height)
    _, name, external_id, *_ = owner
    return TemplateRow(
        number,
        owner_id,
        name,
        external_id,
        source,
        digest,
        box,
        score,
        quality,
        precision,
        created_at,
        removed,
        gone is not None,
    )
