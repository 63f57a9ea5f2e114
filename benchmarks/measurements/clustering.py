"""Algorithms that sort faces into people, side by side; how stable the chosen one is, and what 100,000 faces cost.

    python -m benchmarks.measurements.clustering compare FEATURES.npz -o FILE.csv [--half]
    python -m benchmarks.measurements.clustering orders FEATURES.npz
    python -m benchmarks.measurements.clustering cost 100000

`compare` takes thresholds from one photo each of half of the people (by a hash of the name) and clusters everybody.
`orders` adds photos in ten parts, in three orders, and compares what comes out with all at once and with each other.
Seconds are of the processor, one thread.
"""

import argparse
import csv
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from benchmarks.metrics.clustering_scores import clustering_scores
from indexer.calibration.calibration import calibrate_pairs
from indexer.decision.decision import choose_threshold
from indexer.hygiene.clusters import cluster
from indexer.hygiene.graph import near_pairs, with_new
from indexer.records import FloatMatrix, Ids

FARS = (1e-4, 1e-5, 1e-6)
ORDERS, PARTS = 3, 10

Row = dict[str, Any]


def main() -> None:
    """Print the table that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("compare", "orders", "cost"))
    parser.add_argument("data")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--slow", action="store_true", help="also HDBSCAN and average linkage, whose memory is N^2")
    options = parser.parse_args()
    if options.what == "cost":
        rows = [cost(int(options.data))]
    else:
        features = named(Path(options.data))
        _, people = np.unique(features.labels, return_inverse=True)
        thresholds = {far: threshold_of(features.features, features.labels, far) for far in FARS}
        if options.what == "compare":
            rows = list(compare(np.asarray(features.features), people, thresholds, slow=options.slow))
        else:
            rows = list(orders(np.asarray(features.features), people, thresholds[1e-5]))
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".4g"))
    if options.output is not None:
        with options.output.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def threshold_of(vectors: FloatMatrix, labels: Any, far: float) -> float:
    """Return the similarity of a FAR among one photo each of half of the people."""
    half = np.array([half_of(name) == "A" for name in labels.tolist()])
    table = calibrate_pairs(np.asarray(vectors)[half], labels[half].tolist(), model_digest="", data="half A")
    try:
        return choose_threshold([table], "far", far, None, "model").value
    except Exception:  # few people: the largest scores, without a claim
        place = max(1, round(far * table.trials))
        return float(table.scores[place - 1])


def compare(vectors: FloatMatrix, people: Ids, thresholds: dict[float, float], *, slow: bool) -> Iterator[Row]:
    """Yield a row for each algorithm and threshold."""
    for far, threshold in thresholds.items():
        ways: dict[str, Callable[[], Ids]] = {
            "Chinese whispers": partial(whispers, vectors, threshold),
            "connected components": partial(components, vectors, threshold),
            "DBSCAN, 3": partial(dbscan, vectors, threshold),
        }
        if slow:
            ways["average linkage"] = partial(linkage, vectors, threshold)
        for name, way in ways.items():
            yield measured(name, far, threshold, way, people)
    if slow:
        yield measured("HDBSCAN, 2", None, None, partial(hdbscan, vectors), people)


def measured(name: str, far: float | None, threshold: float | None, way: Callable[[], Ids], people: Ids) -> Row:
    """Return the figures of one run."""
    start = time.process_time()
    labels = way()
    seconds = time.process_time() - start
    scores = clustering_scores(labels, people)
    _, sizes = np.unique(labels, return_counts=True)
    interval = scores.bcubed_f.ci95_clustered or (np.nan, np.nan)
    return {
        "algorithm": name,
        "FAR": far,
        "threshold": threshold,
        "clusters": len(sizes),
        "largest": int(sizes.max()),
        "BCubed P": scores.bcubed_precision.value,
        "R": scores.bcubed_recall.value,
        "F": scores.bcubed_f.value,
        "F low": interval[0],
        "F high": interval[1],
        "pair P": scores.pair_precision.value,
        "pair R": scores.pair_recall.value,
        "seconds": seconds,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def whispers(vectors: FloatMatrix, threshold: float) -> Ids:
    """Sort as `faceid cluster` does."""
    return cluster(near_pairs(vectors, threshold), np.arange(len(vectors))).labels


def components(vectors: FloatMatrix, threshold: float) -> Ids:
    """Join whoever is near to somebody: single linkage."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = near_pairs(vectors, threshold)
    shape = len(vectors), len(vectors)
    graph = coo_array((np.ones(len(pairs.first)), (pairs.first, pairs.second)), shape=shape)
    return connected_components(graph, directed=False)[1].astype(np.int64)


