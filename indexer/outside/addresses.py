"""From what a user types to the engine that is meant.

`milvus:http://HOST:19530`, `milvus:FILE.db`, `pgvector:postgresql://HOST/DATABASE`, `pgvector` (the gallery's own).
"""

import os
import re

from indexer.errors import VectorError
from indexer.outside.outside import OutsideIndex

MILVUS = "milvus:"
PGVECTOR = "pgvector"


def is_outside(kind: object) -> bool:
    """Say whether a kind of index is the address of an engine elsewhere."""
    return isinstance(kind, str) and (kind.startswith(MILVUS) or re.match(f"{PGVECTOR}($|[:#])", kind) is not None)


def settled(address: str) -> str:
    """Return the address as it is noted: the path of a file leads to the same one from wherever it is opened."""
    uri, *kind = address.removeprefix(MILVUS).split("#")
    if not address.startswith(MILVUS) or not uri or "://" in uri:
        return address
    path = os.path.abspath(os.path.expanduser(uri))  # noqa: PTH100, PTH111  (pathlib's raise for a home nobody has)
    return "#".join([MILVUS + path, *kind])


def open_outside(address: str, gallery: str, home: str | None) -> OutsideIndex:
    """Open the index of a gallery (its uuid) at an address; `home` is the database that keeps the gallery, if one does.

    Raises OutsideError where there is no such engine, or its client is not installed; VectorError for what is no
    address.
    """
    if not is_outside(address):
        raise VectorError(f"{address!r} is no engine elsewhere; `milvus:http://HOST:19530` and `pgvector` are")
    if address.startswith(PGVECTOR):
        from indexer.outside.pgvector import PgvectorIndex

        return PgvectorIndex(address, gallery, home)
    from indexer.outside.milvus import MilvusIndex

    return MilvusIndex(address, gallery)
