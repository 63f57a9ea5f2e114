"""What is searched at one revision: immutable segments of rows, and whose each row is by now.

A snapshot follows the database: new templates become one more segment, a row that is hidden or gone becomes a
tombstone (owner -1). Segments of a gallery with fusion 'max' hold templates, with 'mean' one segment of means.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from indexer.cache.segment_file import SegmentFile
from indexer.records import Embeddings, FloatMatrix, Ids
from indexer.search import codes as coding
from indexer.search.codes import Codes, encode
from indexer.search.identity_index import Entries, fuse
from indexer.store import queries as store
from indexer.store.queries import GalleryRow

VectorsOf = Callable[[Connection, Ids], FloatMatrix]
"""What reads templates' vectors: `store.vectors_of`, or something that knows some of them already."""

_GROWTH = 4
"""A segment is at least so many times the one after it, so that a million rows are in a dozen segments at most, and
each row is rewritten a dozen times at most."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Rows that never change: ids int64 [n] ascending, vectors [n, D], codes in a large gallery; mapped or not."""

    ids: Ids
    vectors: "FloatMatrix | MappedVectors"
    codes: Codes | None
    file: SegmentFile | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The segments of one revision, the owner of each of their rows (-1: dead), and the last template id seen."""

    row: GalleryRow
    segments: tuple[Segment, ...]
    owners: tuple[Ids, ...]
    last_template: int

    @cached_property
    def people(self) -> int:
        """N: the identities with a live row."""
        return len(np.unique(np.concatenate([np.empty(0, np.int64), *(its[its >= 0] for its in self.owners)])))

    @property
    def entries(self) -> tuple[Entries, ...]:
        """What the index searches, one for each segment."""
        return tuple(
            Entries(segment.ids, owners, segment.vectors, segment.codes)
            for segment, owners in zip(self.segments, self.owners, strict=True)
        )


class MappedVectors:
    """Vectors float32 [n, D] of a file, indexed by rows or a slice; what is handed out was verified first."""

    def __init__(self, file: SegmentFile) -> None:
        self._file = file
        self.shape: tuple[int, ...] = file.specs["vectors"].shape
        self.dtype = file.specs["vectors"].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> FloatMatrix:
        """Return a copy of vectors [m, D]; raises SegmentDamaged."""
        if isinstance(rows, slice) and rows == slice(None):
            return self._file.whole("vectors")
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = np.asarray(rows, np.int64)
        return self._file.rows("vectors", rows.reshape(-1)).reshape(*rows.shape, self.shape[1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them, verified."""
        return np.asarray(self._file.whole("vectors"), dtype)


def read_all(connection: Connection, row: GalleryRow, vectors_of: VectorsOf) -> Snapshot:
    """Make a snapshot from the database alone, in memory."""
    last = store.last_id(connection, "template")
    ids, owners = store.active_templates(connection)
    entries = fuse(Embeddings(ids, owners, vectors_of(connection, ids)), row.fusion)
    if not len(entries.ids):
        return Snapshot(row, (), (), last)
    segment = in_memory(entries.ids, np.asarray(entries.vectors), len(entries.ids))
    return Snapshot(row, (segment,), (entries.identity_ids,), last)


def in_memory(ids: Ids, vectors: FloatMatrix, gallery_rows: int) -> Segment:
    """Make a segment of rows that are not in a file; with codes if the whole gallery is large."""
    return Segment(ids, vectors, encode(vectors) if gallery_rows >= coding.CODED_FROM else None)


def can_follow(old: Snapshot, row: GalleryRow) -> bool:
    """Whether a snapshot is a base for the one of `row`: the same gallery and model, not newer, templates not means."""
    same = (old.row.uuid, old.row.model, old.row.fusion) == (row.uuid, row.model, row.fusion)
    return same and (old.row.revision == row.revision or (old.row.revision < row.revision and row.fusion == "max"))


def follow(old: Snapshot, connection: Connection, row: GalleryRow, vectors_of: VectorsOf) -> Snapshot:
    """Return the snapshot of the revision that the transaction sees, from that of an older one.

    Reads what changed and what is new, and nothing else.
    """
    last = store.last_id(connection, "template")
    changed = store.changed_since(connection, old.row.revision)
    changed = changed[changed <= old.last_template]
    new_owner = store.owners_of(connection, changed)
    owners = []
    found = np.zeros(len(changed), np.bool_)
    for segment, its in zip(old.segments, old.owners, strict=True):
        places = np.minimum(np.searchsorted(segment.ids, changed), len(segment) - 1)
        here = segment.ids[places] == changed
        renewed = its
        if (its[places[here]] != new_owner[here]).any():
            renewed = its.copy()
            renewed[places[here]] = new_owner[here]
        owners.append(renewed)
        found |= here
    # Without a row so far: what is new, and what was hidden whenever a snapshot was made.
    missing = (~found) & (new_owner >= 0)
    fresh, fresh_owners = store.newer_templates(connection, old.last_template)
    fresh = np.concatenate([changed[missing], fresh])
    fresh_owners = np.concatenate([new_owner[missing], fresh_owners])
    segments = list(old.segments)
    if len(fresh):
        rows = sum(map(len, segments)) + len(fresh)
        segments.append(in_memory(fresh, vectors_of(connection, fresh), rows))
        owners.append(fresh_owners)
    return _merge_small(Snapshot(row, tuple(segments), tuple(owners), last))


def small_tail(sizes: list[int]) -> int:
    """Return how many segments from the first on are large enough, each beside the next; the rest become one."""
    keep = len(sizes)
    tail = 0
    while keep and (keep == len(sizes) or sizes[keep - 1] < _GROWTH * tail):
        keep -= 1
        tail += sizes[keep]
    return keep


def merged(snapshot: Snapshot, keep: int) -> tuple[Ids, Ids, list[tuple[Segment, NDArray[np.int64]]]]:
    """Return ids and owners [n] of the live rows from segment `keep` on, ascending, and where each lies."""
    live = [np.flatnonzero(owners >= 0) for owners in snapshot.owners[keep:]]
    pieces = list(zip(snapshot.segments[keep:], live, strict=True))
    empty = np.empty(0, np.int64)
    ids = np.concatenate([empty, *(segment.ids[rows] for segment, rows in pieces)])
    owners = np.concatenate([empty, *(its[rows] for its, rows in zip(snapshot.owners[keep:], live, strict=True))])
    return ids, owners, pieces


def _merge_small(snapshot: Snapshot) -> Snapshot:
    """Join the small segments in memory: a writer that searches after every photo adds thousands of them."""
    in_files = sum(segment.file is not None for segment in snapshot.segments)
    keep = max(in_files, small_tail([len(segment) for segment in snapshot.segments]))
    if keep >= len(snapshot.segments) - 1:
        return snapshot
    ids, owners, pieces = merged(snapshot, keep)
    vectors = np.concatenate([np.asarray(segment.vectors)[rows] for segment, rows in pieces])
    order = np.argsort(ids, kind="stable")
    rows = sum(map(len, snapshot.segments))
    joined = [(in_memory(ids[order], vectors[order], rows), owners[order])] if len(ids) else []
    return Snapshot(
        snapshot.row,
        (*snapshot.segments[:keep], *(segment for segment, _ in joined)),
        (*snapshot.owners[:keep], *(its for _, its in joined)),
        snapshot.last_template,
    )
