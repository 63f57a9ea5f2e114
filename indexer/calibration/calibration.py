"""Measuring non-mated scores, of a gallery or of a model, from which `decision` derives thresholds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from indexer.decision.context import decision_scores, people_needed
from indexer.decision.decision import MAX_STORED, Calibration
from indexer.errors import CalibrationError
from indexer.gallery import Gallery
from indexer.records import FloatMatrix, FloatVector, Ids
from indexer.search.certified_search import Part, search
from indexer.search.scores import canonical_scores, check_vectors
from indexer.search.shortlist import Segment

MIN_IDENTITIES = 300
"""Below it a gallery says too little about strangers: one alarm would already be more than 0.3 %."""

FROM_ITSELF = "the gallery itself"
"""The data of a calibration without strangers."""

_SEARCHES_AT_ONCE = 1024
_PAIR_BLOCK = 2048


@dataclass(frozen=True)
class SuspectedDuplicate:
    """Two identities that look like one person: each other's best match, far above what strangers reach."""

    first_id: int
    second_id: int
    similarity: float


def calibrate_from_strangers(
    gallery: Gallery, vectors: FloatMatrix, *, data: str, precision: str = "float32"
) -> Calibration:
    """FPIR of a gallery from faces of people who are known not to be in it: one search for each vector [n, D].

    The sample is the best score of each search. Raises CalibrationError for an empty gallery or no vectors.
    """
    size = gallery.size
    if not size:
        raise CalibrationError("nobody is enrolled, so no stranger can be taken for somebody; enrol people first")
    if not len(vectors):
        raise CalibrationError("there is no face of a stranger to measure with")
    on = gallery.decided_on
    found = _searches(gallery, vectors, people_needed(on))
    best = np.concatenate([decision_scores(scores, on) for _, scores in found])
    return _fpir(gallery, best, size, data, precision)


def calibrate_from_gallery(
    gallery: Gallery, *, precision: str = "float32"
) -> tuple[Calibration, list[SuspectedDuplicate]]:
    """FPIR of a gallery without strangers: everybody's first template searched among all the others (N - 1).

    One value per identity, so that nobody counts twice. Two people who are each other's best match above the upper
    outer fence Q3 + 3 (Q3 - Q1) of all these values (Tukey 1977, Exploratory Data Analysis) are suspected to be one
    person, and so is whoever has one of these for a best match above it: left out, and returned, most similar first.
    Raises CalibrationError below MIN_IDENTITIES identities.
    """
    size = gallery.size
    if size < MIN_IDENTITIES:
        raise CalibrationError(
            f"{size} identities are too few to calibrate from themselves (at least {MIN_IDENTITIES});"
            " give photos of people who are not in the gallery with --strangers, or use the model's own table"
        )
    embeddings = gallery.embeddings()
    people, first = np.unique(embeddings.identity_ids, return_index=True)
    other = np.empty(len(people), np.int64)
    score = np.empty(len(people), np.float32)
    decided = np.empty(len(people), np.float32)
    row, on = 0, gallery.decided_on
    for ids, scores in _searches(gallery, embeddings.vectors[first], 1 + people_needed(on)):
        # Without the person, who with fusion 'mean' need not be the best, and may not be listed at all.
        rows = slice(row, row + len(ids))
        last = np.argsort(ids == people[rows][:, None], axis=1, kind="stable")[:, : ids.shape[1] - 1]
        ids, scores = np.take_along_axis(ids, last, 1), np.take_along_axis(scores, last, 1)
        other[rows], score[rows], decided[rows] = ids[:, 0], scores[:, 0], decision_scores(scores, on)
        row += len(ids)
    suspects = _suspected_duplicates(people, other, score)
    apart = ~np.isin(people, [person for pair in suspects for person in (pair.first_id, pair.second_id)])
    return _fpir(gallery, decided[apart], size - 1, FROM_ITSELF, precision), suspects


def calibrate_pairs(
    vectors: FloatMatrix, labels: Sequence[str], *, model_digest: str, data: str, precision: str = "float32"
) -> Calibration:
    """FAR from all pairs of different people among vectors [n, D] with labels [n], the first vector of each person."""
    check_vectors(vectors, vectors.shape[-1])
    people = vectors[_first_of_each(labels)]
    trials = len(people) * (len(people) - 1) // 2
    if not trials:
        raise CalibrationError("pairs of different people need at least two people")
    scores = _best_pairs(people)
    return Calibration("far", scores, trials, None, None, None, model_digest, precision, data, _today())


