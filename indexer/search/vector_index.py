"""Unit vectors under ids, searched by inner product in any kind of index, always with canonical scores.

Vectors lie in parts. A part never changes: adding makes a new one (small ones at the end are joined), removing marks
rows as gone (tombstones), and a part with too many of them is made anew without them. Each part has its own index,
made at the first search that needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from indexer.errors import VectorError
from indexer.records import FloatMatrix, Ids
from indexer.search import index_kinds
from indexer.search.certified_search import Found, Part, search
from indexer.search.codes import Codes
from indexer.search.index_kinds import IndexKind, Shortlister, Vectors
from indexer.search.scores import NORM_TOLERANCE as NORM_TOLERANCE
from indexer.search.scores import canonical_scores as canonical_scores
from indexer.search.scores import check_vectors as check_vectors
from indexer.search.scores import score_error as score_error

_DEAD_SHARE = 0.25  # of a part: more tombstones than that cost more than making it anew
_GONE = -1


@dataclass(eq=False)
class _Prepared:
    """The indexes of one part's vectors, each made once, also by many threads."""

    vectors: Vectors
    codes: Codes | None
    kinds: dict[IndexKind, Shortlister] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def of(self, kind: IndexKind) -> Shortlister:
        with self.lock:
            if kind not in self.kinds:
                self.kinds[kind] = index_kinds.prepare(self.vectors, self.codes, kind)
            return self.kinds[kind]


@dataclass(frozen=True, eq=False)
class _Rows:
    """One part: ids int64 [n] (ascending or not), the owner of each int64 [n], -1 for a row that is gone."""

    ids: Ids
    owners: Ids
    prepared: _Prepared
    in_memory: bool  # ours to join with others and to make anew

    @property
    def vectors(self) -> Vectors:
        return self.prepared.vectors


