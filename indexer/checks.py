"""The gallery's health: what is wrong with its files, and how much is in them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select

from indexer.cache import index_cache
from indexer.cache.file_bytes import SegmentDamaged
from indexer.cache.index_cache import IndexCache
from indexer.cache.index_manifest import MANIFEST, belongs, read_manifest
from indexer.cache.segment_file import SegmentFile
from indexer.cache.snapshot import live_rows
from indexer.errors import GalleryError, StoreDamaged
from indexer.records import Problem, Stats
from indexer.search.fusion import fuse
from indexer.search.scores import NORM_TOLERANCE
from indexer.store.checksum import COVERED
from indexer.store.outside_places import places
from indexer.store.queries import GalleryRow, active_templates, embeddings, gallery_row, size
from indexer.store.schema import calibration, embedding, identity, model, template
from indexer.store.sealed_cells import opened_vectors, vector_size
from indexer.store.store import Store
from indexer.store.tally import TALLIES, counted, tally

_LISTED = 10  # problems of one kind that are told one by one


def find_problems(store: Store, connection: Connection, *, deep: bool) -> list[Problem]:
    """Every problem of one revision: all of the database, its tables' relations, and the caches' names and sizes.

    `deep` adds each chunk of the caches, and whether they say what the database says.
    """
    problems = [*store.structure_problems(connection, _LISTED), *_rows(store, connection), *_tallies(connection)]
    problems += [*_relations(connection), *_vectors(connection), *_pending(connection)]
    return [*problems, *_cache(connection, store.files, deep=deep, sealing=store.sealing)]


def collect_stats(store: Store, connection: Connection) -> Stats:
    """Return counts of one revision and the sizes of the database and of the caches here."""
    row = gallery_row(connection)
    _, owners = active_templates(connection)
    counts = np.unique(owners, return_counts=True)[1]
    alive = size(connection)
    precisions = connection.execute(
        select(template.c.precision, func.count()).group_by(template.c.precision).order_by(template.c.precision)
    )
    every_template = connection.execute(select(func.count()).select_from(template)).scalar_one()
    removed = select(func.count()).where(identity.c.removed_at.is_not(None), identity.c.merged_into.is_(None))
    return Stats(
        identities=alive,
        removed_identities=connection.execute(removed).scalar_one(),
        templates=len(owners),
        removed_templates=every_template - len(owners),
        templates_per_identity=float(counts.mean()) if alive else 0.0,
        max_templates_per_identity=int(counts.max(initial=0)),
        precisions={name: int(count) for name, count in precisions},
        calibrations=connection.execute(select(func.count()).select_from(calibration)).scalar_one(),
        database_bytes=store.size(connection),
        cache_bytes=index_cache.size_of(store.files),
        revision=row.revision,
        fusion=row.fusion,
        decided_on=row.decided_on,
        model=row.model,
        erase_pending=row.erase_pending,
        turned_by=None if row.turn is None else row.turn.key_id,
        outside_indexes=tuple(places(connection)),
    )


def _relations(connection: Connection) -> Iterator[Problem]:
    bound = gallery_row(connection).model_id
    has_one = select(embedding.c.template_id).where(embedding.c.model_id == bound)
    for template_id in connection.execute(
        select(template.c.id).where(template.c.id.not_in(has_one)).limit(_LISTED)
    ).scalars():
        yield Problem("no_vector", f"template {template_id} has no vector; enrol its photo again")
    twin, owner, other = template.alias(), identity.alias(), identity.alias()
    shared = (
        select(template.c.id, template.c.identity_id, twin.c.id.label("twin"), twin.c.identity_id.label("other"))
        .join(twin, (twin.c.source_digest == template.c.source_digest) & (twin.c.id > template.c.id))
        .join(owner, owner.c.id == template.c.identity_id)
        .join(other, other.c.id == twin.c.identity_id)
        .where(template.c.removed_at.is_(None), twin.c.removed_at.is_(None))
        .where(owner.c.removed_at.is_(None), other.c.removed_at.is_(None))
    )
    for row in connection.execute(shared.limit(_LISTED)):
        yield Problem(
            "shared_photo",
            f"one photo is template {row.id} of identity {row.identity_id} and {row.twin} of {row.other};"
            " remove one of them or merge the two people",
        )


def _vectors(connection: Connection) -> Iterator[Problem]:
    columns = (embedding.c.template_id, embedding.c.model_id, embedding.c.vector, model.c.dimension, model.c.name)
    query = select(*columns).join(model)
    found = 0
    for row in connection.execute(query).yield_per(1000):
        size = vector_size(connection, row.dimension)
        if not isinstance(row.vector, bytes) or len(row.vector) != size:
            what = f"has not {size} bytes"
        else:
            what = _length_told(connection, row)
        if what:
            yield Problem("bad_vector", f"the vector of template {row.template_id} under {row.name} {what}")
            found += 1
            if found == _LISTED:
                return


def _length_told(connection: Connection, row: Any) -> str:
    """Return what is wrong with a vector of the right size; nothing for a sound one."""
    try:
        (vector,) = opened_vectors(connection, row.model_id, [row.template_id], [row.vector])
    except GalleryError as error:
        return f"cannot be read: {error}"
    length = float(np.linalg.norm(np.frombuffer(vector, "<f4").astype(np.float64)))
    return "" if abs(length - 1) <= NORM_TOLERANCE else f"has length {length:.6g}, not 1"


def _rows(store: Store, connection: Connection) -> Iterator[Problem]:
    """Rows that are not what was written: a bit that flipped in the file."""
    for table, columns in COVERED.items():
        for key in store.changed_rows(connection, table, columns[0], _LISTED):
            yield Problem("bad_row", f"the row {key} of table {table} was changed on the disk; restore a backup")


def _tallies(connection: Connection) -> Iterator[Problem]:
    """Tables whose rows are not those that every change counted."""
    for name in TALLIES:
        expected = tally(connection, name)
        if counted(connection, name) != (expected.rows, expected.total):
            what = f"the {name} rows are not those that were written"
            yield Problem("bad_tally", f"{what}; restore a backup or an export")


def _pending(connection: Connection) -> Iterator[Problem]:
    if gallery_row(connection).erase_pending:
        yield Problem(
            "erase_pending",
            "what was erased is gone from every search, and its bytes are still in the files: they go when the gallery"
            " is next opened for writing while nobody reads it, and the disk has room for another copy of it",
        )


def _cache(connection: Connection, folder: Path, *, deep: bool, sealing: bytes | None) -> Iterator[Problem]:
    row = gallery_row(connection)
    manifest = read_manifest(folder, sealing)
    path = folder / MANIFEST
    if manifest is None:
        if path.exists():
            yield Problem("bad_cache", f"{path} is damaged; searches do not use it", True)
        return
    if manifest.revision > row.revision or not belongs(manifest, connection, row):
        yield Problem("stale_cache", f"{path} is not of this gallery's past; searches do not use it", True)
        return
    files = []
    for record in (*manifest.segments, *([manifest.owners] if manifest.owners else [])):
        try:
            files.append(SegmentFile(folder, record, sealing))
        except SegmentDamaged as error:
            yield Problem("bad_cache", f"{folder / record.file}: {error}; searches do not use it", True)
    if not deep or len(files) < len(manifest.files):
        return
    for file in files:
        for place in file.damaged_places()[:_LISTED]:
            where = f"{folder / file.record.file}, byte {place} and on"
            yield Problem("bad_cache", f"{where}: not as it was written; the first touch rejects it", True)
            return
    yield from _agreement(connection, folder, row, sealing)


def _agreement(connection: Connection, folder: Path, row: GalleryRow, sealing: bytes | None) -> Iterator[Problem]:
    """Whether sound files, brought up to the present revision, say what the database says."""
    try:
        snapshot = IndexCache(folder, lambda: sealing).at(connection)
        truth = fuse(embeddings(connection), row.fusion)
    except StoreDamaged:
        return  # already told
    ids, owners, places = live_rows(snapshot.parts)
    order = np.argsort(ids)
    same = np.array_equal(ids[order], truth.segment.ids) and np.array_equal(owners[order], truth.owners)
    if same and len(ids):
        vectors = [part.segment.vectors[its] for part, its in zip(snapshot.parts, places, strict=True)]
        same = np.concatenate(vectors)[order].tobytes() == truth.segment.vectors[:].tobytes()
    if not same:
        yield Problem("wrong_cache", f"{folder / MANIFEST} does not say what the database says", True)
