"""The canonical score of two stored vectors, how far float32 strays from it, and what a vector must be to have one."""

import numpy as np

from indexer.errors import VectorError
from indexer.records import FloatMatrix

NORM_TOLERANCE = 1e-3
"""How far from 1 a vector's length may be; a float32 network's normalisation is within 1e-6, bfloat16's within 1e-3."""

_UNIT_ROUNDOFF = 2.0**-24  # of float32


def canonical_scores(a: FloatMatrix, b: FloatMatrix) -> FloatMatrix:
    """Inner products over the last axis, [..., D] x [..., D] broadcast -> [...]: float64, rounded to float32.

    Products of float32 are exact in float64, and NumPy sums the last axis pairwise in an order that depends on D
    alone, so the score of a pair is the same in every batch.
    """
    products = np.multiply(a, b, dtype=np.float64)
    result: FloatMatrix = products.sum(axis=-1).astype(np.float32)
    return result


def score_error(dimension: int) -> float:
    """How far a float32 inner product of two vectors within NORM_TOLERANCE may lie from their canonical score.

    gamma_n = n u / (1 - n u) bounds any order of summation (Higham 2002, eq. 3.5; |x|.|y| <= 1 by Cauchy-Schwarz);
    one more u for the rounding of the canonical score.
    """
    nu = (dimension + 1) * _UNIT_ROUNDOFF
    return (1 + NORM_TOLERANCE) ** 2 * nu / (1 - nu)


def check_vectors(vectors: FloatMatrix, dimension: int) -> None:
    """Raise VectorError unless vectors is float32 [m, dimension], finite, each of length 1 within NORM_TOLERANCE."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        raise VectorError(f"vectors must be float32, not {getattr(vectors, 'dtype', type(vectors).__name__)}")
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise VectorError(f"vectors must be [n, {dimension}], not {list(vectors.shape)}")
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= NORM_TOLERANCE))  # not (a > b): NaN must not pass
    if len(bad):
        raise VectorError(f"vector {bad[0]} has length {lengths[bad[0]]:.6g}; it must be 1 within {NORM_TOLERANCE}")
