"""How good a network is on people it was not trained on: the three figures by which a run is steered."""

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.metrics.fold_accuracy import Scores, exact
from benchmarks.metrics.metrics import tar_at_far
from benchmarks.metrics.rates import UnsupportedRate
from indexer.records import FloatMatrix
from training.data.faces import Ints

PAIRS_PER_KIND = 3000  # as LFW: 3,000 mated and 3,000 non-mated pairs in ten folds
FOLDS = 10
FAR = 1e-3
SEED = 20170707  # one draw of pairs and of enrolled photos for all runs, so that runs can be compared


@dataclass(frozen=True)
class Validation:
    """Rates in 0..1.

    Attributes:
        accuracy: verification, mean of ten folds, each with the threshold that is best for the other nine.
        tar: share of all mated pairs at or above the threshold that `FAR` of all non-mated pairs reach; not a number
            where there are too few non-mated pairs for it.
        rank1: share of the photos whose most similar enrolled photo, one a person, shows the same person.
    """

    accuracy: float
    tar: float
    rank1: float

    def is_better_than(self, other: "Validation") -> bool:
        """Compare by TAR, which has more trials behind it than the accuracy; without it by the accuracy."""
        if math.isnan(self.tar) or math.isnan(other.tar):
            return self.accuracy > other.accuracy
        return self.tar > other.tar

    def text(self) -> str:
        """For the line that a user watches."""
        tar = "too few pairs" if math.isnan(self.tar) else f"{self.tar:.4f}"
        return f"accuracy {self.accuracy:.4f}  TAR at FAR {FAR:g} {tar}  rank-1 {self.rank1:.4f}"


def validate(embeddings: FloatMatrix, labels: Ints) -> Validation:
    """Compare unit embeddings [N, D] of people [N], each with two photos or more, by the benchmarks' metrics."""
    similarities = embeddings @ embeddings.T
    random = np.random.default_rng(SEED)
    first, second = np.triu_indices(len(labels), 1)
    mated = labels[first] == labels[second]
    scores = similarities[first, second]
    accuracy = _accuracy(scores[mated], scores[~mated], random)
    try:
        tar = tar_at_far(scores[mated], scores[~mated], FAR).value.rate
    except UnsupportedRate:
        tar = math.nan
    return Validation(accuracy, tar, _rank1(similarities, labels, random))


def _accuracy(mated: Scores, non_mated: Scores, random: np.random.Generator) -> float:
    """Draw pairs of both kinds and cut them into folds."""
    drawn = [random.permutation(scores)[:PAIRS_PER_KIND] for scores in (mated, non_mated)]
    folds = [np.arange(len(scores)) * FOLDS // len(scores) for scores in drawn]
    same = np.repeat([True, False], [len(scores) for scores in drawn])
    return exact(np.concatenate(drawn), same, np.concatenate(folds)).accuracy


def _rank1(similarities: FloatMatrix, labels: Ints, random: np.random.Generator) -> float:
    order = random.permutation(len(labels))
    _, firsts = np.unique(labels[order], return_index=True)
    enrolled = order[firsts]
    probes = np.setdiff1d(np.arange(len(labels)), enrolled)
    best = enrolled[similarities[np.ix_(probes, enrolled)].argmax(1)]
    return float((labels[best] == labels[probes]).mean())
