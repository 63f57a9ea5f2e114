"""The tasks on vectors alone: searching a gallery, and MegaFace's pass of all probes over all distractors."""

from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import torch

from benchmarks.distractors.bfloat16_fold import bfloat16_fold
from benchmarks.distractors.distractor_pass import distractor_pass, mated_pairs
from benchmarks.speed.bounds import reading_bound, same_product_bound
from benchmarks.speed.rows import SpeedRow
from benchmarks.speed.timing import Contestant, race
from faceid.feature_set import unit_rows
from indexer.records import FloatMatrix
from indexer.search.certified_search import Part, search
from indexer.search.shortlist import Segment

TOP = 10
PHOTOS_EACH = 4  # of a probe's identity
NOISE = 1.2  # length of what tells two photos of one identity apart, theirs being 1: a cosine near 0.4
KEPT = 10_000  # highest scores that the pass keeps, for the ROC's far end


def search_rows(vectors: int, dimension: int, queries: int) -> list[SpeedRow]:
    """Time the search of a gallery of generated vectors: one query, then a batch, for the ten best candidates."""
    gallery = drawn(vectors, dimension, seed=0)
    probes = photos_of(gallery[np.random.default_rng(1).integers(vectors, size=queries)], seed=2)
    everybody = np.arange(vectors, dtype=np.int64)
    parts = [Part(Segment(everybody, gallery), everybody)]
    rows = []
    for count in sorted({1, queries}):
        batch = probes[:count]
        contestants = [
            Contestant("faceid, exact", "ours", partial(search, parts, batch, TOP)),
            same_product_bound(torch.from_numpy(batch), torch.from_numpy(gallery)),
            reading_bound(torch.from_numpy(gallery)),
            _faiss(gallery, batch),
            _usearch(gallery, batch),
            _hnswlib(gallery, batch),
        ]
        size = f"{vectors:,} x {dimension}, {count} at a time"
        rows += race("search", size, count, "searches", contestants)
    return rows


def megaface_rows(probes: int, distractors: int, dimension: int) -> list[SpeedRow]:
    """Time both passes over generated distractors: ranks of all mated pairs, the exact one also all thresholds."""
    identities = np.arange(probes, dtype=np.int64) // PHOTOS_EACH
    features = photos_of(drawn(probes, dimension, seed=3)[identities], seed=4)
    others = drawn(distractors, dimension, seed=5)
    pairs = mated_pairs(features, identities)

    search = partial(distractor_pass, features, pairs, others, (distractors,), KEPT)
    contestants = [
        Contestant("faceid, exact", "ours", search),
        Contestant(
            "faceid, fast", "peer", partial(search, fold=bfloat16_fold), note="the same, without the thresholds"
        ),
        same_product_bound(torch.from_numpy(features), torch.from_numpy(others)),
    ]
    size = f"{probes:,} probes x {distractors:,} distractors x {dimension}"
    return race("MegaFace pass", size, probes * distractors, "scores", contestants)


def drawn(count: int, dimension: int, seed: int) -> FloatMatrix:
    """Return unit vectors float32 [count, dimension] in all directions alike."""
    return unit_rows(np.random.default_rng(seed).standard_normal((count, dimension), np.float32))


def photos_of(identities: FloatMatrix, seed: int) -> FloatMatrix:
    """Return for each unit vector another one that lies near it, as photos of one person do."""
    return unit_rows(identities + NOISE * drawn(len(identities), identities.shape[1], seed))


def _faiss(gallery: FloatMatrix, batch: FloatMatrix) -> Contestant:
    if find_spec("faiss") is None:
        return Contestant("faiss IndexFlatIP", "peer", None, note="faiss is not installed")
    import faiss

    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    name = f"faiss {faiss.__version__} IndexFlatIP"
    return Contestant(name, "peer", lambda: index.search(batch, TOP), note="exact, as it comes")


def _usearch(gallery: FloatMatrix, batch: FloatMatrix) -> Contestant:
    if find_spec("usearch") is None:
        return Contestant("usearch", "peer", None, note="usearch is not installed")
    usearch = import_module("usearch.index")
    name, metric = f"usearch {version('usearch')}", usearch.MetricKind.IP
    return Contestant(
        name, "peer", lambda: usearch.search(gallery, batch, TOP, metric, exact=True), note="exact, as it comes"
    )


def _hnswlib(gallery: FloatMatrix, batch: FloatMatrix) -> Contestant:
    if find_spec("hnswlib") is None:
        return Contestant("hnswlib", "peer", None, note="hnswlib is not installed")
    index = import_module("hnswlib").BFIndex(space="ip", dim=gallery.shape[1])
    index.init_index(max_elements=len(gallery))
    index.add_items(gallery)
    name = f"hnswlib {version('hnswlib')} BFIndex"
    return Contestant(name, "peer", lambda: index.knn_query(batch, TOP), note="exact, as it comes")
