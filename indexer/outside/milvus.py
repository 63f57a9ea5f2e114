"""A gallery's vectors in Milvus: one collection for each gallery, kind and model, strong consistency, inner products.

`milvus:URI[#KIND]`: a cluster (`http://HOST:19530`) or a file of Milvus Lite. FLAT (no KIND) looks at every vector;
`hnsw`, `ivf` and `diskann` do not, and serve `fast`. A user's token comes from FACEID_MILVUS_TOKEN and is never shown.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from indexer.errors import VectorError
from indexer.outside.outside import Listed, Mark, OutsideError
from indexer.records import FloatMatrix, Ids
from indexer.text import printable

TOKEN = "FACEID_MILVUS_TOKEN"
_SECONDS = 30.0  # that one call may take
_LONG_SECONDS = 600.0  # that making an index may take
# The client's own every ten seconds are more than servers with gRPC's usual settings allow: they hang up. Every call of
# ours has its time anyway.
_SELDOM_PINGS = {"grpc.keepalive_time_ms": 600_000, "grpc.keepalive_permit_without_calls": False}
_PROPERTY = "faceid.mark"
_SEARCHED = {"hnsw": {"ef": 1024}, "ivf": {"nprobe": 64}, "diskann": {"search_list": 400}, "flat": {}}
_KINDS: dict[str, tuple[str, dict[str, int]]] = {
    "flat": ("FLAT", {}),
    "hnsw": ("HNSW", {"M": 16, "efConstruction": 200}),
    "ivf": ("IVF_FLAT", {"nlist": 1024}),
    "diskann": ("DISKANN", {}),
}
Client = Any  # pymilvus's; what it answers has no types


class MilvusIndex:
    """An `OutsideIndex` in Milvus."""

    def __init__(self, address: str, gallery: str) -> None:
        uri, _, kind = address.partition(":")[2].partition("#")
        self._kind = kind or "flat"
        if self._kind not in _KINDS:
            raise VectorError(f"Milvus is used with {', '.join(_KINDS)}, not {self._kind!r}")
        if not uri or "@" in uri:
            raise VectorError(f"milvus:URI, as milvus:http://HOST:19530; a token or user:password goes into {TOKEN}")
        self.address = printable(address)
        self.exhaustive = self._kind == "flat"
        name = f"faceid_{gallery.replace('-', '')}"
        # Of each kind its own: one that may miss some must not be taken for one that looks at every vector.
        self._prefix = f"{name}{self._kind}_"
        self._own = (self._prefix, f"{name}_")  # the second, whatever its kind, is of older versions
        with self._told():
            self._client: Client = _client(uri)
        self._collection = self._newest()

    def mark(self) -> Mark | None:
        """Return the mark."""
        if self._collection is None:
            self._collection = self._newest()
        if self._collection is None:
            return None
        with self._told():
            if not self._client.has_collection(self._collection, timeout=_SECONDS):
                self._collection = None
                return None
            described = self._client.describe_collection(self._collection, timeout=_SECONDS)
        return Mark.of_text(described.get("properties", {}).get(_PROPERTY))

    def count(self) -> int:
        """Return how many vectors it holds."""
        if self._collection is None:
            return 0
        with self._told():
            (found,) = self._client.query(
                self._collection, filter="", output_fields=["count(*)"], consistency_level="Strong", timeout=_SECONDS
            )
        return int(found["count(*)"])

    def make(self, model: str, dimension: int) -> None:
        """Begin anew: a collection of another model may hold people who were erased since."""
        self.drop()
        types = import_module("pymilvus").DataType
        name, parameters = _KINDS[self._kind]
        with self._told():
            schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("template_id", types.INT64, is_primary=True)
            schema.add_field("vector", types.FLOAT_VECTOR, dim=dimension)
            index = self._client.prepare_index_params()
            index.add_index("vector", index_type=name, metric_type="IP", params=parameters)
            collection = f"{self._prefix}{model[:16]}"
            self._client.create_collection(
                collection, schema=schema, index_params=index, consistency_level="Strong", timeout=_SECONDS
            )
            self._client.load_collection(collection, timeout=_SECONDS)
        self._collection = collection

    def put(self, ids: Ids, vectors: FloatMatrix) -> None:
        """Upsert: Milvus would take the same id twice."""
        rows = [{"template_id": one, "vector": its} for one, its in zip(ids.tolist(), vectors, strict=True)]
        with self._told():
            self._client.upsert(self._collection, rows, timeout=_SECONDS)

    def settle(self) -> None:
        """Flush: what is sealed is searched by its index, what is not one by one."""
        with self._told():
            self._client.flush(self._collection, timeout=_LONG_SECONDS)
            self._client.load_collection(self._collection, timeout=_LONG_SECONDS)

    def remove(self, ids: Ids) -> None:
        """Delete by id."""
        with self._told():
            self._client.delete(self._collection, ids=ids.tolist(), timeout=_SECONDS)

    def set_mark(self, mark: Mark) -> None:
        """Note the mark among the collection's properties."""
        with self._told():
            self._client.alter_collection_properties(self._collection, {_PROPERTY: mark.text()}, timeout=_SECONDS)

    def shortlist(self, queries: FloatMatrix, width: int) -> Listed:
        """Search with strong consistency."""
        if self._collection is None:
            return Listed(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32))
        parameters = {key: max(value, width) for key, value in _SEARCHED[self._kind].items()}
        with self._told():
            found = self._client.search(
                self._collection,
                list(queries),
                limit=width,
                output_fields=["template_id"],
                search_params={"params": parameters},
                consistency_level="Strong",
                timeout=_SECONDS,
            )
            rows = [[(int(hit["template_id"]), float(hit["distance"])) for hit in hits] for hits in found]
        if len(rows) != len(queries):
            raise OutsideError(f"{self.address} answered {len(rows)} of {len(queries)} searches")
        return _listed(rows)

    def held(self, ids: Ids) -> Ids:
        """Ask for the ids themselves."""
        if self._collection is None or not len(ids):
            return np.empty(0, np.int64)
        with self._told():
            found = self._client.get(
                self._collection,
                ids=ids.tolist(),
                output_fields=["template_id"],
                consistency_level="Strong",
                timeout=_SECONDS,
            )
        return np.sort(np.array([row["template_id"] for row in found], np.int64))

    def scrub(self) -> None:
        """Flush, and ask for compaction: what was deleted leaves Milvus's files when it is done, not before."""
        if self._collection is None:
            return
        with self._told():
            self._client.flush(self._collection, timeout=_SECONDS)
            self._client.compact(self._collection, timeout=_SECONDS)

    def drop(self) -> None:
        """Drop every collection of this gallery and kind, and of older versions."""
        with self._told():
            for name in self._client.list_collections(timeout=_SECONDS):
                if name.startswith(self._own):
                    self._client.drop_collection(name, timeout=_SECONDS)
        self._collection = None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _newest(self) -> str | None:
        """Return the gallery's collection; there is one, or none."""
        with self._told():
            names = self._client.list_collections(timeout=_SECONDS)
        own = sorted(name for name in names if name.startswith(self._prefix))
        return own[0] if own else None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the client raises, of many kinds, into an error that names the address and no secret."""
        try:
            yield
        except OutsideError:
            raise
        except Exception as error:
            said = str(getattr(error, "message", "") or error).splitlines() or [""]
            token = os.environ.get(TOKEN)
            why = said[0].replace(token, "...") if token else said[0]
            raise OutsideError(f"{self.address} does not serve: {why or type(error).__name__}") from error


def _client(uri: str) -> Client:
    try:
        pymilvus = import_module("pymilvus")
    except ImportError as error:
        raise OutsideError(
            f"Milvus's client cannot be imported ({error}); install it with `pip install 'faceid-engine[milvus]'`"
        ) from error
    token = os.environ.get(TOKEN, "")
    return pymilvus.MilvusClient(uri, token=token, timeout=_SECONDS, grpc_options=_SELDOM_PINGS)


def _listed(rows: list[list[tuple[int, float]]]) -> Listed:
    width = max(map(len, rows), default=0)
    ids = np.full((len(rows), width), -1, np.int64)
    scores = np.full((len(rows), width), -2, np.float32)
    for row, hits in enumerate(rows):
        ids[row, : len(hits)] = [one for one, _ in hits]
        scores[row, : len(hits)] = [score for _, score in hits]
    return Listed(ids, scores)
