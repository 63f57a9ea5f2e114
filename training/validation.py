"""How good a network is on people it was not trained on: the three figures by which a run is steered."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

PAIRS_PER_KIND = 3000  # as LFW: 3,000 mated and 3,000 non-mated pairs in ten folds
FOLDS = 10
FAR = 1e-3
SEED = 20170707  # one draw of pairs and of enrolled photos for all runs, so that runs can be compared


@dataclass(frozen=True)
class Validation:
    """Rates in 0..1.

    Attributes:
        accuracy: verification, mean of ten folds, each with the threshold that is best for the other nine.
        tar: share of all mated pairs at or above the threshold that `FAR` of all non-mated pairs reach.
        rank1: share of the photos whose most similar enrolled photo, one a person, shows the same person.
    """

    accuracy: float
    tar: float
    rank1: float


def validate(embeddings: Floats, labels: Ints) -> Validation:
    """Compare unit embeddings [N, D] of people [N], each with two photos or more."""
    similarities = embeddings @ embeddings.T
    random = np.random.default_rng(SEED)
    first, second = np.triu_indices(len(labels), 1)
    mated = labels[first] == labels[second]
    scores = similarities[first, second]
    return Validation(
        accuracy=_accuracy(scores[mated], scores[~mated], random),
        tar=_tar(scores[mated], scores[~mated]),
        rank1=_rank1(similarities, labels, random),
    )


def _accuracy(mated: Floats, non_mated: Floats, random: np.random.Generator) -> float:
    drawn = [random.permutation(scores)[:PAIRS_PER_KIND] for scores in (mated, non_mated)]
    folds = [np.array_split(scores, FOLDS) for scores in drawn]
    accuracies = []
    for fold in range(FOLDS):
        others = [np.concatenate(kind[:fold] + kind[fold + 1 :]) for kind in folds]
        threshold = _best_threshold(*others)
        right = (folds[0][fold] >= threshold).sum() + (folds[1][fold] < threshold).sum()
        accuracies.append(right / (len(folds[0][fold]) + len(folds[1][fold])))
    return float(np.mean(accuracies))


def _best_threshold(mated: Floats, non_mated: Floats) -> float:
    candidates = np.sort(np.concatenate([mated, non_mated]))
    accepted = len(mated) - np.searchsorted(np.sort(mated), candidates, side="left")
    rejected = np.searchsorted(np.sort(non_mated), candidates, side="left")
    return float(candidates[np.argmax(accepted + rejected)])


def _tar(mated: Floats, non_mated: Floats) -> float:
    allowed = int(FAR * len(non_mated))
    highest_refused = np.partition(non_mated, len(non_mated) - allowed - 1)[len(non_mated) - allowed - 1]
    return float((mated > highest_refused).mean())


def _rank1(similarities: Floats, labels: Ints, random: np.random.Generator) -> float:
    order = random.permutation(len(labels))
    _, firsts = np.unique(labels[order], return_index=True)
    enrolled = order[firsts]
    probes = np.setdiff1d(np.arange(len(labels)), enrolled)
    best = enrolled[similarities[np.ix_(probes, enrolled)].argmax(1)]
    return float((labels[best] == labels[probes]).mean())
