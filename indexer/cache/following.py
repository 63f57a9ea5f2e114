"""From the snapshot of one revision to that of a later one: what changed and what is new is read, and nothing else.

A row that is hidden, gone or no longer right becomes a tombstone (owner -1), what is new becomes one more segment.
With fusion 'mean' the rows of the people whose templates changed are computed anew, the others stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from indexer.cache.snapshot import FileSegment, Members, Snapshot, VectorsOf, in_memory, live_rows, small_tail
from indexer.records import Embeddings, Ids
from indexer.search.certified_search import Part
from indexer.search.fusion import fuse
from indexer.store import queries as store
from indexer.store.queries import GalleryRow
from indexer.store.tally import pair_sum

_NOBODY = -1


@dataclass(frozen=True, eq=False)
class _Changes:
    """Templates that changed hands or visibility, and new ones; owners are those of now, -1 for one that is hidden."""

    ids: Ids
    owners: Ids
    new_ids: Ids
    new_owners: Ids


def can_follow(old: Snapshot, row: GalleryRow) -> bool:
    """Whether a snapshot is a base for the one of `row`: the same gallery, model and fusion, and not newer."""
    same = (old.row.uuid, old.row.model, old.row.fusion) == (row.uuid, row.model, row.fusion)
    return same and old.row.model_since == row.model_since and old.row.revision <= row.revision


def follow(old: Snapshot, connection: Connection, row: GalleryRow, vectors_of: VectorsOf) -> Snapshot:
    """Return the snapshot of the revision that the transaction sees, from that of an older one."""
    changed = store.changed_since(connection, old.row.revision)
    changed = changed[changed <= old.last_template]
    changes = _Changes(
        changed, store.owners_of(connection, changed), *store.newer_templates(connection, old.last_template)
    )
    step = _follow_templates if old.members is None else _follow_people
    parts, members, before = step(old, changes, connection, vectors_of)
    active = _counted(old.active, -1, changes.ids, before)
    active = _counted(active, 1, changes.ids, changes.owners)
    active = _counted(active, 1, changes.new_ids, changes.new_owners)
    return Snapshot(row, _joined(parts), store.last_id(connection, "template"), active, members)


def _follow_templates(
    old: Snapshot, changes: _Changes, connection: Connection, vectors_of: VectorsOf
) -> tuple[list[Part], None, Ids]:
    """Return the parts of now, and the owner that each changed template had before (-1: hidden)."""
    there = np.zeros(len(changes.ids), np.bool_)
    before = np.full(len(changes.ids), _NOBODY)
    for part in old.parts:
        places, here = _places(part, changes.ids)
        before[here] = part.owners[places]
        there |= here
    parts = _with_owners(old.parts, changes.ids, changes.owners)
    # What has no row yet: new templates, and those that were hidden when the rows were made.
    missing = ~there & (changes.owners != _NOBODY)
    ids = np.concatenate([changes.ids[missing], changes.new_ids])
    owners = np.concatenate([changes.owners[missing], changes.new_owners])
    if len(ids):
        rows = sum(map(len, parts)) + len(ids)
        parts.append(Part(in_memory(ids, vectors_of(connection, ids), rows), owners))
    return parts, None, before


def _follow_people(
    old: Snapshot, changes: _Changes, connection: Connection, vectors_of: VectorsOf
) -> tuple[list[Part], Members, Ids]:
    """Return the parts of now, whose templates they are made of, and the owner that each changed template had."""
    assert old.members is not None
    known = np.isin(changes.ids, old.members.ids)
    before = np.full(len(changes.ids), _NOBODY)
    before[known] = old.members.owners[np.searchsorted(old.members.ids, changes.ids[known])]
    touched = np.unique(np.concatenate([before, changes.owners, changes.new_owners]))
    touched = touched[touched != _NOBODY]
    members = _renewed(old.members, changes)
    parts = _with_owners(old.parts, touched, np.full(len(touched), _NOBODY))
    its = np.isin(members.owners, touched)
    ids, owners = members.ids[its], members.owners[its]
    if len(ids):
        fused = fuse(Embeddings(ids, owners, vectors_of(connection, ids)), "mean")
        rows = sum(map(len, parts)) + len(fused)
        parts.append(Part(in_memory(fused.segment.ids, fused.segment.vectors[:], rows), fused.owners))
    return parts, members, before


def _renewed(old: Members, changes: _Changes) -> Members:
    """Return the templates that a search may return now."""
    stays, shown = ~np.isin(old.ids, changes.ids), changes.owners != _NOBODY
    ids = np.concatenate([old.ids[stays], changes.ids[shown], changes.new_ids])
    owners = np.concatenate([old.owners[stays], changes.owners[shown], changes.new_owners])
    order = np.argsort(ids, kind="stable")
    return Members(ids[order], owners[order])


def _with_owners(parts: Sequence[Part], ids: Ids, owners: Ids) -> list[Part]:
    """Give rows, by id, other owners; a part in which nothing changes stays the same object."""
    renewed = []
    for part in parts:
        places, here = _places(part, ids)
        if (part.owners[places] == owners[here]).all():
            renewed.append(part)
            continue
        its = part.owners.copy()
        its[places] = owners[here]
        renewed.append(Part(part.segment, its))
    return renewed


def _places(part: Part, ids: Ids) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the rows of a part that have one of the ids, and bool [n]: which of the ids those are."""
    places = np.minimum(np.searchsorted(part.segment.ids, ids), len(part) - 1)
    here = part.segment.ids[places] == ids
    return places[here], here


def _counted(active: tuple[int, int], sign: int, ids: Ids, owners: Ids) -> tuple[int, int]:
    """Put pairs of a template and its owner (-1: none) into a count and sum (1), or take them out (-1)."""
    rows, total = active
    shown = owners != _NOBODY
    return rows + sign * int(shown.sum()), total + sign * pair_sum(ids[shown], owners[shown])


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Join the small segments in memory: a writer that searches after every photo adds thousands of them."""
    in_files = sum(isinstance(part.segment, FileSegment) for part in parts)
    keep = max(in_files, small_tail([len(part) for part in parts]))
    if keep >= len(parts) - 1:
        return tuple(parts)
    tail = parts[keep:]
    ids, owners, places = live_rows(tail)
    vectors = np.concatenate([part.segment.vectors[its] for part, its in zip(tail, places, strict=True)])
    order = np.argsort(ids, kind="stable")
    rows = sum(map(len, parts))
    joined = (Part(in_memory(ids[order], vectors[order], rows), owners[order]),) if len(ids) else ()
    return (*parts[:keep], *joined)
