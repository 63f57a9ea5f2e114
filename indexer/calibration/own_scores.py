"""What people score against their own templates, by fusion and number of templates: a model's law of mated scores."""

from collections.abc import Sequence

import numpy as np

from indexer.decision.mated_law import OwnScores
from indexer.fusion import Fusion
from indexer.records import Embeddings, FloatMatrix, FloatVector, Ids
from indexer.search.fusion import fuse

TEMPLATES = (1, 2, 3, 5, 10, 20)
"""Numbers of templates at which the law is measured, as far as there are people with one photo more."""

FEWEST_PEOPLE = 25
"""People behind a law: the quantiles between them are off by a tenth of the spread."""

PROBES = 5
"""Photos of a person searched for at most, so that nobody stands behind most of a law."""

QUANTILES = 101
"""Points of a law, evenly spaced from the lowest to the highest score."""


def own_scores(vectors: FloatMatrix, labels: Sequence[str], fusions: Sequence[Fusion], seed: int = 0) -> OwnScores:
    """Return, by fusion and templates, QUANTILES scores of photos against their own person's other photos.

    From unit vectors [n, D] of labelled people; a number of templates that fewer than FEWEST_PEOPLE reach is left out.
    """
    _, person = np.unique(np.array(labels), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(person))
    order = order[np.argsort(person[order], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(person[order])) + 1)
    laws: OwnScores = {}
    for templates in TEMPLATES:
        people = [rows for rows in groups if len(rows) > templates]
        if len(people) < FEWEST_PEOPLE:
            break
        enrolled = np.concatenate([rows[:templates] for rows in people])
        owners = np.repeat(np.arange(len(people)), templates)
        probes = np.concatenate([rows[templates : templates + PROBES] for rows in people])
        whose = np.repeat(np.arange(len(people)), [min(PROBES, len(rows) - templates) for rows in people])
        for fusion in fusions:
            scores = _own(vectors[enrolled], owners, fusion, vectors[probes], whose)
            laws[fusion, templates] = np.quantile(scores, np.linspace(0, 1, QUANTILES)).astype(np.float32)
    return laws


def own_scores_together(
    vectors: FloatMatrix, persons: Ids, fusion: Fusion, templates: int, photos: int
) -> FloatVector | None:
    """Return QUANTILES scores of the direction of the mean of `photos` photos against the same person's other ones.

    From unit vectors [n, D] of `persons` [n], a person's rows together, with as many templates as FEWEST_PEOPLE have
    beside the photos, `templates` at most; None where these have none.
    """
    starts = np.unique(persons, return_index=True)[1]
    counts = np.diff(np.append(starts, len(persons)))
    for enrolled in range(templates, 0, -1):
        chosen = starts[counts >= photos + enrolled]
        if len(chosen) >= FEWEST_PEOPLE:
            break
    else:
        return None
    means = vectors[chosen[:, None] + np.arange(photos)].mean(axis=1, dtype=np.float64)
    probes = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
    rows = (chosen[:, None] + photos + np.arange(enrolled)).ravel()
    whose = np.arange(len(chosen))
    scores = _own(vectors[rows], np.repeat(whose, enrolled), fusion, probes, whose)
    law: FloatVector = np.quantile(scores, np.linspace(0, 1, QUANTILES)).astype(np.float32)
    return law


def _own(enrolled: FloatMatrix, owners: Ids, fusion: Fusion, probes: FloatMatrix, whose: Ids) -> FloatVector:
    """Score each probe [m] against the person [m] it shows."""
    fused = fuse(Embeddings(np.arange(len(owners)), owners.astype(np.int64), enrolled), fusion)
    scores = np.full(len(probes), -1.0, np.float32)
    rows, places = np.nonzero(fused.owners[None, :] == whose[:, None])
    np.maximum.at(scores, rows, np.einsum("ij,ij->i", probes[rows], np.asarray(fused.segment.vectors)[places]))
    return scores
