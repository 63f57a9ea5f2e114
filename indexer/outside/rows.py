"""What an index elsewhere holds, as the gallery searches it: templates under their ids, or with 'mean' people's means.

Everything here is asked of the database, in one transaction.
"""

import json

import numpy as np
from sqlalchemy import Connection

from indexer.outside.outside import Mark
from indexer.records import Embeddings, FloatMatrix, Ids
from indexer.search.fusion import fuse
from indexer.store import queries as store
from indexer.store.queries import GalleryRow
from indexer.store.schema import audit
from indexer.store.sealed_rows import rows_with, sound_rows
from indexer.store.tally import tally

_NOBODY = -1


def all_rows(connection: Connection, row: GalleryRow) -> Ids:
    """Return the ids of all rows that a search may return, ascending."""
    ids, owners = store.active_templates(connection)
    return ids if row.fusion == "max" else np.unique(owners)


def count_rows(connection: Connection, row: GalleryRow) -> int:
    """Return how many rows there are."""
    return tally(connection, "active").rows if row.fusion == "max" else store.size(connection)


def last_row(connection: Connection, row: GalleryRow) -> int:
    """Return the highest id that a row ever had."""
    return store.last_id(connection, "template" if row.fusion == "max" else "identity")


def owners_of(connection: Connection, row: GalleryRow, ids: Ids) -> Ids:
    """Return whom rows belong to, -1 for those that a search may not return."""
    if row.fusion == "max":
        return store.owners_of(connection, ids)
    there = store.searchable(connection, ids.tolist())
    return np.array([one if one in there else _NOBODY for one in ids.tolist()], np.int64)


def vectors_of(connection: Connection, row: GalleryRow, ids: Ids) -> FloatMatrix:
    """Return the vectors [n, D] of rows that are there, ids ascending."""
    if row.fusion == "max":
        return store.vectors_of(connection, ids)
    if not len(ids):
        return np.empty((0, row.model.dimension), np.float32)
    templates, owners = store.templates_of_people(connection, ids)
    part = fuse(Embeddings(templates, owners, store.vectors_of(connection, templates)), row.fusion)
    return part.segment.vectors[:]


def changed_rows(mark: Mark, connection: Connection, row: GalleryRow) -> Ids:
    """Return the ids of all rows that may have changed since the mark, be new or be gone, ascending."""
    changed = store.changed_since(connection, mark.revision)
    newer, owners = store.newer_templates(connection, mark.last_template)
    if row.fusion == "max":
        return np.union1d(changed, newer)
    theirs = [
        one.identity_id
        for piece in store.chunks(changed.tolist())
        for one in rows_with(connection, "template", "id", piece)
    ]
    return np.union1d(np.union1d(owners, np.array(theirs, np.int64)), _people_in_trail(mark.trail[0], connection))


def _people_in_trail(entry: int, connection: Connection) -> Ids:
    """Return the people whom the audit trail names after an entry: also those who lost templates to somebody else."""
    people: set[int] = set()
    entries = sound_rows(connection, "audit", audit.c.id > entry)
    undone = [json.loads(one.details)["of"] for one in entries if one.action == "undo"]
    for piece in store.chunks(undone):
        entries += rows_with(connection, "audit", "id", piece)
    for one in entries:
        people |= {one.identity_id, json.loads(one.details).get("into")} - {None}
    return np.array(sorted(people), np.int64)
