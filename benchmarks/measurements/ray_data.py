"""Ray's plain actors, as `--ray` uses them, beside Ray Data with stateful actors, in turn on one local cluster each.

    python -m benchmarks.measurements.ray_data PEOPLE_DIR [--photos 300] [--workers 2]      (pip install 'ray[data]')

Both get batches of 32 paths; their actors make an engine and read the photos. Ray Data keeps the order and takes as
many actors; its rows carry the vectors. Seconds are from the start of the cluster to the last vector.
"""

import argparse
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measurements.many_workers import evenly
from faceid.engine import FaceEngine
from faceid.vision.photo_list import photos_of_people
from faceid.workers.processes import share_of_threads
from faceid.workers.ray_actors import ray_crew
from indexer.records import FloatMatrix

_BATCH = 32
Rows = dict[str, Any]


class Embed:
    """What Ray Data's actors are: an engine each."""

    def __init__(self) -> None:
        share_of_threads(1)
        self._engine = FaceEngine()

    def __call__(self, rows: Rows) -> Rows:
        """Embed a batch of paths; one row a photo, zeros where it has no face."""
        found = self._engine.embed(rows["item"].tolist())
        place = {path: n for n, path in enumerate(rows["item"].tolist())}
        vectors = np.zeros((len(place), self._engine.binding.dimension), np.float32)
        for path, vector in zip(found.paths, found.vectors, strict=True):
            vectors[place[path]] = vector
        return {"vector": vectors}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    paths = [str(one.path) for one in evenly(list(photos_of_people(options.folder)), options.photos)]
    begun = time.perf_counter()
    with ray_crew("local", FaceEngine().twin, options.workers, print) as crew:
        ours = FaceEngine().embed(paths, crew=crew).vectors
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    theirs = _by_ray_data(paths, options.workers)
    second = time.perf_counter() - begun
    theirs = theirs[np.linalg.norm(theirs, axis=1) > 0]
    same = theirs.shape == ours.shape and np.array_equal(theirs, ours)
    print("| way | seconds | photos/s (ratio) |")
    print("|---|---|---|")
    print(f"| plain actors | {first:.1f} | {len(paths) / first:.1f} (1.00) |")
    print(f"| Ray Data | {second:.1f} | {len(paths) / second:.1f} ({first / second:.2f}) |")
    print(f"vectors equal, in order: {same}")


def _by_ray_data(paths: Sequence[str], workers: int) -> FloatMatrix:
    ray: Any = import_module("ray")
    data: Any = import_module("ray.data")
    ray.init(include_dashboard=False, log_to_driver=False)
    try:
        data.DataContext.get_current().execution_options.preserve_order = True
        pool = data.ActorPoolStrategy(size=workers)
        # Less than a whole processor each: else the actors hold all of them, and what feeds them waits for ever.
        found = data.from_items(list(paths)).map_batches(Embed, compute=pool, num_cpus=0.9, batch_size=_BATCH)
        vectors: FloatMatrix = np.stack([row["vector"] for row in found.iter_rows()]).astype(np.float32)
    finally:
        ray.shutdown()
    return vectors


if __name__ == "__main__":
    main()
