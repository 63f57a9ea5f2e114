"""The verification sets in insightface's `.bin` form: 10-fold accuracy and TAR at FAR of aligned image pairs."""

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.formats.insightface_bin import ImagePairs
from benchmarks.metrics.fold_accuracy import by_every_convention
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.scored_pairs import ScoredPairs, add_pair_figures
from benchmarks.results.results import Results
from indexer.records import FloatMatrix
from indexer.search.scores import canonical_scores

FOLDS = 10
FARS = (1e-2, 1e-3)
BLOCK = 512  # images handed to the network at a time

Embed = Callable[[Sequence[bytes]], FloatMatrix]
"""Encoded, aligned face images -> unit rows float32 [n, D]; a row of NaN for an image that cannot be read."""


def verification(pairs: ImagePairs, embed: Embed, name: str) -> Results:
    """Return the accuracy by each convention (`exact` first) and TAR at FAR of the pairs.

    The folds are ten equal runs of pairs in the file's order, as insightface's. An image that cannot be read makes its
    pair count as not accepted. Raises ProtocolError for fewer pairs than folds, and where no image can be read.
    """
    if len(pairs.same) < FOLDS:
        raise ProtocolError(f"{name}: {len(pairs.same)} pairs are too few for {FOLDS} folds")
    blocks = range(0, len(pairs.images), BLOCK)
    features = np.concatenate([embed(pairs.images[start : start + BLOCK]) for start in blocks])
    unreadable = int(np.isnan(features).any(axis=1).sum())
    if unreadable == len(features):
        raise ProtocolError(f"{name}: none of the {unreadable} images can be read")
    first, second = features[0::2], features[1::2]
    scores = np.nan_to_num(canonical_scores(first, second), nan=-np.inf)
    runs = np.array_split(np.arange(len(scores)), FOLDS)  # as scikit-learn's KFold, which insightface takes
    fold = np.repeat(np.arange(FOLDS), [len(run) for run in runs])
    accuracies = by_every_convention(first, second, scores, pairs.same, fold, None)
    results = Results(
        protocol="verification",
        name=name,
        conventions={
            "accuracy": accuracies[0].convention,
            "features": "of each image alone; insightface's script adds those of its mirror image",
            "folds": f"{FOLDS} equal runs of {len(scores)} pairs in the file's order",
            "identities": "not in the file: no clustered intervals",
            "threshold": "TAR at FAR: conservative, all non-mated pairs pooled",
        },
        accuracy=accuracies,
        notes=(f"{unreadable} images could not be read: their pairs count as not accepted",) if unreadable else (),
    )
    numbers = np.arange(len(pairs.images)).astype(str)
    return add_pair_figures(results, ScoredPairs(scores, pairs.same, (numbers[0::2], numbers[1::2]), None), FARS)
