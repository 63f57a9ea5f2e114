"""What it costs that a gallery measures itself: seconds of one core, first and after one more template.

    python -m benchmarks.measurements.cohort_cost COHORT.safetensors

Random unit vectors as templates, as long as the cohort's; asked as a gallery asks (fusion max, one segment). A large
gallery asks some of the strangers first, and all of them for rates below 1 %.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tabulate import tabulate

from indexer.cache.cohort_scores import CohortScores, Since, ask_cohort
from indexer.cache.snapshot import Snapshot
from indexer.calibration.cohort import Cohort
from indexer.records import FloatMatrix, ModelBinding
from indexer.search.certified_search import Part
from indexer.search.shortlist import Segment
from indexer.store.queries import GalleryRow

SIZES = (1_000, 100_000, 1_000_000)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    path = parser.parse_args().cohort
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
        rows.append(row | {"bytes kept": f"{len(cohort.strangers) * 12:,}"})
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


def snapshot(vectors: FloatMatrix, revision: int) -> Snapshot:
    """Return a gallery of one template a person."""
    ids = np.arange(len(vectors))
    model = ModelBinding("", "", vectors.shape[1])
    row = GalleryRow("", "max", revision, erase_pending=False, model_id=1, model=model, model_since=0, erasure_key=b"")
    return Snapshot(row, (Part(Segment(ids, vectors), ids),), len(ids) - 1, (len(ids), 0), None)


def seconds(gallery: Snapshot, cohort: FloatMatrix, since: Since) -> tuple[float, CohortScores]:
    """Return the processor time of asking the cohort, and what came of it; any search counts the people, too."""
    assert gallery.people
    start = time.process_time()
    scores = ask_cohort(cohort, "", gallery, since)
    return time.process_time() - start, scores


def unit(vectors: FloatMatrix) -> FloatMatrix:
    """Return the directions of vectors [n, D]."""
    directions: FloatMatrix = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return directions


if __name__ == "__main__":
    main()
