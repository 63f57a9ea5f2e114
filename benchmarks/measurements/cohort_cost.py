"""What it costs that a gallery measures itself: seconds of one core, first and after one more template.

    python -m benchmarks.measurements.cohort_cost COHORT.safetensors -o FOLDER

Random unit vectors as templates, as long as the cohort's; asked as a gallery asks (fusion max, one segment). A large
gallery asks some of the strangers first, and all of them for rates below 1 %.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tabulate import tabulate

from benchmarks.measurements.asked_and_got import write
from indexer.cache.cohort_scores import CohortScores, Since, ask_cohort
from indexer.cache.snapshot import Snapshot
from indexer.calibration.cohort import Cohort
from indexer.decided_on import DecidedOn
from indexer.records import FloatMatrix, ModelBinding
from indexer.search.certified_search import Part
from indexer.search.shortlist import Segment
from indexer.store.queries import GalleryRow

SIZES = (1_000, 100_000, 1_000_000)
CONTEXT_UP_TO = 100_000  # templates: a list of eleven for each stranger, proved, takes minutes beyond


def main() -> None:
    """Write cohort-cost.csv and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    path = options.cohort
    arrays = load_file(path)
    cohort = Cohort(arrays["codes"], arrays["persons"].astype(np.int64), "", "", "", "", "")
    dimension = cohort.codes.shape[1]
    print(f"{path.name}: {path.stat().st_size:,} bytes, {len(cohort.strangers):,} strangers of {dimension} numbers")
    rows = []
    for size in SIZES:
        random = np.random.default_rng(0)
        vectors = unit(random.standard_normal((size + 1, dimension), dtype=np.float32))
        row: dict[str, object] = {"templates": f"{size:,}"}
        for what, asked in {"some": cohort.some_strangers, "all": cohort.strangers}.items():
            first, known = seconds(snapshot(vectors[:size], 1), asked, Since(None, np.empty(0, np.int64)))
            more, _ = seconds(snapshot(vectors, 2), asked, Since(known, np.array([size])))
            row |= {f"{what} ({len(asked):,}), first": f"{first:.2f}", f"{what}, one more": f"{more:.3f}"}
        if size <= CONTEXT_UP_TO:
            nothing = Since(None, np.empty(0, np.int64))
            in_context, _ = seconds(snapshot(vectors[:size], 1), cohort.strangers, nothing, "context")
        row |= {"all, on context": f"{in_context:.2f}" if size <= CONTEXT_UP_TO else ""}
        rows.append(row | {"bytes kept": f"{len(cohort.strangers) * 12:,}"})
    write(options.output / "cohort-cost.csv", rows)
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


def snapshot(vectors: FloatMatrix, revision: int) -> Snapshot:
    """Return a gallery of one template a person."""
    ids = np.arange(len(vectors))
    model = ModelBinding("", "", vectors.shape[1])
    row = GalleryRow("", "max", revision, False, 1, model, 0, b"", "similarity", None)
    return Snapshot(row, (Part(Segment(ids, vectors), ids),), len(ids) - 1, (len(ids), 0), None)


def seconds(
    gallery: Snapshot, cohort: FloatMatrix, since: Since, on: DecidedOn = "similarity"
) -> tuple[float, CohortScores]:
    """Return the processor time of asking the cohort, and what came of it; any search counts the people, too."""
    assert gallery.people
    start = time.process_time()
    scores = ask_cohort(cohort, "", gallery, since, on)
    return time.process_time() - start, scores


def unit(vectors: FloatMatrix) -> FloatMatrix:
    """Return the directions of vectors [n, D]."""
    directions: FloatMatrix = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return directions


if __name__ == "__main__":
    main()
