"""What encryption costs a large gallery: plain and encrypted beside each other, in one run, as ratios.

    python -m benchmarks.measurements.encryption_cost [--templates N] [--dimension D] [--work FOLDER]

Drawn unit vectors, five a person. Each gallery is made and opened by processes of their own, plain and encrypted
in turn: times are processor seconds of the best of three, memory is the process's private bytes after the searches.
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


def main() -> None:
    """Make both galleries, time both, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--templates", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--one", choices=["make", "use"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        act = make if options.one == "make" else use
        print(json.dumps(act(options.work, options.templates, options.dimension)))
        return
    work = options.work or Path(tempfile.mkdtemp(prefix="encryption-cost-"))
    work.mkdir(parents=True, exist_ok=True)
    (work / "key").write_text(bytes(range(32)).hex())
    (work / "key").chmod(0o600)
    try:
        print(tabulate(compared(work, options), headers="keys", tablefmt="github", floatfmt=".3g"))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def compared(work: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """Return a row for each thing that was measured, with both figures and their ratio."""
    figures: dict[str, dict[str, float]] = {}
    for kind in ("plain", "encrypted"):
        figures[kind] = child("make", kind, work, options)
    for _ in range(TIMES):
        for kind in ("plain", "encrypted"):
            for what, value in child("use", kind, work, options).items():
                figures[kind][what] = min(figures[kind].get(what, np.inf), value)
    plain, encrypted = figures["plain"], figures["encrypted"]
    return [
        {"what": what, "plain": plain[what], "encrypted": encrypted[what], "ratio": encrypted[what] / plain[what]}
        for what in plain
    ]


def child(act: str, kind: str, work: Path, options: argparse.Namespace) -> dict[str, float]:
    """Do one of the two in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "FACEID_KEY"}
    if kind == "encrypted":
        environment["FACEID_KEY"] = f"file:{work / 'key'}"
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
    return {
        "open, CPU s": opening,
        "first search, CPU s": first,
        "later searches, CPU ms each": 1000 * later / SEARCHES,
        f"{SEARCHES + 1} searches at once, CPU ms each": 1000 * batch / (SEARCHES + 1),
        "50,000 vectors from the database, CPU s": reading,
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
