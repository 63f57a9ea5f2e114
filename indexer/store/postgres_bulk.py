"""Many rows at once into PostgreSQL, by COPY."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection

from indexer.records import FloatMatrix, Ids

_AT_ONCE = 1_000  # vectors that are laid out in memory at a time
_BEGINNING = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no further header
_END = b"\xff\xff"


def insert(connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Any]) -> None:
    """See `indexer.store.bulk`."""
    raw: Any = connection.connection.driver_connection
    with raw.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def insert_vectors(
    connection: Connection, ids: Ids, model_id: int, vectors: FloatMatrix, checksums: Sequence[int]
) -> None:
    """See `indexer.store.bulk`: rows in COPY's binary format are all of one length, and numpy lays them out."""
    size = 4 * vectors.shape[1]
    row = np.dtype(
        [
            ("columns", ">i2"),
            *((f"{name}{part}", kind) for name in ("id", "model") for part, kind in (("_bytes", ">i4"), ("", ">i8"))),
            ("vector_bytes", ">i4"),
            ("vector", f"V{size}"),
            ("checksum_bytes", ">i4"),
            ("checksum", ">i8"),
        ]
    )
    blobs = np.ascontiguousarray(vectors).view(f"V{size}").reshape(-1)
    sealed = np.array(checksums, np.int64)
    raw: Any = connection.connection.driver_connection
    statement = "COPY embedding (template_id, model_id, vector, checksum) FROM STDIN (FORMAT BINARY)"
    with raw.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_BEGINNING)
        for start in range(0, len(ids), _AT_ONCE):
            piece = slice(start, start + _AT_ONCE)
            rows = np.zeros(len(ids[piece]), row)
            rows["columns"] = 4
            rows["id_bytes"] = rows["model_bytes"] = rows["checksum_bytes"] = 8
            rows["vector_bytes"] = size
            rows["id"], rows["model"], rows["checksum"] = ids[piece], model_id, sealed[piece]
            rows["vector"] = blobs[piece]
            copy.write(rows.tobytes())
        copy.write(_END)
