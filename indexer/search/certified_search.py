"""From shortlists to answers: canonical scores, the best of each identity, and what is proved about the rest.

A kind of index gives, for each query, rows with upper bounds of their scores and a bound `unseen` for all other rows.
Rows are scored in the order of their bounds, until the bounds of the remaining ones are below the k-th best
identity's score: those cannot enter any more. If `unseen` is below that score too, no row at all can, and the
answer is the one that scoring every row would give: same identities, same scores, same order. Otherwise the list is
made longer; the longest list is all rows.

    exact_candidates:  k-th score > unseen
    exact_decision:    best score > unseen, or, where the best is under the threshold, threshold > unseen

A canonical score is the rounding to float32 of a number that the bound, itself a float32, is not below; rounding is
monotone, so the score is not above the bound either. Ties need `>`: an unseen row that ties might have the smaller id.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.records import FloatMatrix, FloatVector, Ids
from indexer.search.index_kinds import Shortlist, Shortlister, Vectors
from indexer.search.scores import canonical_scores, score_error

_FIRST_WIDTH = 8  # rows on the first list for each identity that is asked for
_LONGEST = 4096  # rows on a list; beyond, scoring all of them in float32 costs less
_FAST_WIDTH = 100  # rows that the fast path rescores for each identity that is asked for
_QUERIES = 1024  # searched at a time
_BLOCK = 4096  # vectors scored at a time
_NO_SCORE, _NOBODY = -4.0, -1  # of a row that is not there


@dataclass(frozen=True, eq=False)
class Found:
    """Answers to Q queries: ids int64 [Q, m] and canonical scores float32 [Q, m], best first, ties by the smaller id.

    m = min(k, N). `exact_decision` bool [Q]: nothing that was not scored can displace the best or reach the threshold.
    `exact_candidates` bool [Q]: the list is the one that scoring everything would give.
    """

    ids: Ids
    scores: FloatMatrix
    exact_decision: NDArray[np.bool_]
    exact_candidates: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Part:
    """Rows that are searched together: whom each belongs to int64 [n], -1 for one that is not there any more."""

    owners: Ids
    vectors: Vectors
    live: NDArray[np.bool_] | None  # None: all


def search(
    parts: Sequence[Part],
    shortlisters: Callable[[], Sequence[Shortlister]],
    queries: FloatMatrix,
    k: int,
    threshold: float | None,
    proved: bool,
) -> Found:
    """Return the k best owners of each query; k is no more than there are. Without `proved`, one short pass."""
    found = Found(
        np.empty((len(queries), k), np.int64),
        np.empty((len(queries), k), np.float32),
        np.ones(len(queries), bool),
        np.ones(len(queries), bool),
    )
    if k:
        for start in range(0, len(queries), _QUERIES):
            _answer(
                parts,
                shortlisters,
                queries,
                np.arange(start, min(start + _QUERIES, len(queries))),
                found,
                threshold,
                proved,
            )
    return found


def _answer(
    parts: Sequence[Part],
    shortlisters: Callable[[], Sequence[Shortlister]],
    queries: FloatMatrix,
    open_rows: NDArray[np.int64],
    found: Found,
    threshold: float | None,
    proved: bool,
) -> None:
    """Fill in the answers to some of the queries, by longer and longer lists."""
    k, total = found.ids.shape[1], sum(len(part.owners) for part in parts)
    width = min((_FIRST_WIDTH if proved else _FAST_WIDTH) * k + 8, _LONGEST)
    while len(open_rows) and width <= _LONGEST:
        asked = queries[open_rows]
        shortlist = _everybody(parts, len(asked)) if width >= total else _shortlist(parts, shortlisters(), asked, width)
        ids, scores = _best(parts, asked, shortlist, k)
        sure = scores[:, -1] > shortlist.unseen
        done = (sure | (not proved)) & (scores[:, -1] > _NO_SCORE)
        rows, unseen = open_rows[done], shortlist.unseen[done]
        found.ids[rows], found.scores[rows], found.exact_candidates[rows] = ids[done], scores[done], sure[done]
        decided = scores[done, 0] if threshold is None else np.maximum(scores[done, 0].astype(float), threshold)
        found.exact_decision[rows] = decided > unseen
        open_rows, width = open_rows[~done], width * 4
    for row in open_rows:
        found.ids[row], found.scores[row] = _score_everything(parts, queries[row], k)


def _shortlist(
    parts: Sequence[Part], shortlisters: Sequence[Shortlister], queries: FloatMatrix, width: int
) -> Shortlist:
    """One list over all parts; rows are counted through them."""
    lists, start = [], 0
    for part, shortlister in zip(parts, shortlisters, strict=True):
        one = shortlister.shortlist(queries, width, part.live)
        lists.append(Shortlist(one.uppers, np.where(one.rows < 0, -1, one.rows + start), one.unseen))
        start += len(part.owners)
    if len(lists) == 1:
        return lists[0]
    return Shortlist(
        np.concatenate([one.uppers for one in lists], axis=1),
        np.concatenate([one.rows for one in lists], axis=1),
        np.max([one.unseen for one in lists], axis=0),
    )


def _everybody(parts: Sequence[Part], count: int) -> Shortlist:
    """List every row that is there: nothing is unseen."""
    rows = np.flatnonzero(np.concatenate([np.ones(len(p.owners), bool) if p.live is None else p.live for p in parts]))
    shape = count, len(rows)
    nothing = np.full(count, _NO_SCORE, np.float32)
    return Shortlist(np.full(shape, np.inf, np.float32), np.broadcast_to(rows, shape), nothing)


def _best(parts: Sequence[Part], queries: FloatMatrix, shortlist: Shortlist, k: int) -> tuple[Ids, FloatMatrix]:
    """Return the k best owners on each list [Q, k] and their scores, scoring no more rows than their bounds ask for.

    First the rows with the largest bounds and then those whose bounds reach the k-th best of these are scored in
    float32; of all these, canonically those that float32's error leaves among the k best. Where a list has fewer than
    k owners, the scores end with _NO_SCORE.
    """
    error = np.float32(score_error(queries.shape[1]))
    uppers = np.where(shortlist.rows >= 0, shortlist.uppers, np.float32(_NO_SCORE))
    head = min(uppers.shape[1], 4 * k + 4)
    first = np.argpartition(-uppers, head - 1, axis=1)[:, :head]
    asked = np.zeros(uppers.shape, bool)
    np.put_along_axis(asked, first, True, axis=1)
    asked &= uppers > _NO_SCORE
    scores = np.full(uppers.shape, _NO_SCORE, np.float32)
    scores[asked] = _float32_scores(parts, queries, *_pairs(asked, shortlist.rows))
    owners = np.full(uppers.shape, _NOBODY, np.int64)
    owners[asked] = _owners(parts, shortlist.rows[asked])
    at_least = _kth_best(np.take_along_axis(owners, first, 1), np.take_along_axis(scores, first, 1), k) - error
    rest = (uppers >= at_least[:, None]) & (uppers > _NO_SCORE) & ~asked
    scores[rest] = _float32_scores(parts, queries, *_pairs(rest, shortlist.rows))
    near = scores >= np.maximum(at_least - error, -2)[:, None]
    return _ranked(parts, queries, *_pairs(near, shortlist.rows), k)


def _pairs(chosen: NDArray[np.bool_], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the query and the row of each chosen place of the lists."""
    return np.nonzero(chosen)[0], rows[chosen]


