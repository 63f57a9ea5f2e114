"""Searching: from shortlists to answers, the best of each identity in canonical scores, and what is proved of the rest.

A kind of index gives, for each query, rows with upper bounds of their scores and a bound `unseen` for all other rows.
Rows are scored in the order of their bounds, until the bounds of the remaining ones are below the k-th best
identity's score: those cannot enter any more. If `unseen` is below that score too, no row at all can, and the
answer is the one that scoring every row would give: same identities, same scores, same order. Otherwise the list is
made longer; the longest list is all rows.

    exact_candidates:  k-th score > unseen
    exact_decision:    best score > unseen, or, where the best is under the threshold, threshold > unseen; where it is
                       made on more than the best score, what the caller proves from the list's scores and `unseen`

A canonical score is the rounding to float32 of a number that the bound, itself a float32, is not below; rounding is
monotone, so the score is not above the bound either. Ties need `>`: an unseen row that ties might have the smaller id.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from indexer.records import FloatMatrix, FloatVector, Ids
from indexer.search.index_kinds import AUTO, choose_kind
from indexer.search.scores import canonical_scores, score_error
from indexer.search.shortlist import Segment, Shortlist

_FIRST_WIDTH = 8  # rows on the first list for each identity that is asked for
_LONGEST = 4096  # rows on a list; beyond, scoring all of them in float32 costs less
_FAST_WIDTH = 100  # rows that the fast path rescores for each identity that is asked for
_QUERIES = 1024  # searched at a time
_BLOCK = 4096  # vectors scored at a time
NO_SCORE, _NOBODY = -4.0, -1  # of a row that is not there

Proof = Callable[[FloatMatrix, FloatVector], NDArray[np.bool_]]
"""From scores [Q, m], best first, and `unseen` [Q], the queries whose decision is proved, [Q]."""


@dataclass(frozen=True, eq=False)
class Part:
    """A segment as one revision sees it: whom each of its rows belongs to, int64 [n], -1 for one that is gone.

    What is found is an owner, by its best row.
    """

    segment: Segment
    owners: Ids

    def __len__(self) -> int:
        return len(self.owners)

    @cached_property
    def live(self) -> NDArray[np.bool_] | None:
        """The rows that are there, bool [n]; None: all of them."""
        there = self.owners != _NOBODY
        return None if there.all() else there


@dataclass(frozen=True, eq=False)
class Found:
    """Answers to Q queries: ids int64 [Q, m] and canonical scores float32 [Q, m], best first, ties by the smaller id.

    m = min(k, N). `rows` int64 [Q, m]: the id of the row that gave each score. `exact_decision` bool [Q]: nothing that
    was not scored can displace the best or reach the threshold. `exact_candidates` bool [Q]: the list is the one that
    scoring everything would give.
    """

    ids: Ids
    rows: Ids
    scores: FloatMatrix
    exact_decision: NDArray[np.bool_]
    exact_candidates: NDArray[np.bool_]


def search(
    parts: Sequence[Part],
    queries: FloatMatrix,
    k: int,
    *,
    kind: str = AUTO,
    threshold: float | None = None,
    proof: Proof | None = None,
    fast: bool = False,
) -> Found:
    """Return the min(k, N) best owners of each query [Q, D] (as `check_vectors` takes it); k >= 1.

    Ids are those of one part only. With `fast` many parts' rows are only sampled, and the answer says what is not
    proved; `threshold` changes nothing but what `exact_decision` speaks of, and `proof` says what that means where a
    decision is made on more than the best score. Raises VectorError for a kind of index that does not exist or that
    this machine cannot run.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    chosen = choose_kind(kind, sum(map(len, parts)), fast)
    shape = len(queries), _owners_up_to(k, parts)
    found = Found(
        np.empty(shape, np.int64),
        np.empty(shape, np.int64),
        np.empty(shape, np.float32),
        np.ones(len(queries), bool),
        np.ones(len(queries), bool),
    )

    def shortlist(asked: FloatMatrix, width: int) -> Shortlist:
        return _joined(parts, [part.segment.under(chosen).shortlist(asked, width, part.live) for part in parts])

    if shape[1]:
        for start in range(0, len(queries), _QUERIES):
            block = np.arange(start, min(start + _QUERIES, len(queries)))
            _answer(parts, shortlist, queries, block, found, proof or best_is_known(threshold), proved=not fast)
    return found


def _answer(
    parts: Sequence[Part],
    shortlist: Callable[[FloatMatrix, int], Shortlist],
    queries: FloatMatrix,
    open_rows: NDArray[np.int64],
    found: Found,
    proof: Proof,
    *,
    proved: bool,
) -> None:
    """Fill in the answers to some of the queries, by longer and longer lists. Without `proved`, one short pass."""
    k, total = found.ids.shape[1], sum(map(len, parts))
    width = min((_FIRST_WIDTH if proved else _FAST_WIDTH) * k + 8, _LONGEST)
    while len(open_rows) and width <= _LONGEST:
        asked = queries[open_rows]
        listed = _everybody(parts, len(asked)) if width >= total else shortlist(asked, width)
        ids, rows, scores = best_listed(parts, asked, listed, k)
        sure = scores[:, -1] > listed.unseen
        done = (sure | (not proved)) & (scores[:, -1] > NO_SCORE)
        places, unseen = open_rows[done], listed.unseen[done]
        found.ids[places], found.rows[places], found.scores[places] = ids[done], rows[done], scores[done]
        found.exact_candidates[places], found.exact_decision[places] = sure[done], proof(scores[done], unseen)
        open_rows, width = open_rows[~done], width * 4
    for place in open_rows:
        found.ids[place], found.rows[place], found.scores[place] = _score_everything(parts, queries[place], k)


