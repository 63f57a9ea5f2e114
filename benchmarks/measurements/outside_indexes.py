"""A gallery searched by its own index and by engines elsewhere, in turn in one process.

    python -m benchmarks.measurements.outside_indexes PLACE ADDRESS... [--templates 100000]

PLACE is a new gallery (a folder, or a URL of one in PostgreSQL), ADDRESS an index elsewhere, such as milvus:FILE.db:
people with five templates each of 512 numbers, cosine about 0.6 within a person, directions without a preference (the
hardest case for an approximate index). For each address: bringing it up (vectors/s), 100 changes followed, and
searches for the ten best of 200 mated and 200 non-mated probes, one at a time and 64 together. `own` is the gallery's
own index. Equal: people, scores and order are those of the own index. An address with #KIND is asked with `fast`.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from indexer.gallery import Gallery
from indexer.records import FloatMatrix, ModelBinding, NewTemplate, SearchResult

DIMENSION, TEMPLATES_EACH, TOP = 512, 5, 10
PROBES = 200  # mated, and as many non-mated
WITHIN = 0.6
MODEL = ModelBinding("drawn", "d" * 64, DIMENSION)
_AT_ONCE = 10_000
_ROUNDS = 3
_HEAD = "| searched by | one, ms | 64, ms | equal, mated | equal, strangers | best right, strangers | proved |"


@dataclass(frozen=True)
class Asked:
    """A way to search: its name, and how the gallery is asked."""

    name: str
    kind: str
    fast: bool


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place")
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--templates", type=int, default=100_000)
    options = parser.parse_args()
    vectors, owners = drawn_people(options.templates)
    probes = drawn_probes(vectors, owners)
    with Gallery.create(options.place, MODEL, "max") as gallery:
        seconds = _timed(lambda: _enrol(gallery, vectors, owners))
        print(f"{len(vectors):,} templates added: {len(vectors) / seconds:,.0f}/s")
        _timed(gallery.flush)
        print("| elsewhere | brought up, vectors/s | 100 changes followed, s | bytes on this disk |")
        print("|---|---|---|---|")
        for address in options.addresses:
            seconds = _timed(partial(gallery.add_outside_index, address))
            gallery.remove_templates(list(range(1, 51)))
            gallery.add([_template(f"late {n}", f"late {n}", vectors[n]) for n in range(50)])
            followed = _timed(gallery.flush)
            print(f"| {address} | {len(vectors) / seconds:,.0f} | {followed:.2f} | {_bytes(address):,} |", flush=True)
            gallery.undo()
            gallery.erase(gallery.find("late 0")[0].id)
    with Gallery.open(options.place) as gallery:
        ways = [Asked("own", "auto", False), Asked("own --fast", "auto", True)]
        ways += [Asked(address, address, "#" in address) for address in options.addresses]
        _print_searches(gallery, ways, probes)


def drawn_people(count: int) -> tuple[FloatMatrix, list[int]]:
    """Return unit vectors [n, 512] of people with five templates each, and whose each is."""
    rng = np.random.default_rng(17)
    owners = [n // TEMPLATES_EACH for n in range(count)]
    centres = rng.standard_normal((owners[-1] + 1, DIMENSION), np.float32)
    noise = rng.standard_normal((count, DIMENSION), np.float32)
    vectors = centres[owners] * np.float32(np.sqrt(WITHIN)) + noise * np.float32(np.sqrt(1 - WITHIN))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), owners


def drawn_probes(vectors: FloatMatrix, owners: Sequence[int]) -> FloatMatrix:
    """Return probes [400, 512]: of people who are enrolled, then of strangers."""
    rng = np.random.default_rng(18)
    people = rng.choice(owners[-1] + 1, PROBES)
    first = vectors[people * TEMPLATES_EACH]
    mated = first * np.float32(WITHIN) + rng.standard_normal(first.shape, np.float32) * np.float32(
        np.sqrt((1 - WITHIN**2) / DIMENSION)
    )
    probes = np.concatenate([mated, rng.standard_normal((PROBES, DIMENSION), np.float32)])
    unit: FloatMatrix = probes / np.linalg.norm(probes, axis=1, keepdims=True)
    return unit


def _enrol(gallery: Gallery, vectors: FloatMatrix, owners: Sequence[int]) -> None:
    for start in range(0, len(vectors), _AT_ONCE):
        rows = range(start, min(start + _AT_ONCE, len(vectors)))
        gallery.add([_template(f"person {owners[n]}", f"photo {n}", vectors[n]) for n in rows])


def _template(name: str, source: str, vector: FloatMatrix) -> NewTemplate:
    digest = source.encode().ljust(32, b".")
    return NewTemplate(name, None, vector, source, digest, (0.0, 0.0, 9.0, 9.0), 1.0, 1.0, "float32")


def _print_searches(gallery: Gallery, ways: Sequence[Asked], probes: FloatMatrix) -> None:
    single: dict[str, list[float]] = {way.name: [] for way in ways}
    batch: dict[str, list[float]] = {way.name: [] for way in ways}
    answers: dict[str, list[SearchResult]] = {}
    for _ in range(_ROUNDS):
        for way in ways:
            gallery.use_index(way.kind)
            gallery.search(probes[:1], TOP, fast=way.fast)
            single[way.name] += [
                _timed(partial(gallery.search, probes[one : one + 1], TOP, fast=way.fast))
                for one in range(0, 2 * PROBES, 40)
            ]
            batch[way.name].append(_timed(partial(gallery.search, probes[:64], TOP, fast=way.fast)))
    for way in ways:
        gallery.use_index(way.kind)
        answers[way.name] = gallery.search(probes, TOP, fast=way.fast)
    print(_HEAD)
    print("|---|---|---|---|---|---|---|")
    own, one_ms, many_ms = answers["own"], np.median(single["own"]), np.median(batch["own"])
    for way in ways:
        found = answers[way.name]
        one, many = np.median(single[way.name]), np.median(batch[way.name])
        equal = np.array([_shown(a) == _shown(b) for a, b in zip(found, own, strict=True)])
        best = np.array([_shown(a)[:1] == _shown(b)[:1] for a, b in zip(found, own, strict=True)])
        proved = np.mean([a.exact_candidates for a in found])
        print(
            f"| {way.name} | {1e3 * one:.1f} ({one / one_ms:.1f}) | {1e3 * many:.0f} ({many / many_ms:.1f}) |"
            f" {equal[:PROBES].mean():.1%} | {equal[PROBES:].mean():.1%} | {best[PROBES:].mean():.1%} | {proved:.1%} |"
        )


def _shown(result: SearchResult) -> list[tuple[int, float]]:
    return [(one.id, one.similarity) for one in result.candidates]


def _timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _bytes(address: str) -> int:
    """Return what an engine in a file of this machine holds there; 0 for one elsewhere."""
    place = address.partition(":")[2].partition("#")[0]
    if not place:
        return 0
    path = Path(place)
    files = [path] if path.is_file() else path.rglob("*") if path.is_dir() else []
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    main()
