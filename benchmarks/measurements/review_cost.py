"""What a review costs: seconds and memory at so many templates, drawn, five a person, with a fault in a hundred.

    python -m benchmarks.measurements.review_cost 10000 100000 1000000

Seconds are of the processor (all threads) and of the clock; the vectors are in memory before.
"""

import argparse
import resource
import time
from typing import Any

import numpy as np
from tabulate import tabulate

from indexer.hygiene.review import Examples, review
from indexer.records import Embeddings

DIMENSION, PHOTOS, SPREAD = 128, 5, 0.8


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="+")
    options = parser.parse_args()
    for size in options.sizes:
        print(tabulate([cost(size)], headers="keys", tablefmt="github", floatfmt=".4g"), flush=True)


def cost(size: int) -> dict[str, Any]:
    """Return what one review costs, and how many of its faults it finds."""
    random = np.random.default_rng(0)
    owner = np.arange(size) // PHOTOS
    shown = owner.copy()
    wrong = random.permutation(size)[: size // 100]
    shown[wrong] = random.integers(0, owner[-1] + 1, len(wrong))
    vectors = random.standard_normal((owner[-1] + 1, DIMENSION)).astype(np.float32)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True))[shown]
    for start in range(0, size, 1 << 16):
        block = slice(start, start + (1 << 16))
        other = random.standard_normal(vectors[block].shape).astype(np.float32)
        vectors[block] += SPREAD * other / np.linalg.norm(other, axis=1, keepdims=True)
        vectors[block] /= np.linalg.norm(vectors[block], axis=1, keepdims=True)
    broken = random.standard_normal((8, 8, DIMENSION)).astype(np.float32) + 3
    broken /= np.linalg.norm(broken, axis=2, keepdims=True)
    same = random.normal(0.98, 0.01, 200).astype(np.float32)
    cpu, wall = time.process_time(), time.perf_counter()
    found = review(Embeddings(np.arange(size), owner, vectors), Examples(broken, same))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    named = [one for one in found.findings if one.kind == "mislabelled"]
    faults = set(wrong[shown[wrong] != owner[wrong]].tolist())
    right = [
        one for one in named if one.template_ids[0] in faults and shown[one.template_ids[0]] == one.identity_ids[1]
    ]
    return {
        "templates": size,
        "CPU s": cpu,
        "wall s": wall,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "mislabelled": len(named),
        "right": len(right),
        "faults": len(faults),
        "other findings": len(found.findings) - len(named),
    }


if __name__ == "__main__":
    main()