class VectorIndex:
    """Unit vectors float32 [n, dimension] under int64 ids of the caller; what is found is an owner, by its best vector.

    Searches may run in many threads; adding and removing may not run beside anything.
    """

    def __init__(self, dimension: int, kind: IndexKind = "auto") -> None:
        """Make an empty index; raises VectorError for a kind that does not exist or that this machine cannot run."""
        index_kinds.check_kind(kind)
        self.dimension = dimension
        self.kind: IndexKind = kind
        self._parts: tuple[_Rows, ...] = ()
        self._seen: tuple[Part, ...] | None = None  # what searches see, made by the first one

    def __len__(self) -> int:
        """Vectors that are there."""
        return sum(int(np.count_nonzero(part.owners != _GONE)) for part in self._parts)

    @property
    def ids(self) -> Ids:
        """The ids [n] int64 in the order of addition."""
        return np.concatenate([part.ids[part.owners != _GONE] for part in self._parts] or [np.empty(0, np.int64)])

    @property
    def vectors(self) -> FloatMatrix:
        """The vectors [n, dimension] float32 in the order of `ids`: a copy."""
        parts = [part.vectors[np.flatnonzero(part.owners != _GONE)] for part in self._parts]
        return np.concatenate(parts or [np.empty((0, self.dimension), np.float32)])

    def add(self, ids: Ids, vectors: FloatMatrix, owners: Ids | None = None) -> None:
        """Add ids [m] int64 with vectors [m, dimension] float32, of `owners` [m] int64 (or of themselves); all or none.

        Raises VectorError for an id that is negative or taken, and for what `check_vectors` refuses.
        """
        check_vectors(vectors, self.dimension)
        owners = ids if owners is None else owners
        for name, values in (("ids", ids), ("owners", owners)):
            if values.dtype != np.int64 or values.shape != (len(vectors),):
                raise VectorError(f"{name} must be int64 [{len(vectors)}], not {values.dtype} {list(values.shape)}")
            if (values < 0).any():
                raise VectorError(f"{'id' if name == 'ids' else 'owner'} {values.min()} is negative")
        if len(np.unique(ids)) < len(ids) or any(_shared(ids, part) for part in self._parts):
            raise VectorError("an id is already in the index, or comes twice")
        if len(ids):
            self._change(
                (*self._parts, _in_memory(ids.copy(), owners.copy(), np.array(vectors, np.float32, order="C")))
            )

    def attach(self, ids: Ids, owners: Ids, vectors: Vectors, codes: Codes | None, like: "VectorIndex | None") -> None:
        """Add rows where they lie, unchecked: ids that no other part has, owners with -1 for a row that is gone.

        What `like` prepared for the very same `vectors` is used again.
        """
        known = {id(part.vectors): part.prepared for part in like._parts} if like is not None else {}
        prepared = known.get(id(vectors)) or _Prepared(vectors, codes)
        self._parts, self._seen = (*self._parts, _Rows(ids, owners, prepared, in_memory=False)), None

    def remove(self, ids: Ids) -> None:
        """Take ids [m] int64 out; raises VectorError, and takes none, if one of them is not there."""
        strangers = np.setdiff1d(ids, self.ids)
        if len(strangers):
            raise VectorError(f"id {strangers[0]} is not in the index")
        parts = []
        for part in self._parts:
            gone = np.isin(part.ids, ids)
            parts.append(replace(part, owners=np.where(gone, _GONE, part.owners)) if gone.any() else part)
        self._change(tuple(parts))

    def search(
        self,
        queries: FloatMatrix,
        k: int,
        *,
        threshold: float | None = None,
        fast: bool = False,
        within: Ids | None = None,
    ) -> Found:
        """Return the min(k, N) best owners of each query [Q, dimension] float32 of unit length; k >= 1.

        `within` limits the search to these owners. With `fast` a large index is only sampled, and the answer says what
        is not proved. Raises VectorError for queries that are no embeddings.
        """
        check_vectors(queries, self.dimension)
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        parts = self._view(within)
        chosen = index_kinds.choose(sum(len(part.owners) for part in parts), self.kind, fast and within is None)

        def shortlisters() -> Sequence[Shortlister]:
            return [part.prepared.of(chosen) for part in self._parts]

        proved = not fast or within is not None
        return search(parts, shortlisters, queries, _owners_up_to(k, parts), threshold, proved)

    def _view(self, within: Ids | None) -> tuple[Part, ...]:
        """Return what a search sees: the parts with their live rows."""
        if self._seen is None:
            self._seen = tuple(_part(part, part.owners != _GONE) for part in self._parts)
        if within is None:
            return self._seen
        return tuple(_part(part, np.isin(part.owners, within) & (part.owners != _GONE)) for part in self._parts)

    def _change(self, parts: tuple[_Rows, ...]) -> None:
        """Make parts anew that are mostly gone, and join the last ones until each is twice as long as the next."""
        kept = []
        for part in parts:
            live = part.owners != _GONE
            if part.in_memory and np.count_nonzero(~live) > _DEAD_SHARE * len(live):
                part = _in_memory(part.ids[live], part.owners[live], part.vectors[np.flatnonzero(live)])
            if len(part.ids):
                kept.append(part)
        while len(kept) > 1 and kept[-2].in_memory and len(kept[-2].ids) < 2 * len(kept[-1].ids):
            pair = kept[-2:]
            kept[-2:] = [
                _in_memory(
                    np.concatenate([part.ids for part in pair]),
                    np.concatenate([part.owners for part in pair]),
                    np.concatenate([part.vectors[:] for part in pair]),
                )
            ]
        self._parts, self._seen = tuple(kept), None


def _in_memory(ids: Ids, owners: Ids, vectors: FloatMatrix) -> _Rows:
    return _Rows(ids, owners, _Prepared(vectors, None), in_memory=True)


def _part(part: _Rows, live: NDArray[np.bool_]) -> Part:
    return Part(part.owners, part.vectors, None if live.all() else live)


def _shared(ids: Ids, part: _Rows) -> bool:
    if ids.size and part.ids.size and ids.min() > part.ids.max():
        return False  # ids that only grow: no need to look at each
    return bool(np.isin(ids, part.ids[part.owners != _GONE]).any())


def _owners_up_to(k: int, parts: Sequence[Part]) -> int:
    """Return the number of owners, or k if there are more; looks at few rows of a large index."""
    known = np.empty(0, np.int64)
    for part in parts:
        start, size = 0, 4 * k
        while start < len(part.owners):
            rows = slice(start, start + size)
            owners = part.owners[rows] if part.live is None else part.owners[rows][part.live[rows]]
            known = np.union1d(known, owners)
            if len(known) >= k:
                return k
            start, size = start + size, 2 * size
    return len(known)
