"""Sums of the rows of each person, from which person centres are made."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.records import FloatMatrix


def sums_of_people(rows: FloatMatrix, people: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Add up the rows [N, D] of each of K people, numbered [N] from 0: float64 [K, D]."""
    sums = np.zeros((people.max() + 1, rows.shape[1]))
    np.add.at(sums, people, rows)
    return sums
