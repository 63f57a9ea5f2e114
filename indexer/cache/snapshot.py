"""What is searched at one revision: immutable segments of rows, and whose each row is by now.

A snapshot follows the database: new templates become one more segment, a row that is hidden or gone becomes a
tombstone (owner -1). Segments of a gallery with fusion 'max' hold templates, with 'mean' one segment of means.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from indexer.cache.segment_file import FileRecord
from indexer.records import Embeddings, FloatMatrix, Ids
from indexer.search import codes as coding
from indexer.search.certified_search import Part
from indexer.search.codes import encode
from indexer.search.fusion import fuse
from indexer.search.shortlist import Segment
from indexer.store import queries as store
from indexer.store.queries import GalleryRow
from indexer.store.tally import pair_sum, tally

VectorsOf = Callable[[Connection, Ids], FloatMatrix]
"""What reads templates' vectors: `store.vectors_of`, or something that knows some of them already."""

_GROWTH = 4
"""A segment is at least so many times the one after it, so that a million rows are in a dozen segments at most, and
each row is rewritten a dozen times at most."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What is searched at the revision of `row`: its parts, and the last template id seen.

    `active`: how many templates a search may return, and the sum over them and their owners (`indexer.store.tally`).
    """

    row: GalleryRow
    parts: tuple[Part, ...]
    last_template: int
    active: tuple[int, int]

    @cached_property
    def people(self) -> int:
        """N: the identities with a live row."""
        owners = [part.owners[part.owners >= 0] for part in self.parts]
        return len(np.unique(np.concatenate([np.empty(0, np.int64), *owners])))


@dataclass(eq=False)
class FileSegment(Segment):
    """A segment that lies in a file. In a large gallery its vectors stay there, and are read one by one."""

    record: FileRecord = field(kw_only=True)


def read_all(connection: Connection, row: GalleryRow, vectors_of: VectorsOf) -> Snapshot:
    """Make a snapshot from the database alone, in memory."""
    last = store.last_id(connection, "template")
    ids, owners = store.active_templates(connection)
    active = len(ids), pair_sum(ids, owners)
    fused = fuse(Embeddings(ids, owners, vectors_of(connection, ids)), row.fusion)
    if not len(fused):
        return Snapshot(row, (), last, active)
    segment = in_memory(fused.segment.ids, fused.segment.vectors[:], len(fused))
    return Snapshot(row, (Part(segment, fused.owners),), last, active)


def in_memory(ids: Ids, vectors: FloatMatrix, gallery_rows: int) -> Segment:
    """Make a segment of rows that are not in a file; with codes if the whole gallery is large."""
    return Segment(ids, vectors, encode(vectors) if gallery_rows >= coding.CODED_FROM else None)


def bytes_in_memory(parts: Sequence[Part]) -> int:
    """Return the bytes of vectors that are in no file."""
    return sum(
        4 * len(part) * part.segment.vectors.shape[1] for part in parts if not isinstance(part.segment, FileSegment)
    )


def can_follow(old: Snapshot, row: GalleryRow) -> bool:
    """Whether a snapshot is a base for the one of `row`: the same gallery and model, not newer, templates not means."""
    same = (old.row.uuid, old.row.model, old.row.fusion) == (row.uuid, row.model, row.fusion)
    same = same and old.row.model_since == row.model_since
    return same and (old.row.revision == row.revision or (old.row.revision < row.revision and row.fusion == "max"))


def follow(old: Snapshot, connection: Connection, row: GalleryRow, vectors_of: VectorsOf) -> Snapshot:
    """Return the snapshot of the revision that the transaction sees, from that of an older one.

    Reads what changed and what is new, and nothing else.
    """
    last = store.last_id(connection, "template")
    changed = store.changed_since(connection, old.row.revision)
    changed = changed[changed <= old.last_template]
    new_owner = store.owners_of(connection, changed)
    parts = []
    old_owner = np.full(len(changed), -1)
    found = np.zeros(len(changed), np.bool_)
    for part in old.parts:
        places = np.minimum(np.searchsorted(part.segment.ids, changed), len(part) - 1)
        here = part.segment.ids[places] == changed
        old_owner[here] = np.maximum(old_owner[here], part.owners[places[here]])
        found |= here
        if (part.owners[places[here]] == new_owner[here]).all():
            parts.append(part)
            continue
        renewed = part.owners.copy()
        renewed[places[here]] = new_owner[here]
        parts.append(Part(part.segment, renewed))
    # Without a row so far: what is new, and what was hidden whenever a snapshot was made.
    missing = (~found) & (new_owner >= 0)
    fresh, fresh_owners = store.newer_templates(connection, old.last_template)
    active = _moved(old.active, [(-1, changed, old_owner), (1, changed, new_owner), (1, fresh, fresh_owners)])
    fresh = np.concatenate([changed[missing], fresh])
    fresh_owners = np.concatenate([new_owner[missing], fresh_owners])
    if len(fresh):
        rows = sum(map(len, parts)) + len(fresh)
        parts.append(Part(in_memory(fresh, vectors_of(connection, fresh), rows), fresh_owners))
    return _merge_small(Snapshot(row, tuple(parts), last, active))


def is_sound(snapshot: Snapshot, connection: Connection) -> bool:
    """Whether it speaks of the very templates, each under its owner, that the database counts as active."""
    expected = tally(connection, "active")
    return snapshot.active == (expected.rows, expected.total)


def small_tail(sizes: list[int]) -> int:
    """Return how many segments from the first on are large enough, each beside the next; the rest become one."""
    keep = len(sizes)
    tail = 0
    while keep and (keep == len(sizes) or sizes[keep - 1] < _GROWTH * tail):
        keep -= 1
        tail += sizes[keep]
    return keep


def live_rows(parts: Sequence[Part]) -> tuple[Ids, Ids, list[NDArray[np.int64]]]:
    """Return ids and owners [n] of the live rows, part after part, and where in each part they lie."""
    places = [np.flatnonzero(part.owners >= 0) for part in parts]
    empty = np.empty(0, np.int64)
    ids = np.concatenate([empty, *(part.segment.ids[its] for part, its in zip(parts, places, strict=True))])
    owners = np.concatenate([empty, *(part.owners[its] for part, its in zip(parts, places, strict=True))])
    return ids, owners, places


def _moved(active: tuple[int, int], steps: list[tuple[int, Ids, Ids]]) -> tuple[int, int]:
    """Take pairs of a template and its owner (-1: none) out of a count and sum (-1), or put them in (1)."""
    rows, total = active
    for sign, ids, owners in steps:
        shown = owners >= 0
        rows += sign * int(shown.sum())
        total += sign * pair_sum(ids[shown], owners[shown])
    return rows, total


def _merge_small(snapshot: Snapshot) -> Snapshot:
    """Join the small segments in memory: a writer that searches after every photo adds thousands of them."""
    in_files = sum(isinstance(part.segment, FileSegment) for part in snapshot.parts)
    keep = max(in_files, small_tail([len(part) for part in snapshot.parts]))
    if keep >= len(snapshot.parts) - 1:
        return snapshot
    tail = snapshot.parts[keep:]
    ids, owners, places = live_rows(tail)
    vectors = np.concatenate([part.segment.vectors[its] for part, its in zip(tail, places, strict=True)])
    order = np.argsort(ids, kind="stable")
    rows = sum(map(len, snapshot.parts))
    joined = (Part(in_memory(ids[order], vectors[order], rows), owners[order]),) if len(ids) else ()
    return replace(snapshot, parts=(*snapshot.parts[:keep], *joined))
