"""Searches of galleries from ten thousand to a million templates.

    python -m benchmarks.measurements.gallery_scale FOLDER

Generated people with five templates each, cosine about 0.6 within an identity, searched for the ten best identities by
each kind of index, by FAISS's flat index as it comes, and by the plain matrix product; mated and non-mated probes,
one at a time, 64 and 1,024 together. Every answer is compared with brute force. Then one gallery on the disk: enrolled,
opened, searched. Each contestant runs in a process of its own. FOLDER takes the vectors (2 GB a million), made once.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from indexer.gallery import Gallery
from indexer.records import FloatMatrix, Ids, ModelBinding, NewTemplate
from indexer.search.certified_search import Part
from indexer.search.certified_search import search as certified
from indexer.search.scores import canonical_scores
from indexer.search.shortlist import Segment

SIZES = (10_000, 100_000, 300_000, 1_000_000)
DIMENSION, TEMPLATES_EACH, TOP = 512, 5, 10
BATCHES = (1, 64, 1024)
PROBES = 1024  # of each sort, mated and non-mated
WITHIN = 0.6  # cosine of two templates of a person
SPECTRUM = 0.5  # variance falls with the square root of the rank, as a trained network's does: 280 effective dimensions
SEED = 20260611
KINDS = ("proved: int8", "proved: flat", "fast: pq", "faiss as it comes", "faiss, BLAS fixed", "matrix product")

_BLAS_FROM = 4096  # numbers in a batch from which FAISS may use BLAS; its own 128,000 leaves batches 10 x slower
_PEOPLE_AT_ONCE = 10_000
_ENROLLED_AT_ONCE = 10_000
_SECONDS = 3.0  # of repetition, at least three times if one takes no longer
_SINGLES = 64  # queries of which each is timed alone
_BLOCK = 65_536


@dataclass(frozen=True)
class Row:
    """What one contestant did with one gallery: seconds, bytes, and the share of answers equal to brute force's.

    `seconds` by batch and sort of probe ("1 mated"), for the whole batch (one alone: the median of many);
    `identical` by sort, of all k candidates, and
    `identical_best`, of the best alone; `certified` the share of answers that say they are exact.
    """

    kind: str
    templates: int
    build_seconds: float
    bytes_added: int
    seconds: dict[str, float]
    identical: dict[str, float]
    identical_best: dict[str, float]
    certified: dict[str, float]


def main() -> None:
    """Run every contestant on every size, or (in its own process) one on one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the vectors lie, or are made")
    parser.add_argument("--templates", type=int, nargs="+", default=SIZES, help="sizes of gallery")
    parser.add_argument("--kinds", nargs="*", default=KINDS, help="contestants")
    parser.add_argument("--no-gallery", action="store_true", help="leave out the gallery on the disk")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_one(options.folder, options.templates[0], options.one)))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    for templates in options.templates:
        make_population(options.folder, templates)
        make_truth(options.folder, templates)
        for kind in options.kinds:
            _show(Row(**_child(options.folder, templates, kind)))
    if not options.no_gallery:
        for step in ("race", "enrol", "open"):
            print(json.dumps(_child(options.folder, max(options.templates), step), indent=1), flush=True)


# The people


def make_population(folder: Path, templates: int) -> None:
    """Write vectors-N.npy (templates) and probes-N.npy (mated, then non-mated) unless they are there."""
    if (folder / f"probes-{templates}.npy").exists():
        return
    basis = np.linalg.qr(np.random.default_rng(SEED).standard_normal((DIMENSION, DIMENSION)))[0].astype(np.float32)
    spread = np.arange(1, DIMENSION + 1, dtype=np.float32) ** np.float32(-SPECTRUM / 2)
    turned = spread[:, None] * basis.T  # the axes of a network's output mean nothing: the spectrum is in none of them
    file = np.lib.format.open_memmap(folder / f"vectors-{templates}.npy", "w+", np.float32, (templates, DIMENSION))
    mated = np.empty((PROBES, DIMENSION), np.float32)
    people = templates // TEMPLATES_EACH
    searched = np.sort(np.random.default_rng((SEED, 1)).choice(people, PROBES, replace=False))
    for start in range(0, people, _PEOPLE_AT_ONCE):
        count = min(_PEOPLE_AT_ONCE, people - start)
        rng = np.random.default_rng((SEED, 2, start))
        centres = rng.standard_normal((count, DIMENSION), np.float32) @ turned
        photos = _photos(np.repeat(centres, TEMPLATES_EACH, axis=0), turned, rng)
        file[start * TEMPLATES_EACH : start * TEMPLATES_EACH + len(photos)] = photos
        here = (searched >= start) & (searched < start + count)
        mated[here] = _photos(centres[searched[here] - start], turned, rng)
    rng = np.random.default_rng((SEED, 3))
    strangers = _photos(rng.standard_normal((PROBES, DIMENSION), np.float32) @ turned, turned, rng)
    file.flush()
    np.save(folder / f"probes-{templates}.npy", np.concatenate([mated, strangers]))