def calibrate_model(
    vectors: FloatMatrix,
    labels: Sequence[str],
    sizes: Sequence[int],
    *,
    model_digest: str,
    data: str,
    precision: str = "float32",
    seed: int = 0,
) -> list[Calibration]:
    """Return a model's own table from vectors [n, D] of labelled people: FPIR at several gallery sizes, then FAR.

    For each size N, N people drawn with `seed` are enrolled with one template each, and one photo of everybody else
    is searched. Raises CalibrationError for a size that leaves nobody to search.
    """
    check_vectors(vectors, vectors.shape[-1])
    people = vectors[_first_of_each(labels)]
    table = []
    for size in sizes:
        if not 1 <= size < len(people):
            raise CalibrationError(f"a gallery of {size} needs more than {size} people, here are {len(people)}")
        order = np.random.default_rng(seed).permutation(len(people))
        enrolled = Part(Segment(np.arange(size), people[order[:size]]), np.arange(size))
        best = search([enrolled], people[order[size:]], 1).scores[:, 0]
        tail = _upper_tail(best)
        table.append(Calibration("fpir", tail, len(best), size, 1.0, "max", model_digest, precision, data, _today()))
    far = calibrate_pairs(vectors, labels, model_digest=model_digest, data=data, precision=precision)
    return [*table, far]


def _searches(gallery: Gallery, vectors: FloatMatrix, k: int) -> Iterator[tuple[Ids, FloatMatrix]]:
    for start in range(0, len(vectors), _SEARCHES_AT_ONCE):
        answers = gallery.search(vectors[start : start + _SEARCHES_AT_ONCE], k)
        ids = np.array([[one.id for one in answer.candidates] for answer in answers], np.int64)
        yield ids, np.array([[one.similarity for one in answer.candidates] for answer in answers], np.float32)


def _fpir(gallery: Gallery, scores: FloatVector, size: int, data: str, precision: str) -> Calibration:
    stats = gallery.stats()
    return Calibration(
        target="fpir",
        scores=_upper_tail(scores),
        trials=len(scores),
        gallery_size=size,
        templates_per_identity=stats.templates_per_identity,
        fusion=gallery.fusion,
        model_digest=gallery.model.digest,
        precision=precision,
        data=data,
        date=_today(),
        on=gallery.decided_on,
    )


def _suspected_duplicates(people: Ids, other: Ids, score: FloatVector) -> list[SuspectedDuplicate]:
    low, high = np.quantile(score, (0.25, 0.75))
    fence = high + 3 * (high - low)
    match = np.searchsorted(people, other)
    mutual = (other[match] == people) & (score > fence)
    again = ~mutual & mutual[match] & (score > fence)  # enrolled a third time
    rows = np.flatnonzero((mutual & (people < other)) | again)
    first, second = np.sort([people[rows], other[rows]], axis=0).tolist()
    pairs = [SuspectedDuplicate(*one) for one in zip(first, second, score[rows].tolist(), strict=True)]
    return sorted(pairs, key=lambda pair: -pair.similarity)


def _best_pairs(people: FloatMatrix) -> FloatVector:
    """Return the MAX_STORED best canonical scores of all pairs i < j, largest first, block by block."""
    kept_scores = np.empty(0, np.float64)
    kept_pairs = np.empty((0, 2), np.int64)
    cut = -np.inf
    for left in range(0, len(people), _PAIR_BLOCK):
        a = people[left : left + _PAIR_BLOCK].astype(np.float64)
        for right in range(left, len(people), _PAIR_BLOCK):
            scores = a @ people[right : right + _PAIR_BLOCK].T.astype(np.float64)
            if left == right:
                scores[np.tril_indices(len(scores))] = -np.inf
            rows, columns = np.nonzero((scores >= cut) & (scores > -np.inf))
            kept_scores = np.concatenate([kept_scores, scores[rows, columns]])
            kept_pairs = np.concatenate([kept_pairs, np.stack([rows + left, columns + right], axis=1)])
            if len(kept_scores) > MAX_STORED:
                best = np.argpartition(kept_scores, -MAX_STORED)[-MAX_STORED:]
                kept_scores, kept_pairs = kept_scores[best], kept_pairs[best]
                cut = kept_scores.min()
    blocks = np.array_split(kept_pairs, max(1, len(kept_pairs) // _PAIR_BLOCK))
    canonical = [canonical_scores(people[block[:, 0]], people[block[:, 1]]) for block in blocks]
    return _upper_tail(np.concatenate(canonical))


def _upper_tail(scores: FloatVector) -> FloatVector:
    tail: FloatVector = np.sort(scores)[::-1][:MAX_STORED].astype(np.float32)
    return tail


def _first_of_each(labels: Sequence[str]) -> NDArray[np.intp]:
    """Return the places of everybody's first vector, in order of appearance."""
    first: dict[str, int] = {}
    for place, label in enumerate(labels):
        first.setdefault(label, place)
    return np.array(list(first.values()), np.intp)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
