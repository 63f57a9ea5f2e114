"""What it costs that a gallery measures itself: seconds of one core, first and after one more template.

    python -m benchmarks.measurements.cohort_cost COHORT.safetensors

Random unit vectors as templates, as long as the cohort's; searched as a gallery does (fusion max, one segment).
"""

import argparse
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tabulate import tabulate

from indexer.records import FloatMatrix
from indexer.search.certified_search import Part, search
from indexer.search.codes import encode
from indexer.search.shortlist import Segment

SIZES = (1_000, 100_000, 1_000_000)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    path = parser.parse_args().cohort
    arrays = load_file(path)
    first = np.unique(arrays["persons"], return_index=True)[1]
    cohort = unit(arrays["codes"][first].astype(np.float32))
    print(f"{path.name}: {path.stat().st_size:,} bytes, {len(cohort):,} strangers of {cohort.shape[1]} numbers")
    rows = []
    for size in SIZES:
        random = np.random.default_rng(0)
        vectors = unit(random.standard_normal((size, cohort.shape[1]), dtype=np.float32))
        ids = np.arange(size)
        segment = Segment(ids, vectors, encode(vectors) if size >= 20_000 else None)
        search([Part(segment, ids)], cohort[:8], 1)  # the index is made, the kernels are loaded
        row: dict[str, object] = {"templates": f"{size:,}"}
        row |= {"first, seconds": f"{seconds(Part(segment, ids), cohort):.2f}"}
        fresh = Part(Segment(np.arange(1), vectors[:1]), np.arange(1))
        row |= {"after one more template, seconds": f"{seconds(fresh, cohort):.3f}"}
        rows.append(row | {"bytes kept": f"{len(cohort) * 12:,}"})
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


def seconds(part: Part, cohort: FloatMatrix) -> float:
    """Return the processor time of searching the cohort in a part."""
    start = time.process_time()
    search([part], cohort, 1)
    return time.process_time() - start


def unit(vectors: FloatMatrix) -> FloatMatrix:
    """Return the directions of vectors [n, D]."""
    directions: FloatMatrix = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return directions


if __name__ == "__main__":
    main()
