"""A gallery in a folder and one in PostgreSQL, in turn in one process: adding, opening on a new machine, searching.

    python -m benchmarks.measurements.postgresql FOLDER postgresql://HOST/DATABASE/NAME [--templates 300000]

Both are new. Drawn people with five templates each of 512 numbers, added 10,000 in a call, the two stores taking turns
call by call. A new machine is an empty folder of caches (FACEID_CACHES): the first search reads every vector from the
server, the next opening reads the caches. Searches are for the ten best, one probe at a time and 64 together.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.measurements.outside_indexes import MODEL, TOP, drawn_people, drawn_probes
from indexer.gallery import Gallery
from indexer.records import FloatMatrix, NewTemplate

_AT_ONCE = 10_000
_ROUNDS = 5


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("url")
    parser.add_argument("--templates", type=int, default=300_000)
    options = parser.parse_args()
    vectors, owners = drawn_people(options.templates)
    probes = drawn_probes(vectors, owners)
    with tempfile.TemporaryDirectory(dir=Path(options.folder).parent) as here:
        os.environ["FACEID_CACHES"] = f"{here}/first"
        places = [options.folder, options.url]
        rates = _added(places, vectors, owners)
        sizes = [_sizes(place) for place in places]
        os.environ["FACEID_CACHES"] = f"{here}/second"
        openings = [_opened(place, probes[:1]) for place in places]
        again = [_opened(place, probes[:1]) for place in places]
        searches = _searched(places, probes)
    print(f"{options.templates:,} templates: adding, ratio {rates[1][0] / rates[0][0]:.2f} by the clock")
    print("| | folder | PostgreSQL |\n|---|---|---|")
    _row("added, templates/s", [f"{rate:,.0f}" for rate, _ in rates])
    _row("added, templates a CPU second of the client", [f"{rate:,.0f}" for _, rate in rates])
    _row("closed with caches written, s", [f"{size[2]:.1f}" for size in sizes])
    _row("database, bytes", [f"{size[0]:,}" for size in sizes])
    _row("caches, bytes", [f"{size[1]:,}" for size in sizes])
    _row("opened and first search, on a new machine, s", [f"{one:.2f}" for one in openings])
    _row("opened and first search, again, s", [f"{one:.2f}" for one in again])
    _row("one search, ms", [f"{1000 * one:.1f}" for one, _ in searches])
    _row("64 searches together, ms", [f"{1000 * many:.0f}" for _, many in searches])


def _added(places: list[str], vectors: FloatMatrix, owners: list[int]) -> list[tuple[float, float]]:
    """Return for each place templates per second, and per second of this process's processor time."""
    galleries = [Gallery.create(place, MODEL, "max") for place in places]
    wall, cpu = [0.0, 0.0], [0.0, 0.0]
    for start in range(0, len(vectors), _AT_ONCE):
        rows = range(start, min(start + _AT_ONCE, len(vectors)))
        batch = [_template(f"person {owners[n]}", f"photo {n}", vectors[n]) for n in rows]
        for place, gallery in enumerate(galleries):
            used, began = _processor(), time.perf_counter()
            gallery.add(batch)
            wall[place] += time.perf_counter() - began
            cpu[place] += _processor() - used
    for place, gallery in enumerate(galleries):
        began = time.perf_counter()
        gallery.close()
        _CLOSING[places[place]] = time.perf_counter() - began
    return [(len(vectors) / one, len(vectors) / other) for one, other in zip(wall, cpu, strict=True)]


_CLOSING: dict[str, float] = {}


def _sizes(place: str) -> tuple[int, int, float]:
    with Gallery.open(place) as gallery:
        stats = gallery.stats()
    return stats.database_bytes, stats.cache_bytes, _CLOSING[place]


def _opened(place: str, probe: FloatMatrix) -> float:
    def act() -> None:
        with Gallery.open(place) as gallery:
            gallery.search(probe, TOP)

    return _timed(act)


def _searched(places: list[str], probes: FloatMatrix) -> list[tuple[float, float]]:
    galleries = [Gallery.open(place) for place in places]
    one: list[list[float]] = [[], []]
    many: list[list[float]] = [[], []]
    for gallery in galleries:
        gallery.search(probes[:1], TOP)
    for round_ in range(_ROUNDS):
        for place, gallery in enumerate(galleries):
            its = probes[round_ * 20 : round_ * 20 + 20]
            one[place] += [_timed(partial(gallery.search, its[n : n + 1], TOP)) for n in range(len(its))]
            many[place].append(_timed(partial(gallery.search, probes[:64], TOP)))
    first, second = (gallery.search(probes, TOP) for gallery in galleries)
    same = [one.candidates for one in first] == [one.candidates for one in second]
    print(f"the answers to {len(probes)} probes are {'the same' if same else 'NOT THE SAME'}")
    for gallery in galleries:
        gallery.close()
    return [(median(one[place]), median(many[place])) for place in range(len(places))]


def _template(name: str, source: str, vector: FloatMatrix) -> NewTemplate:
    digest = source.encode().ljust(32, b".")
    return NewTemplate(name, None, vector, source, digest, (0.0, 0.0, 9.0, 9.0), 1.0, 1.0, "float32")


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _row(name: str, cells: list[str]) -> None:
    print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
