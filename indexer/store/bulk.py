"""Many rows at once, each database's fastest way: what enrolment of hundreds of thousands of templates is made of."""

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import Connection

from indexer.records import FloatMatrix, Ids
from indexer.store import postgres_bulk, sqlite_bulk
from indexer.store.checksum import COVERED, checksum
from indexer.store.sealed_cells import keys_of, sealed_vectors


class _Ways(Protocol):
    """What a database's module has."""

    def insert(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Any]) -> None:
        """Insert rows of values, in the order of the columns."""
        ...

    def insert_vectors(
        self, connection: Connection, ids: Ids, model_id: int, vectors: FloatMatrix, checksums: Sequence[int]
    ) -> None:
        """Insert vectors [n, D] little-endian float32 of templates [n]."""
        ...


_OF: dict[str, _Ways] = {"sqlite": sqlite_bulk, "postgresql": postgres_bulk}


def insert_sealed(connection: Connection, table: str, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows: what their checksum covers, in its order, then the checksum. The caller counts them."""
    if rows:
        _OF[connection.dialect.name].insert(connection, table, (*COVERED[table], "checksum"), rows)


def insert_changes(connection: Connection, revision: int, template_ids: Sequence[int]) -> None:
    """Log templates as changed in a revision."""
    rows = [(revision, one) for one in template_ids]
    _OF[connection.dialect.name].insert(connection, "change", ("revision", "template_id"), rows)


def insert_vectors(
    connection: Connection, ids: Ids, model_id: int, vectors: FloatMatrix, owners: Sequence[int]
) -> None:
    """Insert vectors float32 [n, D] of templates int64 [n] of these owners, with their checksums."""
    if not len(ids):
        return
    vectors = vectors.astype("<f4", copy=False)
    blob, size = vectors.tobytes(), 4 * vectors.shape[1]
    pieces = [blob[start : start + size] for start in range(0, len(blob), size)]
    if keys_of(connection) is not None:
        cells = sealed_vectors(connection, model_id, ids.tolist(), owners, pieces)
        rows = [(one, model_id, cell) for one, cell in zip(ids.tolist(), cells, strict=True)]
        insert_sealed(connection, "embedding", [(*row, checksum(*row)) for row in rows])
        return
    checksums = [checksum(one, model_id, piece) for one, piece in zip(ids.tolist(), pieces, strict=True)]
    _OF[connection.dialect.name].insert_vectors(connection, ids, model_id, vectors, checksums)