def dbscan(vectors: FloatMatrix, threshold: float) -> Ids:
    """DBSCAN with three neighbours, as photo managers use it; noise is single."""
    from scipy.sparse import coo_array
    from sklearn.cluster import DBSCAN

    pairs = near_pairs(vectors, threshold)
    distance = np.maximum(1 - pairs.similarity.astype(float), 1e-9)
    rows = np.concatenate([pairs.first, pairs.second]), np.concatenate([pairs.second, pairs.first])
    graph = coo_array((np.tile(distance, 2), rows), shape=(len(vectors), len(vectors))).tocsr()
    return singled(DBSCAN(eps=1 - threshold, min_samples=3, metric="precomputed").fit_predict(graph))


def hdbscan(vectors: FloatMatrix) -> Ids:
    """HDBSCAN with its smallest clusters, on Euclidean distance, which orders unit vectors as the cosine does."""
    from sklearn.cluster import HDBSCAN

    return singled(HDBSCAN(min_cluster_size=2, min_samples=1, copy=True).fit_predict(vectors))


def linkage(vectors: FloatMatrix, threshold: float) -> Ids:
    """Average linkage of cosines, cut at the threshold."""
    from scipy.cluster.hierarchy import fcluster
    from scipy.cluster.hierarchy import linkage as tree
    from scipy.spatial.distance import pdist

    joined = tree(pdist(vectors.astype(np.float64), "cosine"), "average")
    return np.asarray(fcluster(joined, 1 - threshold, "distance"), np.int64)


def singled(labels: Any) -> Ids:
    """Give everything that an algorithm calls noise a cluster of its own."""
    answer = np.array(labels, np.int64)
    noise = answer < 0
    answer[noise] = answer.max() + 1 + np.arange(int(noise.sum()))
    return answer


def orders(vectors: FloatMatrix, people: Ids, threshold: float) -> Iterator[Row]:
    """Yield how photos that come in parts are sorted, against all at once and against the first order."""
    at_once = cluster(near_pairs(vectors, threshold), np.arange(len(vectors))).labels
    first = None
    for number in range(ORDERS):
        order = np.random.default_rng(number).permutation(len(vectors))
        labels, kept = in_parts(vectors[order], threshold)
        back = np.empty_like(labels)
        back[order] = labels
        first = back if first is None else first
        yield {
            "order": number,
            "F against the truth": clustering_scores(back, people, 1).bcubed_f.value,
            "F at once": clustering_scores(at_once, people, 1).bcubed_f.value,
            "F against at once": clustering_scores(back, at_once, 1).bcubed_f.value,
            "F against order 0": clustering_scores(back, first, 1).bcubed_f.value,
            "faces that kept their number": kept,
        }


def in_parts(vectors: FloatMatrix, threshold: float) -> tuple[Ids, float]:
    """Add the faces in parts; the last labels, and the share of faces whose number a further part left as it was."""
    labels = np.empty(0, np.int64)
    pairs = near_pairs(vectors[:0], threshold)
    kept, asked = 0, 0
    for part in np.array_split(np.arange(len(vectors)), PARTS):
        size = int(part[-1]) + 1
        pairs = with_new(pairs, near_pairs(vectors[:size], threshold, int(part[0])), size)
        new = cluster(pairs, np.arange(size), labels).labels
        kept, asked = kept + int((new[: len(labels)] == labels).sum()), asked + len(labels)
        labels = new
    return labels, kept / asked


def cost(count: int, dimension: int = 128, photos: int = 5) -> Row:
    """Return seconds and memory for so many drawn faces, five a person."""
    random = np.random.default_rng(0)
    people = np.repeat(random.standard_normal((count // photos, dimension)).astype(np.float32), photos, axis=0)
    people /= np.linalg.norm(people, axis=1, keepdims=True)
    other = random.standard_normal(people.shape).astype(np.float32)
    vectors = people + 0.8 * other / np.linalg.norm(other, axis=1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cpu, wall = time.process_time(), time.perf_counter()
    pairs = near_pairs(vectors, 0.45)
    between = time.process_time()
    found = cluster(pairs, np.arange(len(vectors)))
    truth = np.arange(len(vectors)) // photos
    return {
        "faces": len(vectors),
        "pairs": len(pairs.first),
        "CPU s, pairs": between - cpu,
        "CPU s, whispers": time.process_time() - between,
        "wall s": time.perf_counter() - wall,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "BCubed F": clustering_scores(found.labels, truth, 1).bcubed_f.value,
    }


if __name__ == "__main__":
    main()
