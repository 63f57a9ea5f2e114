"""A cohort: embeddings of strangers that a model carries, by which any gallery of the model measures itself.

Searching them in a gallery as it is gives the best scores of people who are not in it: the sample from which its
thresholds follow, whatever its size, its templates and its fusion. With them go the scores that people reach against
their own templates, by fusion and number of templates, so that a similarity can be told as a probability.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from indexer.errors import CalibrationError
from indexer.records import FloatMatrix, FloatVector, Ids
from indexer.search.scores import check_vectors

MOST_STRANGERS = 4096
"""People in a cohort at most: an FPIR of 0.1 % is then counted in four alarms; more would be a larger file."""

FEWEST_STRANGERS = 100
"""People below which a cohort says too little: an FPIR of 10 % would rest on ten alarms."""

SOME_STRANGERS = 1000
"""People of a cohort whom a large gallery asks first: enough for an FPIR of 1 %, in ten alarms."""

PHOTOS_A_PERSON = 5
"""Photos kept of a person at most: decisions on several photos of one unknown are measured on them."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """Strangers of one model: int8 codes [n, D] of unit vectors, of `persons` int64 [n], a person's rows together.

    `own_scores` has the laws of mated scores (`indexer.calibration.own_scores`): empty where nobody had several photos.
    `data` says whose embeddings these are, `detector` and `precision` what made them.
    """

    codes: NDArray[np.int8]
    persons: Ids
    model_digest: str
    data: str
    date: str
    detector: str
    precision: str
    own_scores: dict[tuple[str, int], FloatVector] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.codes.dtype != np.int8 or self.codes.ndim != 2 or not self.codes.any(axis=1).all():
            raise CalibrationError("a cohort's codes are int8 [n, D], no row of them zero")
        if self.persons.dtype != np.int64 or self.persons.shape != (len(self.codes),):
            raise CalibrationError("a cohort names one person for each of its rows")
        if (np.diff(self.persons) < 0).any():
            raise CalibrationError("the rows of a cohort's person lie together")

    @cached_property
    def rows(self) -> FloatMatrix:
        """All rows as unit vectors float32 [n, D]."""
        long = self.codes.astype(np.float64)
        unit: FloatMatrix = (long / np.linalg.norm(long, axis=1, keepdims=True)).astype(np.float32)
        return unit

    @cached_property
    def first(self) -> NDArray[np.intp]:
        """Where each person's first row is, [people]."""
        return np.unique(self.persons, return_index=True)[1]

    @cached_property
    def strangers(self) -> FloatMatrix:
        """One unit vector of each person, float32 [people, D]."""
        return self.rows[self.first]

    @cached_property
    def some_strangers(self) -> FloatMatrix:
        """SOME_STRANGERS of them, evenly spread, or all."""
        count = len(self.strangers)
        return self.strangers[np.unique(np.linspace(0, count - 1, min(count, SOME_STRANGERS)).astype(np.int64))]

    @cached_property
    def key(self) -> str:
        """The hex SHA-256 of model and rows: what scores of this cohort are kept under."""
        digest = hashlib.sha256(self.model_digest.encode())
        digest.update(self.codes.tobytes())
        digest.update(self.persons.astype("<i8").tobytes())
        return digest.hexdigest()

    def groups(self, photos: int) -> FloatMatrix:
        """Return the direction of the mean of `photos` rows of each person who has as many, float32 [m, D]."""
        count = np.diff(np.append(self.first, len(self.persons)))
        starts = self.first[count >= photos]
        means = self.rows[starts[:, None] + np.arange(photos)].mean(axis=1, dtype=np.float64)
        directions: FloatMatrix = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
        return directions


def make_cohort(
    vectors: FloatMatrix,
    labels: Sequence[str],
    *,
    model_digest: str,
    data: str,
    date: str,
    detector: str,
    precision: str = "float32",
    own_scores: dict[tuple[str, int], FloatVector] | None = None,
    seed: int = 0,
) -> Cohort:
    """Make a cohort of unit vectors [n, D] of labelled people: MOST_STRANGERS of them drawn with `seed`, if more.

    Raises CalibrationError for fewer than FEWEST_STRANGERS people, VectorError for what is no embedding.
    """
    check_vectors(vectors, vectors.shape[-1])
    names, person = np.unique(np.array(labels), return_inverse=True)
    if len(names) < FEWEST_STRANGERS:
        raise CalibrationError(
            f"{len(names)} people are too few for a cohort: it takes {FEWEST_STRANGERS}, better some thousands"
        )
    chosen = np.sort(np.random.default_rng(seed).permutation(len(names))[:MOST_STRANGERS])
    order = np.argsort(person, kind="stable")
    rank = np.arange(len(order)) - np.searchsorted(person[order], person[order])
    kept = order[np.isin(person[order], chosen) & (rank < PHOTOS_A_PERSON)]
    scaled = vectors[kept] * (127 / np.abs(vectors[kept]).max(axis=1, keepdims=True))
    return Cohort(
        np.rint(scaled).astype(np.int8),
        np.unique(person[kept], return_inverse=True)[1].astype(np.int64),
        model_digest,
        data,
        date,
        detector,
        precision,
        own_scores or {},
    )
