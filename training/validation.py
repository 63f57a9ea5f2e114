"""How good a network is on people it was not trained on: the figures by which a run is steered."""

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.metrics.fold_accuracy import Scores, exact
from benchmarks.metrics.metrics import fnir_at_fpir, tar_at_far
from benchmarks.metrics.rates import UnsupportedRate
from indexer.records import FloatMatrix
from training.data.faces import Ints
from training.errors import DataError

PAIRS_PER_KIND = 3000  # as LFW: 3,000 mated and 3,000 non-mated pairs in ten folds
FOLDS = 10
FAR = 1e-3
LOW_FAR = 1e-4
FPIR = 0.01
DRAWS = 10  # of who is enrolled: one draw of 150 people moves the FNIR by two points
SEED = 20170707  # one draw of pairs and of enrolled photos for all runs, so that runs can be compared


@dataclass(frozen=True)
class Validation:
    """Rates in 0..1; not a number where there are too few trials for one.

    Attributes:
        accuracy: verification, mean of ten folds, each with the threshold that is best for the other nine.
        tar: share of all mated pairs at or above the threshold that `FAR` of all non-mated pairs reach.
        low_tar: the same at `LOW_FAR`.
        rank1: share of the photos whose most similar enrolled photo, one a person, shows the same person.
        fnir: half of the people enrolled with a photo each, the other half strangers: share of the enrolled people's
            other photos that miss them, at the threshold that `FPIR` of the strangers' photos reach; mean of `DRAWS`
            draws of the half and the photo.
    """

    accuracy: float
    tar: float
    low_tar: float
    rank1: float
    fnir: float

    def is_better_than(self, other: "Validation") -> bool:
        """Compare by what few false alarms leave: TAR at `LOW_FAR` less FNIR; by the accuracy where that is unknown."""
        ours, theirs = self.low_tar - self.fnir, other.low_tar - other.fnir
        if math.isnan(ours) or math.isnan(theirs):
            return self.accuracy > other.accuracy
        return ours > theirs

    def text(self) -> str:
        """For the line that a user watches."""
        return (
            f"accuracy {self.accuracy:.4f}  TAR at FAR {FAR:g} {_known(self.tar)}, at {LOW_FAR:g} "
            f"{_known(self.low_tar)}  rank-1 {self.rank1:.4f}  FNIR at FPIR {FPIR:g} {_known(self.fnir)}"
        )


def require_pairs(labels: Ints) -> None:
    """Raise DataError unless these people make mated and non-mated pairs."""
    people, photos = np.unique(labels, return_counts=True)
    if len(people) < 2 or photos.max() < 2:
        raise DataError(
            "validation takes people with two photos or more each, to be told from each other: of "
            f"{len(people)} people nobody has more than {photos.max()}"
        )


def validate(embeddings: FloatMatrix, labels: Ints, enrolled: FloatMatrix | None = None) -> Validation:
    """Compare unit embeddings [N, D] of people [N], each with two photos or more, by the benchmarks' metrics.

    `enrolled` are the same photos as a gallery has them, where the probes are worse: every comparison is then of a
    probe with another photo's enrolled one. Raises DataError as `require_pairs`.
    """
    require_pairs(labels)
    similarities = embeddings @ (embeddings if enrolled is None else enrolled).T
    random = np.random.default_rng(SEED)
    first, second = np.triu_indices(len(labels), 1)
    mated = labels[first] == labels[second]
    scores = similarities[first, second]
    accuracy = _accuracy(scores[mated], scores[~mated], random)
    rank1 = _rank1(similarities, labels, random)
    try:
        fnir = float(np.mean([_fnir(similarities, labels, random) for _ in range(DRAWS)]))
    except UnsupportedRate:
        fnir = math.nan
    return Validation(
        accuracy,
        _tar(scores[mated], scores[~mated], FAR),
        _tar(scores[mated], scores[~mated], LOW_FAR),
        rank1,
        fnir,
    )


def _accuracy(mated: Scores, non_mated: Scores, random: np.random.Generator) -> float:
    """Draw pairs of both kinds and cut them into folds."""
    drawn = [random.permutation(scores)[:PAIRS_PER_KIND] for scores in (mated, non_mated)]
    folds = [np.arange(len(scores)) * FOLDS // len(scores) for scores in drawn]
    same = np.repeat([True, False], [len(scores) for scores in drawn])
    return exact(np.concatenate(drawn), same, np.concatenate(folds)).accuracy


def _tar(mated: Scores, non_mated: Scores, far: float) -> float:
    try:
        return tar_at_far(mated, non_mated, far).value.rate
    except UnsupportedRate:
        return math.nan


def _rank1(similarities: FloatMatrix, labels: Ints, random: np.random.Generator) -> float:
    enrolled = _one_photo_a_person(labels, random)
    probes = np.setdiff1d(np.arange(len(labels)), enrolled)
    best = enrolled[similarities[np.ix_(probes, enrolled)].argmax(1)]
    return float((labels[best] == labels[probes]).mean())


def _fnir(similarities: FloatMatrix, labels: Ints, random: np.random.Generator) -> float:
    """Enrol half of the people, search with all other photos of everybody.

    Raises UnsupportedRate where the strangers have too few photos, or those who are enrolled no other one.
    """
    people = random.permutation(np.unique(labels))
    enrolled = _one_photo_a_person(labels, random)
    enrolled = enrolled[np.isin(labels[enrolled], people[: len(people) // 2])]
    probes = np.setdiff1d(np.arange(len(labels)), enrolled)
    scores = similarities[np.ix_(probes, enrolled)]
    mates = labels[probes][:, None] == labels[enrolled]
    known = mates.any(1)
    if not known.any():
        raise UnsupportedRate("nobody who is enrolled has another photo", 1, 0)
    mate_scores = scores[mates]  # one a row: each person has one enrolled photo
    ranks = 1 + (scores[known] > mate_scores[:, None]).sum(1)
    return fnir_at_fpir(ranks, mate_scores, scores[~known].max(1), FPIR).value.rate


def _one_photo_a_person(labels: Ints, random: np.random.Generator) -> Ints:
    order = random.permutation(len(labels))
    _, firsts = np.unique(labels[order], return_index=True)
    return order[firsts]


def _known(rate: float) -> str:
    return "too few trials" if math.isnan(rate) else f"{rate:.4f}"
