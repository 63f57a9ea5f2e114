"""Faces of people who are not enrolled, kept in the gallery to measure its thresholds with whenever it changes."""

import hashlib

import numpy as np
from sqlalchemy import Connection, true

from indexer.errors import GalleryError, StoreDamaged
from indexer.records import FloatMatrix, Ids, KeptStrangers
from indexer.search.scores import check_vectors
from indexer.store.queries import bump_revision, gallery_row, next_ids, record_audit
from indexer.store.sealed_rows import delete_rows, every_row, insert_rows


def kept(connection: Connection) -> KeptStrangers:
    """Return the strangers that are kept; raises StoreDamaged if one is not as it was written."""
    row = gallery_row(connection)
    rows = every_row(connection, "stranger")
    if any(len(one.vector) != 4 * row.model.dimension or one.model_id != row.model_id for one in rows):
        raise StoreDamaged("a stranger that the gallery keeps has no vector of its model; `calibrate` anew")
    vectors = np.frombuffer(b"".join(one.vector for one in rows), "<f4").astype(np.float32)
    vectors = vectors.reshape(len(rows), row.model.dimension)
    persons = np.array([one.person for one in rows], np.int64)
    return KeptStrangers(vectors, persons, hashlib.sha256(vectors.tobytes()).hexdigest())


def keep(connection: Connection, vectors: FloatMatrix, persons: Ids) -> None:
    """Keep strangers in the place of those there are. Raises VectorError, GalleryError for unequal lengths."""
    row = gallery_row(connection)
    check_vectors(vectors, row.model.dimension)
    if persons.shape != (len(vectors),):
        raise GalleryError(f"{len(vectors)} vectors of {len(persons)} persons")
    delete_rows(connection, "stranger", true())
    ids = next_ids(connection, "stranger", len(vectors))
    insert_rows(
        connection,
        "stranger",
        [
            {"id": new_id, "person": person, "model_id": row.model_id, "vector": vector.astype("<f4").tobytes()}
            for new_id, person, vector in zip(ids, persons.tolist(), vectors, strict=True)
        ],
    )
    record_audit(connection, "keep", [(None, {"strangers": len(vectors)})])
    bump_revision(connection)


def forget(connection: Connection) -> int:
    """Delete the strangers that are kept; how many."""
    count = delete_rows(connection, "stranger", true())
    if count:
        record_audit(connection, "forget", [(None, {"strangers": count})])
        bump_revision(connection)
    return count
