"""A gallery's vectors in PostgreSQL's extension pgvector: one table for each gallery, inner products in float32.

`pgvector:postgresql://USER@HOST:PORT/DATABASE[#hnsw]`, or `pgvector[#hnsw]` for the database that keeps the gallery.
Without a kind every search looks at every vector; `hnsw` does not, and serves `fast`. Passwords come from PGPASSWORD or
~/.pgpass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from indexer.errors import GalleryError, VectorError
from indexer.outside.outside import Listed, Mark, OutsideError
from indexer.records import FloatMatrix, Ids
from indexer.text import printable

_SCHEMA = "faceid_vectors"
_OLDEST = (0, 8)  # HNSW lists what was asked for, also where rows were deleted
_PAGE = 8_000  # bytes of a row that is kept in its page: a scan need not fetch it from elsewhere
_EF_MOST = 1_000
_SETTINGS = "SET enable_indexscan = {0}; SET enable_bitmapscan = off; SET lock_timeout = '30s'"
_BEGINNING, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


class PgvectorIndex:
    """An `OutsideIndex` in a PostgreSQL database, which need not be the gallery's."""

    def __init__(self, address: str, gallery: str, home: str | None) -> None:
        place, _, kind = address.removeprefix("pgvector").partition("#")
        if kind not in ("", "hnsw"):
            raise VectorError(f"pgvector is used with hnsw or without a kind, not {kind!r}")
        self.address = printable(address)
        self.exhaustive = not kind
        self._settings = _SETTINGS.format("off" if self.exhaustive else "on")
        self._table = f"{_SCHEMA}.g{gallery.replace('-', '')}{kind}"
        self._conninfo = _conninfo(self.address, place.removeprefix(":"), home)
        with self._told():
            self._connection = _connected(self._conninfo)
            extension = _extension(self._raw, self.address)
            self._type, self._nearness = f"{extension}.vector", f"OPERATOR({extension}.<#>)"
            self._operators = f"{extension}.vector_ip_ops"
            self._raw.execute(self._settings)

    def mark(self) -> Mark | None:
        """Return the mark."""
        with self._told():
            found = self._raw.execute("SELECT obj_description(to_regclass(%s), 'pg_class')", (self._table,)).fetchone()
        return Mark.of_text(found[0])

    def count(self) -> int:
        """Return how many vectors it holds."""
        if not self._is_there():
            return 0
        with self._told():
            return int(self._raw.execute(f"SELECT count(*) FROM {self._table}").fetchone()[0])

    def make(self, model: str, dimension: int) -> None:
        """Begin anew with an empty table."""
        storage = "PLAIN" if 4 * dimension + 64 < _PAGE else "EXTERNAL"
        with self._told(), self._raw.transaction():
            self._raw.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
            self._raw.execute(f"DROP TABLE IF EXISTS {self._table}")
            self._raw.execute(
                f"CREATE TABLE {self._table} (id bigint PRIMARY KEY, vector {self._type}({int(dimension)}) NOT NULL)"
            )
            self._raw.execute(f"ALTER TABLE {self._table} ALTER COLUMN vector SET STORAGE {storage}")

    def put(self, ids: Ids, vectors: FloatMatrix) -> None:
        """Take out what is there under the ids, and copy the new ones in."""
        with self._told(), self._raw.transaction():
            self._raw.execute(f"DELETE FROM {self._table} WHERE id = ANY(%s)", (ids.tolist(),))
            statement = f"COPY {self._table} (id, vector) FROM STDIN (FORMAT BINARY)"
            with self._raw.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(_BEGINNING + _rows(ids, vectors).tobytes() + _END)

    def settle(self) -> None:
        """Let counting need no look at the rows, and where it is HNSW, build that."""
        with self._told():
            if not self.exhaustive:
                self._raw.execute(
                    f"CREATE INDEX IF NOT EXISTS {self._table.partition('.')[2]}_ip ON {self._table}"
                    f" USING hnsw (vector {self._operators})"
                )
            self._raw.execute(f"VACUUM (ANALYZE) {self._table}")

    def remove(self, ids: Ids) -> None:
        """Delete by id."""
        with self._told():
            self._raw.execute(f"DELETE FROM {self._table} WHERE id = ANY(%s)", (ids.tolist(),))

    def set_mark(self, mark: Mark) -> None:
        """Note the mark as the table's comment."""
        literal = import_module("psycopg.sql").Literal(mark.text())
        with self._told():
            self._raw.execute(f"COMMENT ON TABLE {self._table} IS {literal.as_string(self._raw)}")

    def shortlist(self, queries: FloatMatrix, width: int) -> Listed:
        """Order by inner product; every query of the batch in one statement."""
        if not self._is_there():
            return Listed(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32))
        texts = ["[" + ",".join(f"{number:.9g}" for number in query) + "]" for query in queries.tolist()]
        with self._told(), self._raw.transaction():
            if not self.exhaustive:
                self._raw.execute(f"SET LOCAL hnsw.ef_search = {min(max(width, 400), _EF_MOST)}")
                self._raw.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            found = self._raw.execute(
                # Made vectors once: a text that is compared would be read anew for each row.
                f"WITH q AS MATERIALIZED (SELECT number, its::{self._type} AS vector"
                " FROM unnest(%s::text[]) WITH ORDINALITY asked(its, number))"
                " SELECT q.number, near.id, near.distance FROM q,"
                f" LATERAL (SELECT id, vector {self._nearness} q.vector AS distance"
                f" FROM {self._table} ORDER BY distance LIMIT %s) near ORDER BY q.number, near.distance, near.id",
                (texts, width),
            ).fetchall()
        table = np.array(found, np.float64).reshape(-1, 3)
        counts = np.bincount(table[:, 0].astype(np.int64), minlength=len(queries) + 1)[1:]
        ids = np.full((len(queries), int(counts.max(initial=0))), -1, np.int64)
        scores = np.full(ids.shape, -2, np.float32)
        for place, its in enumerate(np.split(table, np.cumsum(counts)[:-1])):
            ids[place, : len(its)] = its[:, 1].astype(np.int64)
            scores[place, : len(its)] = -its[:, 2]
        return Listed(ids, scores)

    def held(self, ids: Ids) -> Ids:
        """Ask for the ids themselves."""
        if not self._is_there():
            return np.empty(0, np.int64)
        with self._told():
            found = self._raw.execute(f"SELECT id FROM {self._table} WHERE id = ANY(%s) ORDER BY id", (ids.tolist(),))
            return np.array([row[0] for row in found.fetchall()], np.int64)

    def scrub(self) -> None:
        """Write the table anew without what was deleted; the write-ahead log is left to the server."""
        if self._is_there():
            with self._told():
                self._raw.execute(f"VACUUM (FULL, ANALYZE) {self._table}")

    def drop(self) -> None:
        """Drop the gallery's table."""
        with self._told():
            self._raw.execute(f"DROP TABLE IF EXISTS {self._table}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @property
    def _raw(self) -> Any:
        """The connection; one that was lost is made anew."""
        if self._connection.closed:
            self._connection = _connected(self._conninfo)
            self._connection.execute(self._settings)
        return self._connection

    def _is_there(self) -> bool:
        with self._told():
            return self._raw.execute("SELECT to_regclass(%s) IS NOT NULL", (self._table,)).fetchone()[0] is True

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what psycopg raises into an error that names the address; a password is not in it."""
        try:
            yield
        except GalleryError:
            raise
        except Exception as error:
            said = str(error).splitlines() or [type(error).__name__]
            raise OutsideError(f"{self.address} does not serve: {said[0]}") from error


def _conninfo(address: str, place: str, home: str | None) -> str:
    """Return where to connect; raises VectorError for what is no address."""
    if not place:
        if home is None:
            raise VectorError(
                f"{address} is for galleries in PostgreSQL; write pgvector:postgresql://USER@HOST/DATABASE"
            )
        return home
    if not place.startswith(("postgresql://", "postgres://")) or ":" in place.partition("://")[2].rpartition("@")[0]:
        raise VectorError("pgvector:postgresql://USER@HOST/DATABASE; a password goes into PGPASSWORD or ~/.pgpass")
    return place


def _connected(conninfo: str) -> Any:
    try:
        psycopg = import_module("psycopg")
    except ImportError as error:
        raise OutsideError(
            f"PostgreSQL's client cannot be imported ({error}); install it with `pip install 'faceid-engine[postgres]'`"
        ) from error
    return psycopg.connect(conninfo, autocommit=True, connect_timeout=10, application_name="faceid")


def _extension(raw: Any, address: str) -> str:
    """Return the schema of the extension, which is made where it is not there yet; raises OutsideError."""
    query = (
        "SELECT n.nspname, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = 'vector'"
    )
    found = raw.execute(query).fetchone()
    if found is None:
        raw.execute("CREATE EXTENSION vector")
        found = raw.execute(query).fetchone()
    schema, version = str(found[0]), str(found[1])
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise OutsideError(f"{address} has pgvector {version}; {'.'.join(map(str, _OLDEST))} or newer is needed")
    return '"' + schema.replace('"', '""') + '"'


def _rows(ids: Ids, vectors: FloatMatrix) -> np.ndarray[Any, np.dtype[np.void]]:
    """Lay out rows in COPY's binary format: an id, and a vector as its length, two bytes of nothing, and numbers."""
    dimension = vectors.shape[1]
    row = np.dtype(
        [
            ("columns", ">i2"),
            ("id_bytes", ">i4"),
            ("id", ">i8"),
            ("vector_bytes", ">i4"),
            ("dimension", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f4", (dimension,)),
        ]
    )
    rows = np.zeros(len(ids), row)
    rows["columns"], rows["id_bytes"], rows["vector_bytes"] = 2, 8, 4 + 4 * dimension
    rows["id"], rows["dimension"], rows["vector"] = ids, dimension, vectors
    return rows
