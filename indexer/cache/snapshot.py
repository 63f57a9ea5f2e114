"""What is searched at one revision: immutable segments of rows, and whose each row is by now.

With fusion 'max' a row is a template, under the template's id; with 'mean' it is a person, under the person's id.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from indexer.cache.file_bytes import FileRecord
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
class Members:
    """The templates that a search may return, ids int64 [n] ascending, and the person of each, owners int64 [n]."""

    ids: Ids
    owners: Ids


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What is searched at the revision of `row`: its parts, and the last template id seen.

    `active`: how many templates a search may return, and the sum over them and their owners (`indexer.store.tally`).
    `members`, with 'mean' alone: whose templates the rows are the means of. With 'max' the rows say it themselves.
    """

    row: GalleryRow
    parts: tuple[Part, ...]
    last_template: int
    active: tuple[int, int]
    members: Members | None

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
    members = None if row.fusion == "max" else Members(ids, owners)
    fused = fuse(Embeddings(ids, owners, vectors_of(connection, ids)), row.fusion)
    if not len(fused):
        return Snapshot(row, (), last, active, members)
    segment = in_memory(fused.segment.ids, fused.segment.vectors[:], len(fused))
    return Snapshot(row, (Part(segment, fused.owners),), last, active, members)


def in_memory(ids: Ids, vectors: FloatMatrix, gallery_rows: int) -> Segment:
    """Make a segment of rows that are not in a file; with codes if the whole gallery is large."""
    return Segment(ids, vectors, encode(vectors) if gallery_rows >= coding.CODED_FROM else None)


def bytes_in_memory(parts: Sequence[Part]) -> int:
    """Return the bytes of vectors that are in no file."""
    return sum(
        4 * len(part) * part.segment.vectors.shape[1] for part in parts if not isinstance(part.segment, FileSegment)
    )


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