def best_is_known(threshold: float | None) -> Proof:
    """Return what proves a decision on the best score against a threshold (None: which the best is)."""

    def proof(scores: FloatMatrix, unseen: FloatVector) -> NDArray[np.bool_]:
        decided = scores[:, 0] if threshold is None else np.maximum(scores[:, 0].astype(float), threshold)
        return np.asarray(decided > unseen)

    return proof


def _joined(parts: Sequence[Part], lists: Sequence[Shortlist]) -> Shortlist:
    """Make one list of those of all parts; rows are counted through them."""
    if len(lists) == 1:
        return lists[0]
    starts = np.cumsum([0, *map(len, parts)])
    rows = [np.where(one.rows < 0, _NOBODY, one.rows + start) for one, start in zip(lists, starts, strict=False)]
    return Shortlist(
        np.concatenate([one.uppers for one in lists], axis=1),
        np.concatenate(rows, axis=1),
        np.max([one.unseen for one in lists], axis=0),
    )


def _everybody(parts: Sequence[Part], count: int) -> Shortlist:
    """List every row that is there: nothing is unseen."""
    rows = np.flatnonzero(np.concatenate([np.ones(len(p), bool) if p.live is None else p.live for p in parts]))
    shape = count, len(rows)
    nothing = np.full(count, NO_SCORE, np.float32)
    return Shortlist(np.full(shape, np.inf, np.float32), np.broadcast_to(rows, shape), nothing)


def best_listed(
    parts: Sequence[Part], queries: FloatMatrix, shortlist: Shortlist, k: int
) -> tuple[Ids, Ids, FloatMatrix]:
    """Return the k best owners on each list [Q, k], the ids of their rows and scores; score only what bounds ask for.

    First the rows with the largest bounds and then those whose bounds reach the k-th best of these are scored in
    float32; of all these, canonically those that float32's error leaves among the k best. Where a list has fewer than
    k owners, the scores end with NO_SCORE.
    """
    error = np.float32(score_error(queries.shape[1]))
    uppers = np.where(shortlist.rows >= 0, shortlist.uppers, np.float32(NO_SCORE))
    head = min(uppers.shape[1], 4 * k + 4)
    first = np.argpartition(-uppers, head - 1, axis=1)[:, :head]
    asked = np.zeros(uppers.shape, bool)
    np.put_along_axis(asked, first, True, axis=1)
    asked &= uppers > NO_SCORE
    scores = np.full(uppers.shape, NO_SCORE, np.float32)
    scores[asked] = _float32_scores(parts, queries, *_pairs(asked, shortlist.rows))
    owners = np.full(uppers.shape, _NOBODY, np.int64)
    owners[asked] = _owners(parts, shortlist.rows[asked])
    at_least = _kth_best(np.take_along_axis(owners, first, 1), np.take_along_axis(scores, first, 1), k) - error
    rest = (uppers >= at_least[:, None]) & (uppers > NO_SCORE) & ~asked
    scores[rest] = _float32_scores(parts, queries, *_pairs(rest, shortlist.rows))
    near = scores >= np.maximum(at_least - error, -2)[:, None]
    return _ranked(parts, queries, *_pairs(near, shortlist.rows), k)


