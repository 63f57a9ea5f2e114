"""What keys cost a large gallery: plain, encrypted, turned, and with a key for each person, in one run, as ratios.

    python -m benchmarks.measurements.encryption_cost [--templates N] [--dimension D] [--work FOLDER]

Drawn unit vectors, five a person. Each gallery is made and opened by processes of their own, the kinds in turn: times
are processor seconds of the best of three, memory is the process's private bytes after the searches. `turned` is plain
but for its vectors; `people` is encrypted, and each person has a key. Erasing is done once, at the end.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tabulate import tabulate

from indexer.gallery import Gallery
from indexer.records import FloatMatrix, ModelBinding, NewTemplate

EACH = 5
BLOCK = 20_000
SEARCHES = 20
TIMES = 3
KINDS = {
    "plain": (),
    "encrypted": ("FACEID_KEY",),
    "turned": ("FACEID_TURN_KEY",),
    "people": ("FACEID_KEY", "FACEID_PERSON_KEYS"),
}
"""Which of the variables each kind of gallery has set."""


def main() -> None:
    """Make the galleries, time them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--templates", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--one", choices=["make", "use", "erase"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        act = {"make": make, "use": use, "erase": erase}[options.one]
        print(json.dumps(act(options.work, options.templates, options.dimension)))
        return
    work = options.work or Path(tempfile.mkdtemp(prefix="encryption-cost-"))
    work.mkdir(parents=True, exist_ok=True)
    (work / "key").write_text(bytes(range(32)).hex())
    (work / "key").chmod(0o600)
    try:
        print(tabulate(compared(work, options), headers="keys", tablefmt="github", floatfmt=".4g"))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def compared(work: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """Return a row for each thing that was measured, the plain figure and each kind's, with its ratio to that."""
    figures = {kind: child("make", kind, work, options) for kind in KINDS}
    for _ in range(TIMES):
        for kind in KINDS:
            for what, value in child("use", kind, work, options).items():
                figures[kind][what] = min(figures[kind].get(what, np.inf), value)
    for kind in KINDS:
        figures[kind] |= child("erase", kind, work, options)
    rows: list[dict[str, object]] = []
    for what, plain in figures["plain"].items():
        row: dict[str, object] = {"what": what, "plain": plain}
        for kind in list(KINDS)[1:]:
            row |= {kind: figures[kind][what], f"{kind}, ratio": figures[kind][what] / plain}
        rows.append(row)
    return rows


def child(act: str, kind: str, work: Path, options: argparse.Namespace) -> dict[str, float]:
    """Do one of the three in a process of its own."""
    places = {
        "FACEID_KEY": f"file:{work / 'key'}",
        "FACEID_TURN_KEY": f"file:{work / 'key'}",
        "FACEID_PERSON_KEYS": str(work / "keys"),
    }
    environment = {name: value for name, value in os.environ.items() if name not in places}
    environment |= {name: places[name] for name in KINDS[kind]}
    command = [sys.executable, "-m", "benchmarks.measurements.encryption_cost", "--one", act]
    size = ["--templates", str(options.templates), "--dimension", str(options.dimension)]
    run = subprocess.run(
        [*command, *size, "--work", str(work / kind)], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(run.stdout)
    return found


def make(folder: Path, templates: int, dimension: int) -> dict[str, float]:
    """Enrol everybody; processor seconds, and bytes on the disk."""
    random = np.random.default_rng(0)
    seconds = 0.0
    with Gallery.create(folder, ModelBinding("drawn", "d" * 64, dimension)) as gallery:
        for start in range(0, templates, BLOCK):
            block = drawn(random, min(BLOCK, templates - start), dimension)
            rows = [template(start + place, vector) for place, vector in enumerate(block)]
            seconds += spent(lambda rows=rows: gallery.add(rows))  # type: ignore[misc]
        closing = spent(gallery.close)
    size = {file.suffix: 0.0 for file in folder.iterdir()}
    for file in folder.iterdir():
        size[file.suffix] += file.stat().st_size / 2**20
    return {
        "add, templates a CPU s": templates / seconds,
        "close (caches written), CPU s": closing,
        "database, MiB": size[".db"],
        "caches, MiB": size[".safetensors"],
    }


def erase(folder: Path, templates: int, dimension: int) -> dict[str, float]:
    """Erase one person; processor seconds."""
    assert (templates, dimension) > (EACH, 0)
    with Gallery.open(folder, writable=True) as gallery:
        return {"erase one person, CPU s": spent(lambda: gallery.erase(1))}


def use(folder: Path, templates: int, dimension: int) -> dict[str, float]:
    """Open and search; processor seconds of each step, and the memory afterwards."""
    random = np.random.default_rng(1)
    queries = drawn(random, SEARCHES + 1, dimension)
    opened: list[Gallery] = []
    opening = spent(lambda: opened.append(Gallery.open(folder)))
    (gallery,) = opened
    with gallery:
        first = spent(lambda: gallery.search(queries[:1], 5))
        later = spent(lambda: [gallery.search(queries[place : place + 1], 5) for place in range(1, SEARCHES + 1)])
        batch = spent(lambda: gallery.search(queries, 5))
        memory = private_bytes()
        reading = spent(lambda: gallery.sample(50_000))
        listing = spent(gallery.identities)
    return {
        "open, CPU s": opening,
        "first search, CPU s": first,
        "later searches, CPU ms each": 1000 * later / SEARCHES,
        f"{SEARCHES + 1} searches at once, CPU ms each": 1000 * batch / (SEARCHES + 1),
        "50,000 vectors from the database, CPU s": reading,
        "list everybody, CPU s": listing,
        "memory after searching, MiB": memory / 2**20,
    }


def drawn(random: np.random.Generator, count: int, dimension: int) -> FloatMatrix:
    """Return unit vectors [count, dimension]."""
    vectors = random.standard_normal((count, dimension), np.float32)
    unit: FloatMatrix = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def template(number: int, vector: FloatMatrix) -> NewTemplate:
    """Return the template of a number."""
    digest = number.to_bytes(32, "big")
    return NewTemplate(
        f"person {number // EACH}", None, vector, f"photos/{number}.jpg", digest, None, 0.9, 0.5, "float32"
    )


def spent(act: Callable[[], object]) -> float:
    """Return the processor seconds of an act."""
    start = time.process_time()
    act()
    return time.process_time() - start


def private_bytes() -> float:
    """Return the bytes of this process that are its own (Linux)."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return float(line.split()[1]) * 1024
    raise OSError("the kernel does not say how much memory is private")


if __name__ == "__main__":
    main()