def _photos(centres: FloatMatrix, turned: FloatMatrix, rng: np.random.Generator) -> FloatMatrix:
    noise = rng.standard_normal(centres.shape, np.float32) @ turned
    photos = np.float32(WITHIN**0.5) * centres + np.float32((1 - WITHIN) ** 0.5) * noise
    unit: FloatMatrix = photos / np.linalg.norm(photos, axis=1, keepdims=True)
    return unit


def owners_of(templates: int) -> Ids:
    """Return the identity of each template: 1, 1, 1, 1, 1, 2, ..."""
    return np.arange(templates, dtype=np.int64) // TEMPLATES_EACH + 1


def make_truth(folder: Path, templates: int) -> None:
    """Write truth-N.npz, the ten best identities of each probe by brute force in float64, unless it is there."""
    path = folder / f"truth-{templates}.npz"
    if path.exists():
        return
    vectors, probes = np.load(folder / f"vectors-{templates}.npy", mmap_mode="r"), _probes(folder, templates)
    kept = 20 * TEMPLATES_EACH  # rows; only a tie beyond double precision could reach further
    best, rows = np.full((len(probes), 0), -9.0), np.zeros((len(probes), 0), np.int64)
    for start in range(0, templates, _BLOCK):
        scores = probes.astype(np.float64) @ vectors[start : start + _BLOCK].astype(np.float64).T
        top = np.argpartition(-scores, kept, axis=1)[:, :kept] if scores.shape[1] > kept else np.argsort(-scores)
        best = np.concatenate([best, np.take_along_axis(scores, top, 1)], axis=1)
        rows = np.concatenate([rows, top + start], axis=1)
        order = np.argsort(-best, axis=1)[:, :kept]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    people = owners_of(templates)
    ids = np.empty((len(probes), TOP), np.int64)
    scores = np.empty((len(probes), TOP), np.float32)
    for place, probe in enumerate(probes):
        canonical = canonical_scores(probe, vectors[np.sort(rows[place])])
        owners = people[np.sort(rows[place])]
        each = {int(owner): float(canonical[owners == owner].max()) for owner in np.unique(owners)}
        ranked = sorted(each.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP]
        ids[place], scores[place] = zip(*ranked, strict=True)
    np.savez(path, ids=ids, scores=scores)


def _probes(folder: Path, templates: int) -> FloatMatrix:
    probes: FloatMatrix = np.load(folder / f"probes-{templates}.npy")
    return probes


# One contestant


def _child(folder: Path, templates: int, kind: str) -> dict[str, Any]:
    """Run one contestant in a process of its own, FAISS as it comes without what this project sets for it."""
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    environment["OMP_WAIT_POLICY"] = "passive"  # threads that spin while they wait suffer most from a shared machine
    command = [
        sys.executable,
        "-m",
        "benchmarks.measurements.gallery_scale",
        str(folder),
        "--templates",
        str(templates),
    ]
    done = subprocess.run([*command, "--one", kind], env=environment, stdout=subprocess.PIPE, check=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _one(folder: Path, templates: int, kind: str) -> dict[str, Any]:
    if kind == "enrol":
        return _enrol(folder, templates)
    if kind == "open":
        return _open(folder, templates)
    if kind == "race":
        return _race(folder, templates)
    vectors = np.load(folder / f"vectors-{templates}.npy", mmap_mode="r")
    vectors[::1].sum(dtype=np.float32)  # every page of it is in memory from now on: nobody pays for the disk
    probes = _probes(folder, templates)
    search: Callable[[FloatMatrix], tuple[Ids, FloatMatrix, float]] | None
    memory, begun = _resident(), time.perf_counter()
    if kind.startswith("faiss"):
        search = _faiss(vectors, fixed=kind == "faiss, BLAS fixed")
    elif kind == "matrix product":
        search = None
    else:
        search = _ours(vectors, *kind.split(": "))
    build = time.perf_counter() - begun
    added = _resident() - memory
    if search is None:
        seconds = {f"{size}": _timed(partial(_product, probes[:size], vectors)) for size in BATCHES}
        return vars(Row(kind, templates, build, added, seconds, {}, {}, {}))
    return vars(_measured(kind, templates, build, added, search, folder))


def _ours(vectors: FloatMatrix, path: str, kind: str) -> Callable[[FloatMatrix], tuple[Ids, FloatMatrix, float]]:
    parts = [Part(Segment(np.arange(1, len(vectors) + 1), vectors), owners_of(len(vectors)))]
    fast = path == "fast"

    def search(queries: FloatMatrix) -> tuple[Ids, FloatMatrix, float]:
        found = certified(parts, queries, TOP, kind=kind, fast=fast)
        return found.ids, found.scores, float(found.exact_candidates.mean())

    search(vectors[:1])  # makes the index; with two queries the other kernel is loaded, too
    search(vectors[:2])
    return search


def _faiss(vectors: FloatMatrix, fixed: bool) -> Callable[[FloatMatrix], tuple[Ids, FloatMatrix, float]]:
    if fixed:  # what FAISS needs to be quick here, for the whole of this process
        os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"  # its own OpenBLAS takes an AVX-512 machine for a Prescott
    import faiss

    if fixed:
        faiss.cvar.distance_compute_blas_threshold = _BLAS_FROM
    index = faiss.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), _BLOCK):
        index.add(np.ascontiguousarray(vectors[start : start + _BLOCK]))
    owners = owners_of(len(vectors))

    def search(queries: FloatMatrix) -> tuple[Ids, FloatMatrix, float]:
        scores, rows = index.search(queries, TOP * TEMPLATES_EACH)
        return _each_once(owners[rows], scores)

    return search


