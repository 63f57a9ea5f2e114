"""From what a user types to the engine that is meant: `milvus:http://HOST:19530`, `milvus:FILE.db`."""

from indexer.errors import VectorError
from indexer.outside.outside import OutsideIndex

MILVUS = "milvus:"


def is_outside(kind: object) -> bool:
    """Say whether a kind of index is the address of an engine elsewhere."""
    return isinstance(kind, str) and kind.startswith(MILVUS)


def open_outside(address: str, gallery: str) -> OutsideIndex:
    """Open the index of a gallery (its uuid) at an address.

    Raises OutsideError where there is no such engine, or its client is not installed; VectorError for what is no
    address.
    """
    if not is_outside(address):
        raise VectorError(f"{address!r} is no engine elsewhere; `milvus:http://HOST:19530` is")
    from indexer.outside.milvus import MilvusIndex

    return MilvusIndex(address, gallery)