def _pairs(chosen: NDArray[np.bool_], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the query and the row of each chosen place of the lists."""
    return np.nonzero(chosen)[0], rows[chosen]


def _kth_best(owners: Ids, scores: FloatMatrix, k: int) -> FloatVector:
    """Return the k-th best owner's score of each list [Q, m]; NO_SCORE where there are fewer."""
    order = np.argsort(-scores, axis=1, kind="stable")
    owners, scores = np.take_along_axis(owners, order, 1), np.take_along_axis(scores, order, 1)
    grouped = np.argsort(owners, axis=1, kind="stable")
    sorted_owners = np.take_along_axis(owners, grouped, 1)
    new = np.ones(owners.shape, bool)
    new[:, 1:] = sorted_owners[:, 1:] != sorted_owners[:, :-1]
    best = np.zeros(owners.shape, bool)
    np.put_along_axis(best, grouped, new, axis=1)
    kth = np.cumsum(best & (scores > NO_SCORE), axis=1) == k
    place = np.argmax(kth, axis=1)
    found = np.take_along_axis(scores, place[:, None], 1)[:, 0]
    return np.where(kth.any(axis=1), found, np.float32(NO_SCORE))


def _ranked(
    parts: Sequence[Part], queries: FloatMatrix, places: NDArray[np.int64], rows: NDArray[np.int64], k: int
) -> tuple[Ids, Ids, FloatMatrix]:
    """Return the k best owners of each query, their rows' ids and canonical scores, ties by owner, among pairs."""
    owners = _owners(parts, rows)
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        scores[block] = canonical_scores(queries[places[block]], _take(parts, rows[block]))
    order = np.lexsort((-scores, owners, places))  # each owner's best comes first
    places, owners, scores, rows = places[order], owners[order], scores[order], rows[order]
    new = np.ones(len(order), bool)
    new[1:] = (owners[1:] != owners[:-1]) | (places[1:] != places[:-1])
    places, owners, scores, rows = places[new], owners[new], scores[new], rows[new]
    order = np.lexsort((owners, -scores, places))
    places, owners, scores, rows = places[order], owners[order], scores[order], rows[order]
    rank = np.arange(len(places)) - np.searchsorted(places, places)
    top = rank < k
    ids = np.full((len(queries), k), _NOBODY, np.int64)
    its_rows = np.full((len(queries), k), _NOBODY, np.int64)
    best = np.full((len(queries), k), NO_SCORE, np.float32)
    there = places[top], rank[top]
    ids[there], its_rows[there], best[there] = owners[top], _ids(parts, rows[top]), scores[top]
    return ids, its_rows, best


def _float32_scores(
    parts: Sequence[Part], queries: FloatMatrix, places: NDArray[np.int64], rows: NDArray[np.int64]
) -> FloatVector:
    """Inner products of pairs of query and row, within `score_error` of the canonical ones."""
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        vectors = _take(parts, rows[block])
        scores[block] = (
            vectors @ queries[0] if len(queries) == 1 else np.einsum("pd,pd->p", queries[places[block]], vectors)
        )
    return scores


def _owners(parts: Sequence[Part], rows: NDArray[np.int64]) -> Ids:
    """Return whom rows belong to that are counted through the parts."""
    owners = np.empty(len(rows), np.int64)
    for part, inside, own in _by_part(parts, rows):
        owners[inside] = part.owners[own]
    return owners


def _ids(parts: Sequence[Part], rows: NDArray[np.int64]) -> Ids:
    """Return the ids of rows that are counted through the parts."""
    ids = np.empty(len(rows), np.int64)
    for part, inside, own in _by_part(parts, rows):
        ids[inside] = part.segment.ids[own]
    return ids


def _take(parts: Sequence[Part], rows: NDArray[np.int64]) -> FloatMatrix:
    """Return the vectors of rows that are counted through the parts."""
    if len(parts) == 1:
        return parts[0].segment.vectors[rows]
    vectors = np.empty((len(rows), parts[0].segment.vectors.shape[1]), np.float32)
    for part, inside, own in _by_part(parts, rows):
        vectors[inside] = part.segment.vectors[own]
    return vectors


def _by_part(
    parts: Sequence[Part], rows: NDArray[np.int64]
) -> Iterator[tuple[Part, NDArray[np.int64], NDArray[np.int64]]]:
    """For each part that has some of the rows: which of them, and their numbers within the part."""
    start = 0
    for part in parts:
        inside = np.flatnonzero((rows >= start) & (rows < start + len(part)))
        if len(inside):
            yield part, inside, rows[inside] - start
        start += len(part)


def _score_everything(parts: Sequence[Part], query: FloatVector, k: int) -> tuple[Ids, Ids, FloatVector]:
    """Return the k best owners without any index: for crowds that no bound can tell apart."""
    error = score_error(len(query))
    scores = np.concatenate([_all_float32_scores(part, query) for part in parts])
    width = 4 * k + 4
    while True:
        width = min(width, len(scores))
        top = np.argpartition(-scores, width - 1)[:width]
        owners = _owners(parts, top)
        at_least = _kth_best(owners[None], scores[None, top], k)[0]
        if at_least > NO_SCORE or width == len(scores):
            break
        width *= 4
    near = np.flatnonzero(scores >= max(at_least - 2 * error, -2))
    ids, rows, best = _ranked(parts, query[None], np.zeros(len(near), np.int64), near, k)
    return ids[0], rows[0], best[0]


def _all_float32_scores(part: Part, query: FloatVector) -> FloatVector:
    """float32 scores of a part's rows; NO_SCORE for those that are not there."""
    n = len(part)
    scores = np.empty(n, np.float32)
    for start in range(0, n, _BLOCK):
        scores[start : start + _BLOCK] = part.segment.vectors[start : min(n, start + _BLOCK)] @ query
    if part.live is not None:
        scores[~part.live] = NO_SCORE
    return scores


def _owners_up_to(k: int, parts: Sequence[Part]) -> int:
    """Return the number of owners, or k if there are more; looks at few rows of a large index."""
    known = np.empty(0, np.int64)
    for part in parts:
        start, size = 0, 4 * k
        while start < len(part):
            rows = slice(start, start + size)
            owners = part.owners[rows] if part.live is None else part.owners[rows][part.live[rows]]
            known = np.union1d(known, owners)
            if len(known) >= k:
                return k
            start, size = start + size, 2 * size
    return len(known)