def _each_once(owners: Ids, scores: FloatMatrix) -> tuple[Ids, FloatMatrix, float]:
    """Each identity with its best score, from rows that come best first."""
    ids = np.zeros((len(owners), TOP), np.int64)
    best = np.zeros((len(owners), TOP), np.float32)
    for place, row in enumerate(owners):
        first = np.sort(np.unique(row, return_index=True)[1])[:TOP]
        ids[place, : len(first)], best[place, : len(first)] = row[first], scores[place, first]
    return ids, best, 0.0


def _product(queries: FloatMatrix, vectors: FloatMatrix) -> None:
    """All float32 scores, and nothing done with them: what any exact search by products must do at least."""
    block = np.empty((len(queries), _BLOCK), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        part = vectors[start : start + _BLOCK]
        np.matmul(queries, part.T, out=block[:, : len(part)])


def _measured(
    kind: str,
    templates: int,
    build: float,
    added: int,
    search: Callable[[FloatMatrix], tuple[Ids, FloatMatrix, float]],
    folder: Path,
) -> Row:
    probes, truth = _probes(folder, templates), np.load(folder / f"truth-{templates}.npz")
    seconds, identical, identical_best, certified = {}, {}, {}, {}
    for sort, start in (("mated", 0), ("non-mated", PROBES)):
        own = probes[start : start + PROBES]
        alone = [_timed(partial(search, own[place : place + 1]), 1) for place in range(_SINGLES)]
        seconds[f"1 {sort}"] = float(np.median(alone))
        seconds[f"64 {sort}"] = _timed(partial(search, own[:64]))
        seconds[f"1024 {sort}"] = _timed(partial(search, own[:1024]))
        ids, scores, certified[sort] = search(own)
        here = slice(start, start + len(own))
        same = (ids == truth["ids"][here]) & (scores == truth["scores"][here])
        if kind.startswith("faiss"):  # its scores are no canonical ones: the identities must do
            same = ids == truth["ids"][here]
        identical[sort], identical_best[sort] = float(same.all(axis=1).mean()), float(same[:, 0].mean())
    return Row(kind, templates, build, added, seconds, identical, identical_best, certified)


def _timed(run: Callable[[], object], at_least: int = 3) -> float:
    """Seconds of the quickest of some runs: what else runs on the machine only adds to the others."""
    times: list[float] = []
    while len(times) < at_least or (sum(times) < _SECONDS and at_least > 1 and len(times) < 20):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
        if times[-1] > 3 * _SECONDS:
            break
    return min(times)


def _resident() -> int:
    """Bytes of this process's own memory; pages of mapped files do not count."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


# Side by side


def _race(folder: Path, templates: int) -> dict[str, Any]:
    """Let contestants take turns in one process: whatever slows the machine down slows all of them, ratios stand.

    One query at a time calls no BLAS: FAISS's flat index is as it comes there, although it was told of this processor.
    """
    vectors = np.load(folder / f"vectors-{templates}.npy", mmap_mode="r")
    probes = _probes(folder, templates)
    proved, fast = _ours(vectors, "proved", "int8"), _ours(vectors, "fast", "pq")
    flat = _faiss(vectors, fixed=True)
    seconds: dict[str, list[float]] = {}
    for turn in range(_SINGLES):
        for sort, start in (("mated", 0), ("non-mated", PROBES)):
            one = probes[start + turn : start + turn + 1]
            for name, search in (("int8", proved), ("pq", fast), ("faiss flat", flat)):
                _time_into(seconds, f"{name} 1 {sort}", partial(search, one))
    for size in BATCHES[1:]:
        for _ in range(5):
            _time_into(seconds, f"int8 {size} mated", partial(proved, probes[:size]))
            _time_into(seconds, f"matrix product {size}", partial(_product, probes[:size], vectors))
            _time_into(seconds, f"int8 {size} non-mated", partial(proved, probes[PROBES : PROBES + size]))
    return {name: {"median": float(np.median(times)), "quickest": min(times)} for name, times in seconds.items()}


def _time_into(seconds: dict[str, list[float]], name: str, run: Callable[[], object]) -> None:
    begun = time.perf_counter()
    run()
    seconds.setdefault(name, []).append(time.perf_counter() - begun)


# The gallery on the disk


def _enrol(folder: Path, templates: int) -> dict[str, Any]:
    """Enrol everybody in batches, each acknowledged when it is on the disk; then bring the caches up to date."""
    import shutil

    path = folder / f"gallery-{templates}"
    shutil.rmtree(path, ignore_errors=True)
    vectors = np.load(folder / f"vectors-{templates}.npy", mmap_mode="r")
    owners = owners_of(templates)
    spent = 0.0
    with Gallery.create(path, ModelBinding("made-up", "a" * 64, DIMENSION)) as gallery:
        for start in range(0, templates, _ENROLLED_AT_ONCE):
            batch = [
                _template(row, int(owners[row]), vectors[row])
                for row in range(start, min(start + _ENROLLED_AT_ONCE, templates))
            ]
            begun = time.perf_counter()
            gallery.add(batch)
            spent += time.perf_counter() - begun
        begun = time.perf_counter()
    closing = time.perf_counter() - begun
    sizes = {file.name: file.stat().st_size for file in sorted(path.iterdir())}
    return {
        "templates": templates,
        "enrolled_per_second": templates / spent,
        "enrolled_and_indexed_per_second": templates / (spent + closing),
        "bytes": sizes,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _template(row: int, person: int, vector: Any) -> NewTemplate:
    digest = row.to_bytes(32, "big")
    source = f"/photos/person-{person:07}/{row:08}.jpg"
    return NewTemplate(
        f"person-{person:07}", None, np.array(vector), source, digest, (10.0, 10.0, 90.0, 110.0), 0.99, 0.8, "float32"
    )


def _open(folder: Path, templates: int) -> dict[str, Any]:
    """Open the gallery, search once, then as often as the others are; caches of the operating system are warm."""
    probes = _probes(folder, templates)
    begun = time.perf_counter()
    gallery = Gallery.open(folder / f"gallery-{templates}")
    opened = time.perf_counter()
    gallery.search(probes[:1], TOP)
    first = time.perf_counter()
    anonymous = _resident()
    truth = np.load(folder / f"truth-{templates}.npz")
    answers = [[one.id for one in result.candidates] for result in gallery.search(probes, TOP)]
    singles = [_timed(partial(gallery.search, probes[place : place + 1], TOP), 1) for place in range(_SINGLES)]
    return {
        "open_seconds": opened - begun,
        "first_search_seconds": first - opened,
        "own_memory_bytes": anonymous,
        "single_search_seconds": float(np.median(singles)),
        "batch_1024_seconds": _timed(partial(gallery.search, probes[:1024], TOP)),
        "identical": float((np.array(answers) == truth["ids"]).all(axis=1).mean()),
    }


def _show(row: Row) -> None:
    parts = [f"{row.templates:>9,} {row.kind:<18} build {row.build_seconds:6.1f} s {row.bytes_added / 2**20:7.0f} MiB"]
    parts += [f"{name} {1000 * value:.1f} ms" for name, value in row.seconds.items()]
    parts += [
        f"identical {name} {row.identical[name]:.4f} (best {row.identical_best[name]:.4f})" for name in row.identical
    ]
    parts += [f"certified {name} {value:.4f}" for name, value in row.certified.items() if value]
    print(" | ".join(parts), flush=True)


if __name__ == "__main__":
    main()
