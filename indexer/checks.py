"""The gallery's health: what is wrong with its files, and how much is in them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, func, select

from indexer import index_cache
from indexer.errors import StoreDamaged
from indexer.identity_index import fuse
from indexer.records import Problem, Stats
from indexer.schema import calibration, embedding, identity, model, template
from indexer.store import active_templates, embeddings, gallery_row, size
from indexer.vector_index import NORM_TOLERANCE

_LISTED = 10  # problems of one kind that are told one by one


def find_problems(connection: Connection, cache: Path) -> list[Problem]:
    """Every problem of one revision: the file's structure, its rows' relations, each vector, and the cache."""
    return [
        *_structure(connection),
        *_relations(connection),
        *_vectors(connection),
        *_cache(connection, cache),
    ]


def collect_stats(connection: Connection, database: Path, cache: Path) -> Stats:
    """Return counts of one revision and the sizes of the files, the write-ahead log included."""
    row = gallery_row(connection)
    _, owners = active_templates(connection)
    counts = np.unique(owners, return_counts=True)[1]
    alive = size(connection)
    precisions = connection.execute(
        select(template.c.precision, func.count()).group_by(template.c.precision).order_by(template.c.precision)
    )
    every_template = connection.execute(select(func.count()).select_from(template)).scalar_one()
    removed = select(func.count()).where(identity.c.removed_at.is_not(None), identity.c.merged_into.is_(None))
    files = (database, database.with_name(database.name + "-wal"))
    return Stats(
        identities=alive,
        removed_identities=connection.execute(removed).scalar_one(),
        templates=len(owners),
        removed_templates=every_template - len(owners),
        templates_per_identity=float(counts.mean()) if alive else 0.0,
        max_templates_per_identity=int(counts.max(initial=0)),
        precisions={name: int(count) for name, count in precisions},
        calibrations=connection.execute(select(func.count()).select_from(calibration)).scalar_one(),
        database_bytes=sum(file.stat().st_size for file in files if file.exists()),
        cache_bytes=cache.stat().st_size if cache.exists() else 0,
        revision=row.revision,
        fusion=row.fusion,
        model=row.model,
    )


def _structure(connection: Connection) -> Iterator[Problem]:
    for text in connection.exec_driver_sql(f"PRAGMA integrity_check({_LISTED})").scalars():
        if text != "ok":
            yield Problem("integrity", f"the database is damaged: {text}; restore a backup or an export")
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(_LISTED):
        yield Problem("orphan", f"row {row[1]} of table {row[0]} belongs to a row of {row[2]} that is gone")


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
    query = select(embedding.c.template_id, embedding.c.vector, model.c.dimension, model.c.name).join(model)
    found = 0
    for row in connection.execute(query).yield_per(1000):
        if len(row.vector) != 4 * row.dimension:
            what = f"has {len(row.vector)} bytes, not {4 * row.dimension}"
        else:
            length = float(np.linalg.norm(np.frombuffer(row.vector, "<f4").astype(np.float64)))
            what = "" if abs(length - 1) <= NORM_TOLERANCE else f"has length {length:.6g}, not 1"
        if what:
            yield Problem("bad_vector", f"the vector of template {row.template_id} under {row.name} {what}")
            found += 1
            if found == _LISTED:
                return


def _cache(connection: Connection, cache: Path) -> Iterator[Problem]:
    if not cache.exists():
        return
    row = gallery_row(connection)
    if not index_cache.is_fresh(cache, row):
        yield Problem("stale_cache", f"{cache} is not of revision {row.revision}; searches do not use it", True)
        return
    entries = index_cache.load(cache, row)
    try:
        truth = fuse(embeddings(connection), row.fusion)
    except StoreDamaged:
        return  # already told
    same = entries is not None and all(
        np.array_equal(getattr(entries, name), getattr(truth, name)) for name in ("ids", "identity_ids", "vectors")
    )
    if not same:
        yield Problem("bad_cache", f"{cache} is damaged; searches do not use it", True)
