"""Searching by an index elsewhere: it shortlists, the database's own vectors are scored, and what is proved is said.

A kind that looks at every vector lists the best by a float32 score within `score_error` of the canonical one, so that
none that it did not list scores above the last of its list plus that error. That holds if it really looked at every
vector. So nothing is proved unless the number of its vectors is the one of its mark, samples were found under that
mark, its lists are as long as they can be, and every listed score is that of the vector that the database has under
the id. What changed since the mark is scored from the database, whatever the list says; who is gone there is dropped.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from indexer.cache.index_cache import Read
from indexer.outside.following import is_of, is_whole
from indexer.outside.outside import Listed, Mark, OutsideError, OutsideIndex
from indexer.outside.rows import changed_rows, owners_of, vectors_of
from indexer.records import FloatMatrix, Ids
from indexer.search.certified_search import NO_SCORE, Found, Part, Proof, best_listed
from indexer.search.scores import canonical_scores, score_error
from indexer.search.shortlist import Segment, Shortlist
from indexer.store import queries as store
from indexer.store.queries import GalleryRow

_FIRST_WIDTH, _LONGEST = 8, 4096  # templates listed for each identity asked for; at most
_FAST_WIDTH = 100
_QUERIES = 64  # searched at a time
_CANARIES = 16  # asked for before the first search under a mark; the writer who set it asked for more
_BEHIND = 20_000  # changes since the mark that a search scores by itself
_NOBODY_IS_LEFT = NO_SCORE - 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Truth:
    """What the database says, in one transaction, of the templates that a search is about; one part, ids ascending.

    `unknown` were listed and are nowhere, though nothing about them changed.
    """

    row: GalleryRow
    part: Part
    changed: Ids
    unknown: int


class OutsideSearch:
    """Searches by one index elsewhere; remembers which mark was proved by samples, and what was told."""

    def __init__(self, index: OutsideIndex) -> None:
        self.index = index
        self._proved: Mark | None = None
        self._told: set[str] = set()
        self._alone = threading.Lock()

    def search(self, read: Read, queries: FloatMatrix, k: int, proof: Proof, *, fast: bool) -> tuple[Found, GalleryRow]:
        """Return the min(k, N) best owners of each query [Q, D], and the gallery's row that they are of.

        Raises OutsideError where the index cannot be had, or holds nothing that fits this gallery.
        """
        with self._alone:
            answers = [
                self._block(read, queries[start : start + _QUERIES], k, proof, fast)
                for start in range(0, max(1, len(queries)), _QUERIES)
            ]
        return _joined([found for found, _ in answers]), answers[-1][1]

    def _block(self, read: Read, queries: FloatMatrix, k: int, proof: Proof, fast: bool) -> tuple[Found, GalleryRow]:
        mark, proves = self._mark(read)
        width = min((_FAST_WIDTH if fast else _FIRST_WIDTH) * k + 8, _LONGEST)
        while True:
            listed = self.index.shortlist(queries, width)
            with read() as connection:
                truth = _truth(connection, mark, listed)
            doubt = _doubt(truth, queries, listed)
            short = int((listed.ids >= 0).sum(axis=1).min(initial=width)) < min(width, mark.rows)
            if proves and short and self.index.count() == mark.rows:  # and no writer took some out meanwhile
                doubt = "it lists fewer faces than it holds"
            if doubt is not None:
                self._tell(doubt)
                proves = False
            shortlist = _shortlist(truth.part, listed, truth.changed, proves, width)
            ids, rows, scores = best_listed([truth.part], queries, shortlist, k)
            sure = scores[:, -1] > shortlist.unseen
            filled = scores[:, -1] > NO_SCORE
            everything = listed.ids.shape[1] < width
            if fast or everything or width == _LONGEST or (filled & (sure | (not proves))).all():
                break
            width = min(4 * width, _LONGEST)
        decided = proof(scores, shortlist.unseen) & (filled | everything)
        return Found(ids, rows, scores, decided, sure), truth.row

    def _mark(self, read: Read) -> tuple[Mark, bool]:
        """Return what the index is complete for, and whether its lists prove anything."""
        mark = self.index.mark()
        with read() as connection:
            row = store.gallery_row(connection)
            if mark is None or not is_of(mark, connection, row):
                raise OutsideError(
                    f"{self.index.address} holds nothing that fits this gallery as it is; open the gallery for writing"
                    " to bring it up, as `faceid gallery rebuild` does"
                )
            changed = changed_rows(mark, connection, row)
            if len(changed) > _BEHIND:
                raise OutsideError(
                    f"{self.index.address} is {len(changed):,} changes behind; `faceid gallery rebuild` brings it up"
                )
            if not self.index.exhaustive:
                return mark, False
            count = self.index.count()
            if count != mark.rows:
                self._tell(f"it holds {count:,} vectors, and {mark.rows:,} were acknowledged")
                return mark, False
            if self._proved != mark:
                if not is_whole(self.index, connection, row, changed, _CANARIES):
                    self._tell("it does not find vectors that it holds")
                    return mark, False
                self._proved = mark
        return mark, True

    def _tell(self, doubt: str) -> None:
        if doubt not in self._told:
            self._told.add(doubt)
            logger.warning("%s: %s; its answers are not proved", self.index.address, doubt)


def _truth(connection: Connection, mark: Mark, listed: Listed) -> _Truth:
    """Look up everything that was listed, and everything that changed since the mark."""
    row = store.gallery_row(connection)
    changed = changed_rows(mark, connection, row)
    ids = np.union1d(listed.ids[listed.ids >= 0], changed)
    owners = owners_of(connection, row, ids)
    there = owners >= 0
    unknown = np.setdiff1d(ids[~there], changed)
    ids, owners = ids[there], owners[there]
    vectors = vectors_of(connection, row, ids)
    return _Truth(row, Part(Segment(ids, vectors), owners), np.intersect1d(changed, ids), len(unknown))


def _doubt(truth: _Truth, queries: FloatMatrix, listed: Listed) -> str | None:
    """Return why the list is not believed: ids that nobody has, one twice, or scores of other vectors."""
    if truth.unknown:
        return f"it lists {truth.unknown:,} faces that the gallery does not have"
    ordered = np.sort(listed.ids, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        return "it lists a face twice"
    if (np.diff(listed.scores, axis=1) > 0).any():
        return "its lists do not fall"
    places, rows, scores = _known_pairs(truth.part, listed, truth.changed)
    if not len(rows):
        return None
    error = score_error(queries.shape[1])
    step = 4096
    for start in range(0, len(rows), step):
        its = slice(start, start + step)
        exact = canonical_scores(queries[places[its]], truth.part.segment.vectors[rows[its]])
        if not (np.abs(exact - scores[its]) <= error).all():
            return "its scores are not those of the gallery's vectors"
    return None


def _known_pairs(part: Part, listed: Listed, changed: Ids) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatMatrix]:
    """Return queries, rows of the part and scores of what was listed and has not changed since."""
    rows = _rows(part, listed.ids)
    known = (rows >= 0) & ~np.isin(listed.ids, changed)
    return np.nonzero(known)[0], rows[known], listed.scores[known]


def _rows(part: Part, ids: Ids) -> NDArray[np.int64]:
    """Return the rows of the part that have these ids; -1 where there is none."""
    if not len(part):
        return np.full(ids.shape, -1, np.int64)
    places = np.minimum(np.searchsorted(part.segment.ids, ids), len(part) - 1)
    return np.where(part.segment.ids[places] == ids, places, -1)


def _shortlist(part: Part, listed: Listed, changed: Ids, proves: bool, width: int) -> Shortlist:
    """Return the list with bounds; what changed since the mark is on every list."""
    error = np.float32(score_error(part.segment.vectors.shape[1]))
    rows = np.where(np.isin(listed.ids, changed), -1, _rows(part, listed.ids))
    new = np.broadcast_to(_rows(part, changed), (len(rows), len(changed)))
    # Uppers of scores that are not believed bound nothing: all are scored.
    known = _above(listed.scores + error) if proves else np.full(rows.shape, np.inf, np.float32)
    uppers = np.concatenate([known, np.full(new.shape, np.inf, np.float32)], axis=1).astype(np.float32)
    unseen = np.full(len(rows), np.inf, np.float32)
    if proves:
        full = listed.ids.shape[1] >= width
        unseen = _above(listed.scores[:, -1] + error) if full else np.full(len(rows), _NOBODY_IS_LEFT, np.float32)
    if not uppers.shape[1]:
        rows, uppers = np.full((len(rows), 1), -1, np.int64), np.full((len(rows), 1), NO_SCORE, np.float32)
        return Shortlist(uppers, rows, unseen)
    return Shortlist(uppers, np.concatenate([rows, new], axis=1), unseen)


def _above(bounds: FloatMatrix) -> FloatMatrix:
    """Make up for the rounding of a sum in float32."""
    return np.nextafter(bounds, np.float32(np.inf))


def _joined(blocks: Sequence[Found]) -> Found:
    """Put the answers of blocks of queries together, and cut them where none has anybody any more."""
    arrays = [np.concatenate([getattr(one, field.name) for one in blocks]) for field in fields(Found)]
    found = Found(*arrays)
    m = int((found.scores > NO_SCORE).sum(axis=1).max(initial=0))
    return replace(found, ids=found.ids[:, :m], rows=found.rows[:, :m], scores=found.scores[:, :m])
