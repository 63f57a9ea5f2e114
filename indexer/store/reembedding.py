"""Moving a gallery to another model: new vectors gather beside the old ones, then one transaction switches."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from sqlalchemy import Connection, delete, exists, select, update

from indexer.errors import GalleryError, ModelMismatch
from indexer.records import FloatMatrix, ModelBinding, TemplateRow
from indexer.search.scores import check_vectors
from indexer.store.bulk import insert_vectors
from indexer.store.deleting import delete_templates
from indexer.store.queries import bump_revision, chunks, gallery_row, next_ids, record_audit, template_rows
from indexer.store.schema import embedding, gallery, model, stranger, template
from indexer.store.sealed_cells import owners_of
from indexer.store.sealed_rows import delete_rows, every_row, insert_rows


def left(connection: Connection, new_model: ModelBinding, after: int, limit: int) -> list[TemplateRow]:
    """Return the next templates without a vector of `new_model`, removed ones included."""
    found: list[TemplateRow] = []
    model_id = _model_id(connection, new_model)
    while len(found) < limit:
        rows = template_rows(connection, True, after, limit)
        ids = [row.id for row in rows]
        done = select(embedding.c.template_id).where(embedding.c.model_id == model_id, embedding.c.template_id.in_(ids))
        embedded = set(connection.execute(done).scalars())
        found += [row for row in rows if row.id not in embedded]
        if len(rows) < limit:
            break
        after = rows[-1].id
    return found[:limit]


def add(connection: Connection, new_model: ModelBinding, template_ids: Sequence[int], vectors: FloatMatrix) -> None:
    """Store vectors [n, D] of the coming model; those of templates that have one already are replaced."""
    check_vectors(vectors, new_model.dimension)
    if len(template_ids) != len(vectors):
        raise GalleryError(f"{len(vectors)} vectors for {len(template_ids)} templates")
    row = gallery_row(connection)
    if row.model.digest == new_model.digest:
        raise GalleryError(f"the gallery is already embedded by {new_model.name} ({new_model.digest})")
    model_id = _model_id(connection, new_model)
    if model_id is None:
        (model_id,) = next_ids(connection, "model", 1)
        insert_rows(connection, "model", [{"id": model_id, **asdict(new_model)}])
    owners: dict[int, int] = {}
    for piece in chunks(list(template_ids)):
        owners |= owners_of(connection, piece)
        old = delete(embedding).where(embedding.c.model_id == model_id, embedding.c.template_id.in_(piece))
        connection.execute(old)
    # One that was erased in the meantime has no place for a vector; of one that is there twice the last counts.
    places = {one: place for place, one in enumerate(template_ids) if one in owners}
    ids = np.array(list(places), np.int64)
    insert_vectors(connection, ids, model_id, vectors[list(places.values())], [owners[one] for one in places])


def switch(connection: Connection, new_model: ModelBinding, drop: Sequence[int]) -> None:
    """Bind the gallery to `new_model` and delete the vectors of all other models."""
    row = gallery_row(connection)
    if row.model.digest == new_model.digest:
        return
    model_id = _model_id(connection, new_model)
    for piece in chunks(list(drop)):
        delete_templates(connection, template.c.id.in_(piece))
    has_one = exists().where(embedding.c.template_id == template.c.id, embedding.c.model_id == model_id)
    lacking = list(connection.execute(select(template.c.id).where(~has_one).order_by(template.c.id)).scalars())
    if lacking or model_id is None:
        raise GalleryError(
            f"{len(lacking)} templates (the first is {lacking[0] if lacking else 'none'}) have no vector of"
            f" {new_model.name} yet; embed them, or drop them where the photo is gone"
        )
    connection.execute(update(gallery).values(model_id=model_id, model_since=gallery.c.revision + 1))
    connection.execute(delete(embedding).where(embedding.c.model_id != model_id))
    delete_rows(connection, "stranger", stranger.c.model_id != model_id)  # their photos are not known
    delete_rows(connection, "model", model.c.id != model_id)
    details = {"from": row.model.digest, "to": new_model.digest, "dropped": len(set(drop))}
    record_audit(connection, "reembed", [(None, details)])
    bump_revision(connection)


def _model_id(connection: Connection, wanted: ModelBinding) -> int | None:
    row = next((one for one in every_row(connection, "model") if one.digest == wanted.digest), None)
    if row is not None and row.dimension != wanted.dimension:
        raise ModelMismatch(f"model {wanted.digest} gives {row.dimension} numbers here, not {wanted.dimension}")
    return None if row is None else int(row.id)
