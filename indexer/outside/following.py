"""Keeping an index elsewhere up with the gallery: what changed since its mark, or everything; the mark last.

Only the gallery's one writer does this. A writer that dies in between leaves the old mark, and the next one repeats
what is missing: adding and removing by id twice changes nothing.
"""

import numpy as np
from sqlalchemy import Connection

from indexer.cache.index_manifest import trail_at
from indexer.outside.outside import Mark, OutsideError, OutsideIndex
from indexer.outside.rows import all_rows, changed_rows, count_rows, last_row, owners_of, vectors_of
from indexer.records import Ids
from indexer.search.scores import canonical_scores, score_error
from indexer.store import queries as store
from indexer.store.queries import GalleryRow

_AT_ONCE = 5_000  # vectors handed over at a time: 10 MB of 512 numbers
_MANY = 10_000  # vectors after which an engine may put itself in order
CANARIES = 64
_TWINS = 8  # listed for each canary
_NONE = np.empty(0, np.int64)


def follow(index: OutsideIndex, connection: Connection) -> None:
    """Bring the index to the revision that the transaction sees, and prove by samples that it finds what it holds.

    Raises OutsideError where it does not hold then what it was given.
    """
    row = store.gallery_row(connection)
    mark = index.mark()
    if mark is not None and is_of(mark, connection, row):
        if mark.revision == row.revision and index.count() == mark.rows:
            return
        _bring_changes(index, connection, row, mark)
        if index.count() == count_rows(connection, row):
            _finish(index, connection, row)
            return
    # Lost, foreign, of another past, or not what its mark says.
    index.make(row.model.digest, row.model.dimension)
    ids = all_rows(connection, row)
    _put(index, connection, row, ids)
    if index.count() != len(ids):
        raise OutsideError(f"{index.address} took {len(ids):,} vectors and holds {index.count():,}; see to that engine")
    _finish(index, connection, row)


def is_of(mark: Mark, connection: Connection, row: GalleryRow) -> bool:
    """Whether the mark is of this gallery and these vectors, at this revision or one of its past."""
    of_it = (mark.gallery, mark.model, mark.fusion, mark.since)
    same = of_it == (row.uuid, row.model.digest, row.fusion, row.model_since)
    in_past = mark.trail == (0, 0) or mark.trail == trail_at(connection, mark.trail[0])
    return same and mark.revision <= row.revision and in_past


def is_whole(
    index: OutsideIndex, connection: Connection, row: GalleryRow, changed: Ids = _NONE, canaries: int = CANARIES
) -> bool:
    """Whether samples of its vectors, as the truth has them, are each found as their own nearest.

    So many `canaries`, none of them a row that `changed` since its mark.

    An engine may hold a vector and not find it; this notices what is lost for good or in number.
    """
    drawn = np.unique(np.random.default_rng().integers(1, last_row(connection, row) + 2, 4 * canaries))
    drawn = np.setdiff1d(drawn, changed)
    chosen = drawn[owners_of(connection, row, drawn) >= 0][:canaries]
    if not len(chosen):
        return True
    vectors = vectors_of(connection, row, chosen)
    listed = index.shortlist(vectors, _TWINS)
    itself = (listed.ids == chosen[:, None]).any(axis=1)
    # So many copies of one photo push each other out.
    lowest = listed.scores[:, -1] if listed.scores.shape[1] == _TWINS else np.full(len(chosen), -9, np.float32)
    crowded = lowest >= canonical_scores(vectors, vectors) - 2 * score_error(row.model.dimension)
    return bool((itself | crowded).all())


def take_out(index: OutsideIndex, ids: Ids) -> None:
    """Remove vectors, also from the engine's files as far as it can; raises OutsideError where it still has some."""
    index.remove(ids)
    index.scrub()
    left = index.held(ids)
    if len(left):
        raise OutsideError(f"{index.address} still holds {len(left):,} vectors that it was told to delete")


def _bring_changes(index: OutsideIndex, connection: Connection, row: GalleryRow, mark: Mark) -> None:
    ids = changed_rows(mark, connection, row)
    there = owners_of(connection, row, ids) >= 0
    if not there.all():
        index.remove(ids[~there])
    _put(index, connection, row, ids[there])


def _put(index: OutsideIndex, connection: Connection, row: GalleryRow, ids: Ids) -> None:
    for start in range(0, len(ids), _AT_ONCE):
        piece = ids[start : start + _AT_ONCE]
        index.put(piece, vectors_of(connection, row, piece))
    if len(ids) >= _MANY:
        index.settle()


def _finish(index: OutsideIndex, connection: Connection, row: GalleryRow) -> None:
    """Write the mark, if samples are found."""
    if not is_whole(index, connection, row):
        raise OutsideError(f"{index.address} does not find vectors that it holds; see to that engine")
    trail = trail_at(connection, store.last_id(connection, "audit"))
    last = store.last_id(connection, "template")
    rows = count_rows(connection, row)
    index.set_mark(Mark(row.uuid, row.model.digest, row.fusion, row.model_since, row.revision, trail, last, rows))
