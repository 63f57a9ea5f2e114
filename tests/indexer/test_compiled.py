"""What numba compiles runs on every host, also where nothing can be kept on the disk."""

import subprocess
import sys


def test_a_host_without_a_folder_that_can_be_written_to_compiles_anew() -> None:
    # As with code that is read-only and a user without a home: numba finds no place for what it has compiled.
    program = """
from numba.core import caching
caching.CacheImpl._locator_classes = []
import numpy as np
import benchmarks.distractors.bfloat16_fold, benchmarks.distractors.device_fold, indexer.search.int8_kernels
from indexer.hygiene.clusters import cluster
from indexer.hygiene.graph import Pairs
pairs = Pairs(np.array([0]), np.array([1]), np.array([0.9], np.float32))
print(cluster(pairs, np.arange(3)).labels.tolist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[0, 0, 2]\n"), done.stderr
