"""MegaFace at full size on generated features: `python -m benchmarks.measurements.million FOLDER`.

3,530 probes of 80 identities among 1,000,000 distractors of 512 numbers, as in Challenge 1. The float32 matrix product
of that size alone, the whole protocol by the exact pass, the fast one and (where there is one) a GPU's, and whether
they agree.
FOLDER takes the features (2 GB), which are made once.
"""

import argparse
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from benchmarks.cli.output import print_tables
from benchmarks.distractors.bfloat16_fold import bfloat16_fold
from benchmarks.distractors.device_fold import device_pass
from benchmarks.distractors.distractor_pass import distractor_pass
from benchmarks.protocols.megaface import EXACT_FAR, Strategy, megaface
from benchmarks.results.results import Results
from faceid.feature_set import FeatureSet, unit_rows
from indexer.records import FloatMatrix

# How many of the 80 identities have so many photos: their sums are MegaFace's 3,530 probes and 153,634 ordered pairs.
MULTIPLICITY = {
    27: 1, 35: 1, 37: 2, 39: 8, 40: 4, 41: 5, 42: 2, 43: 10, 44: 8, 45: 8, 46: 7, 47: 7, 48: 4, 49: 2, 50: 11
}  # fmt: skip
PHOTOS = tuple(np.repeat(list(MULTIPLICITY), list(MULTIPLICITY.values())).tolist())
DISTRACTORS, DIMENSION = 1_000_000, 512
SIZES = tuple(10**power for power in range(1, 7))

SEED = 20160101
SPECTRUM = 0.5  # variance falls with the square root of the rank, as a trained network's does: 280 effective dimensions
QUALITY = (3.0, 2.0)  # Beta: share of a photo's variance that is its person's
_GENERATED = 8192  # rows at a time
_PRODUCT_BLOCK = 8192  # distractors; larger blocks of the plain product are no faster

T = TypeVar("T")


def main() -> None:
    """Make the features if they are not there, run everything, print a report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the features lie, or are made")
    folder = parser.parse_args().folder
    probes, distractors = generated(folder)
    print(f"{len(probes):,} probes of {len(PHOTOS)} identities among {len(distractors):,} distractors x {DIMENSION}")
    before, _, _ = measured(lambda: plain_product(probes.features, distractors.features))
    passes: dict[str, Strategy] = {"exact": distractor_pass, "fast": partial(distractor_pass, fold=bfloat16_fold)}
    if torch.cuda.is_available():
        passes["GPU"] = device_pass()
    runs = {
        name: measured(partial(megaface, probes, distractors, SIZES, strategy=strategy))
        for name, strategy in passes.items()
    }
    after, _, _ = measured(lambda: plain_product(probes.features, distractors.features))
    product = (before + after) / 2
    print(f"float32 matrix product alone: {before:.1f} s before, {after:.1f} s after; ratios are to the mean")
    for name, (seconds, memory, _) in runs.items():
        print(
            f"whole protocol, {name} pass: {seconds:.1f} s, {seconds / product:.2f} of the product;"
            f" {memory / 2**30:.2f} GiB above the mapped features"
        )
    print_tables(runs["exact"][2])
    for name in list(runs)[1:]:
        differing = disagreements(runs["exact"][2], runs[name][2])
        found = f"differs in {', '.join(differing)}" if differing else "gives the same rows"
        print(f"the {name} pass {found}")


def disagreements(exact: Results, fast: Results) -> list[str]:
    """Name the tables in which the fast pass differs; of verification, the rows that it has."""
    found = [name for name in ("identification", "open_set") if getattr(exact, name) != getattr(fast, name)]
    by_far = {(row.distractors, row.far): row for row in exact.verification}
    if any(by_far[row.distractors, row.far] != row for row in fast.verification):
        found.append("verification")
    if max(row.far for row in fast.verification) < EXACT_FAR:
        found.append("verification (rows are missing)")
    return found


def generated(folder: Path) -> tuple[FeatureSet, FeatureSet]:
    """Return probes and distractors, the latter mapped from FOLDER/distractors.npy; makes it where it is not there."""
    random = np.random.default_rng(SEED)
    scales = np.arange(1, DIMENSION + 1) ** (-SPECTRUM / 2)
    mixing = (scales[:, None] * np.linalg.qr(random.standard_normal((DIMENSION, DIMENSION)))[0]).astype(np.float32)
    quality = random.beta(*QUALITY, size=(sum(PHOTOS), 1))
    centres = np.repeat(random.standard_normal((len(PHOTOS), DIMENSION)), PHOTOS, axis=0)
    photos = np.sqrt(quality) * centres + np.sqrt(1 - quality) * random.standard_normal(centres.shape)
    labels = np.repeat([f"person {number:02d}" for number in range(len(PHOTOS))], PHOTOS)
    path = folder / "distractors.npy"
    if not path.exists():
        _write_distractors(path, mixing)
    distractors: FloatMatrix = np.load(path, mmap_mode="r")
    return (
        FeatureSet(
            unit_rows(photos.astype(np.float32) @ mixing), labels, np.arange(len(photos)).astype("U4"), "", "probes"
        ),
        FeatureSet(distractors, np.zeros(DISTRACTORS, "U1"), np.arange(DISTRACTORS).astype("U6"), "", "distractors"),
    )


def plain_product(probes: FloatMatrix, distractors: FloatMatrix) -> None:
    """Multiply all probes with all distractors in float32, in blocks whose scores are thrown away."""
    transposed = torch.from_numpy(probes)
    scores = torch.empty(len(probes), _PRODUCT_BLOCK)
    for start in range(0, len(distractors), _PRODUCT_BLOCK):
        block = torch.from_numpy(np.array(distractors[start : start + _PRODUCT_BLOCK]))
        torch.mm(transposed, block.T, out=scores[:, : len(block)])


def measured(work: Callable[[], T]) -> tuple[float, int, T]:
    """Return the seconds of a piece of work, by how many bytes the memory beside mapped files rose, and its result."""
    floor = peak = _anonymous_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, _anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        result = work()
    finally:
        seconds = time.perf_counter() - started
        done.set()
        watcher.join()
    return seconds, peak - floor, result


def _write_distractors(path: Path, mixing: FloatMatrix) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    rows = np.lib.format.open_memmap(unfinished, "w+", np.float32, (DISTRACTORS, DIMENSION))
    for start in range(0, DISTRACTORS, _GENERATED):
        count = min(_GENERATED, DISTRACTORS - start)
        values = np.random.default_rng([SEED, start]).standard_normal((count, DIMENSION), np.float32)
        rows[start : start + count] = unit_rows(values @ mixing)
    rows.flush()
    unfinished.rename(path)


def _anonymous_bytes() -> int:
    """Resident memory that is no mapped file (Linux)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


if __name__ == "__main__":
    main()
