"""Turning all of a gallery's vectors by another rotation, or for the first time: one transaction, and no photo."""

from collections.abc import Callable, Sequence

import numpy as np
from sqlalchemy import Connection, update

from indexer.errors import StoreDamaged
from indexer.records import FloatMatrix, Turn
from indexer.store.checksum import checksum
from indexer.store.queries import bump_revision, record_audit
from indexer.store.schema import embedding, gallery, stranger
from indexer.store.sealed_cells import opened_vectors, owners_of, sealed_vectors
from indexer.store.sealed_rows import change_rows, check_row, every_row

_ROWS = 2_000  # read and written at a time


def turn_vectors(connection: Connection, change: Callable[[FloatMatrix], FloatMatrix], mark: Turn) -> None:
    """Put `change` of every vector in its place, those of a coming model and kept strangers' too; note the new mark.

    The caller then scrubs. Raises StoreDamaged for a vector that is not as it was written.
    """
    for model in every_row(connection, "model"):
        _turn_embeddings(connection, change, model.id, model.dimension)
    for row in every_row(connection, "stranger"):
        vector = change(_vectors([row.vector], len(row.vector) // 4))
        change_rows(connection, "stranger", stranger.c.id == row.id, vector=vector.astype("<f4").tobytes())
    # As with another model: no cache and no cohort's scores of before are of these vectors.
    values = {"turn_key_id": mark.key_id, "turn_salt": mark.salt, "model_since": gallery.c.revision + 1}
    connection.execute(update(gallery).values(**values, erase_pending=1))
    record_audit(connection, "turn", [(None, {"key": mark.key_id})])
    bump_revision(connection)


def _turn_embeddings(
    connection: Connection, change: Callable[[FloatMatrix], FloatMatrix], model_id: int, dimension: int
) -> None:
    after = 0
    while True:
        rows = connection.exec_driver_sql(
            "SELECT template_id, model_id, vector, checksum FROM embedding WHERE model_id = ? AND template_id > ?"
            " ORDER BY template_id LIMIT ?",
            (model_id, after, _ROWS),
        ).all()
        if not rows:
            return
        for row in rows:
            check_row("embedding", row)
        ids = [row.template_id for row in rows]
        plain = _vectors(opened_vectors(connection, model_id, ids, [row.vector for row in rows]), dimension)
        turned = [vector.tobytes() for vector in change(plain).astype("<f4", copy=False)]
        whose = owners_of(connection, ids)
        blobs = sealed_vectors(connection, model_id, ids, [whose[one] for one in ids], turned)
        renewed = [
            (blob, checksum(row[0], model_id, blob), row[0], model_id) for row, blob in zip(rows, blobs, strict=True)
        ]
        connection.exec_driver_sql(
            f"UPDATE {embedding.name} SET vector = ?, checksum = ? WHERE template_id = ? AND model_id = ?", renewed
        )
        after = rows[-1][0]


def _vectors(blobs: Sequence[bytes], dimension: int) -> FloatMatrix:
    if any(not isinstance(blob, bytes) or len(blob) != 4 * dimension for blob in blobs):
        raise StoreDamaged("a vector in the database has a wrong length; restore a backup or an export")
    return np.frombuffer(b"".join(blobs), "<f4").astype(np.float32).reshape(len(blobs), dimension)
