"""Thresholds against morphs: a document's photo made of two people, which opens for both of them.

Whatever the morph's vector m, for unit vectors p and q of two live photos min(m.p, m.q) <= sqrt((1 + p.q) / 2), which
their midpoint reaches (m.p + m.q = m.(p + q) <= |p + q| = sqrt(2 + 2 p.q)). So at a threshold t no more morphs succeed
than pairs of people score p.q >= 2 t^2 - 1: that is the false match rate there, of a calibration that exists. A forger
knows the documents' photos alone: the midpoint of two documents, against other photos of both, is the worst case that
`faceid calibrate --documents` measures.
"""

import math

import numpy as np

from indexer.records import FloatMatrix


def midpoints(first: FloatMatrix, second: FloatMatrix) -> FloatMatrix:
    """Return the unit vectors [n, D] halfway between unit vectors [n, D] and [n, D]."""
    sums = first.astype(np.float64) + second
    middle: FloatMatrix = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
    return middle


def pair_score_of(threshold: float) -> float:
    """Return the similarity 2 t^2 - 1 that two people's live photos must have for any morph to pass at t for both."""
    return 2 * threshold**2 - 1


def threshold_of(pair_score: float) -> float:
    """Return the threshold above which no morph of two people passes whose live photos score less than this."""
    return math.sqrt((1 + pair_score) / 2)
