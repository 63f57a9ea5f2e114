"""What morphs of people's documents score, kept in the gallery: one measurement of its present model."""

import numpy as np
from sqlalchemy import Connection, true

from indexer.decision.morph import MorphScores
from indexer.store.queries import bump_revision, gallery_row, next_ids, record_audit
from indexer.store.sealed_rows import delete_rows, every_row, insert_rows


def keep_morphs(connection: Connection, scores: MorphScores) -> None:
    """Keep a measurement in the place of the one there is."""
    delete_rows(connection, "morph", true())
    (new_id,) = next_ids(connection, "morph", 1)
    row = {
        "id": new_id,
        "model_digest": gallery_row(connection).model.digest,
        "worst": scores.worst.astype("<f4").tobytes(),
        "genuine": scores.genuine.astype("<f4").tobytes(),
        "people": scores.people,
        "data": scores.data,
        "date": scores.date,
    }
    insert_rows(connection, "morph", [row])
    record_audit(connection, "calibrate", [(None, {"documents": scores.people})])
    bump_revision(connection)


def kept_morphs(connection: Connection) -> MorphScores | None:
    """Return the measurement that is kept; None where there is none of the present model. Raises StoreDamaged."""
    digest = gallery_row(connection).model.digest
    for row in every_row(connection, "morph"):
        if row.model_digest == digest:
            worst, genuine = (np.frombuffer(one, "<f4").astype(np.float32) for one in (row.worst, row.genuine))
            return MorphScores(worst, genuine, row.people, row.data, row.date)
    return None
