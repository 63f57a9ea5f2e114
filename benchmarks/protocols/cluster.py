"""Clustering: faces without names into people, as `faceid cluster` sorts them, compared with who they are."""

import numpy as np

from benchmarks.metrics.clustering_scores import clustering_scores
from benchmarks.metrics.rates import require_support
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.photo_rows import listed_twice
from benchmarks.results.results import ClusteringRow, Results
from faceid.feature_set import FeatureSet
from indexer.calibration.calibration import calibrate_pairs
from indexer.decision.decision import choose_threshold
from indexer.hygiene.clusters import cluster
from indexer.hygiene.graph import near_pairs


def cluster_faces(features: FeatureSet, far: float, threshold: float | None, name: str) -> Results:
    """Sort the features into people at a similarity, and compare; photos without a label are left out.

    Without a `threshold` it is that of the rate `far` among the people of the features themselves: one photo of each
    against all others. Raises ProtocolError where nobody is named, UnsupportedRate for too few pairs.
    """
    named = features.labels != ""
    if not named.any():
        raise ProtocolError(f"{features.source}: nobody is named in it, so there is nothing to compare with")
    vectors = np.asarray(features.features[named])
    _, people = np.unique(features.labels[named], return_inverse=True)
    if threshold is None:
        pairs = len(np.unique(people)) * (len(np.unique(people)) - 1) // 2
        require_support(far, pairs, "pairs of two people")
        labels = features.labels[named].tolist()
        table = calibrate_pairs(vectors, labels, model_digest="", data=features.source)
        threshold = choose_threshold([table], "far", far, None, "model").value
        basis = f"FAR {far:g} among {pairs:,} pairs of the people themselves, one photo each"
    else:
        basis = "given"
    found = cluster(near_pairs(vectors, threshold), np.arange(len(vectors)))
    labels, sizes = np.unique(found.labels, return_counts=True)
    scores = clustering_scores(found.labels, people)
    row = ClusteringRow(
        faces=len(people),
        people=int(people.max()) + 1,
        clusters=len(labels),
        largest=int(sizes.max()),
        unclear=int(found.unclear.sum()),
        threshold=threshold,
        bcubed_precision=scores.bcubed_precision,
        bcubed_recall=scores.bcubed_recall,
        bcubed_f=scores.bcubed_f,
        pair_precision=scores.pair_precision,
        pair_recall=scores.pair_recall,
        pair_f=scores.pair_f,
    )
    return Results(
        protocol="cluster",
        name=name,
        conventions={
            "algorithm": "Chinese whispers on all pairs at or above the threshold",
            "threshold": basis,
            "measures": "BCubed averaged over faces; pairwise over pairs; unclear faces count as where they are",
            "ci95_clustered": "Poisson bootstrap over people, 1,000 replicates, clusters held",
        },
        clustering=(row,),
        notes=(*features.notes, *listed_twice(features)),
    )