def _kth_best(owners: Ids, scores: FloatMatrix, k: int) -> FloatVector:
    """Return the k-th best owner's score of each list [Q, m]; _NO_SCORE where there are fewer."""
    order = np.argsort(-scores, axis=1, kind="stable")
    owners, scores = np.take_along_axis(owners, order, 1), np.take_along_axis(scores, order, 1)
    grouped = np.argsort(owners, axis=1, kind="stable")
    sorted_owners = np.take_along_axis(owners, grouped, 1)
    new = np.ones(owners.shape, bool)
    new[:, 1:] = sorted_owners[:, 1:] != sorted_owners[:, :-1]
    best = np.zeros(owners.shape, bool)
    np.put_along_axis(best, grouped, new, axis=1)
    kth = np.cumsum(best & (scores > _NO_SCORE), axis=1) == k
    place = np.argmax(kth, axis=1)
    found = np.take_along_axis(scores, place[:, None], 1)[:, 0]
    return np.where(kth.any(axis=1), found, np.float32(_NO_SCORE))


def _ranked(
    parts: Sequence[Part], queries: FloatMatrix, places: NDArray[np.int64], rows: NDArray[np.int64], k: int
) -> tuple[Ids, FloatMatrix]:
    """Return the k best owners of each query by canonical score, ties by owner, among pairs of query and row."""
    owners = _owners(parts, rows)
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        scores[block] = canonical_scores(queries[places[block]], _take(parts, rows[block]))
    order = np.lexsort((-scores, owners, places))  # each owner's best comes first
    places, owners, scores = places[order], owners[order], scores[order]
    new = np.ones(len(order), bool)
    new[1:] = (owners[1:] != owners[:-1]) | (places[1:] != places[:-1])
    places, owners, scores = places[new], owners[new], scores[new]
    order = np.lexsort((owners, -scores, places))
    places, owners, scores = places[order], owners[order], scores[order]
    rank = np.arange(len(places)) - np.searchsorted(places, places)
    ids = np.full((len(queries), k), _NOBODY, np.int64)
    best = np.full((len(queries), k), _NO_SCORE, np.float32)
    top = rank < k
    ids[places[top], rank[top]], best[places[top], rank[top]] = owners[top], scores[top]
    return ids, best


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


def _take(parts: Sequence[Part], rows: NDArray[np.int64]) -> FloatMatrix:
    """Return the vectors of rows that are counted through the parts."""
    if len(parts) == 1:
        return parts[0].vectors[rows]
    vectors = np.empty((len(rows), parts[0].vectors.shape[1]), np.float32)
    for part, inside, own in _by_part(parts, rows):
        vectors[inside] = part.vectors[own]
    return vectors


def _by_part(
    parts: Sequence[Part], rows: NDArray[np.int64]
) -> Iterator[tuple[Part, NDArray[np.int64], NDArray[np.int64]]]:
    """For each part that has some of the rows: which of them, and their numbers within the part."""
    start = 0
    for part in parts:
        inside = np.flatnonzero((rows >= start) & (rows < start + len(part.owners)))
        if len(inside):
            yield part, inside, rows[inside] - start
        start += len(part.owners)


def _score_everything(parts: Sequence[Part], query: FloatVector, k: int) -> tuple[Ids, FloatVector]:
    """Return the k best owners without any index: for crowds that no bound can tell apart."""
    error = score_error(len(query))
    scores = np.concatenate([_all_float32_scores(part, query) for part in parts])
    width = 4 * k + 4
    while True:
        width = min(width, len(scores))
        top = np.argpartition(-scores, width - 1)[:width]
        owners = _owners(parts, top)
        at_least = _kth_best(owners[None], scores[None, top], k)[0]
        if at_least > _NO_SCORE or width == len(scores):
            break
        width *= 4
    near = np.flatnonzero(scores >= max(at_least - 2 * error, -2))
    ids, best = _ranked(parts, query[None], np.zeros(len(near), np.int64), near, k)
    return ids[0], best[0]


def _all_float32_scores(part: Part, query: FloatVector) -> FloatVector:
    """float32 scores of a part's rows; _NO_SCORE for those that are not there."""
    n = len(part.owners)
    scores = np.empty(n, np.float32)
    for start in range(0, n, _BLOCK):
        scores[start : start + _BLOCK] = part.vectors[start : min(n, start + _BLOCK)] @ query
    if part.live is not None:
        scores[~part.live] = _NO_SCORE
    return scores
