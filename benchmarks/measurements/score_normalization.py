"""Scores brought to a common scale by a cohort: faces of people who are neither enrolled nor searched for.

A probe that resembles everybody scores high against the cohort too, and so does a template. Subtracting what the
cohort scores, and dividing by its spread, makes one threshold fit all. Whether it pays is a question of the network:
benchmarks.measurements.identity_scores answers it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Scores = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class CohortMoments:
    """Of each probe, or each identity, [n]: mean and standard deviation (> 0) of its scores against the cohort."""

    mean: Reals
    deviation: Reals


def cohort_scores(scores: Scores, nearest: int | None = None) -> CohortMoments:
    """Summarise scores [n, C] against a cohort of C; of the `nearest` largest only where that is given (adaptive).

    Adaptive choice: Cumani et al. 2011, Interspeech, "Comparison of speaker recognition approaches for real
    applications". Raises ValueError for fewer than two scores, or where they do not differ.
    """
    if nearest is not None:
        scores = np.partition(scores, -nearest, axis=1)[:, -nearest:]
    if scores.shape[1] < 2:
        raise ValueError("a cohort of fewer than two has no spread")
    mean, deviation = scores.mean(axis=1, dtype=np.float64), scores.std(axis=1, dtype=np.float64)
    if not (deviation > 0).all():
        raise ValueError("all faces of the cohort score the same")
    return CohortMoments(mean, deviation)


def z_norm(scores: Scores, probes: CohortMoments) -> Reals:
    """Return (s - mean_p) / deviation_p of scores [Q, N], by the cohort's scores of each probe [Q].

    In speaker recognition this is the t-norm (Auckenthaler et al. 2000), for which the test side is normalised.
    """
    return np.asarray((scores - probes.mean[:, None]) / probes.deviation[:, None])


def t_norm(scores: Scores, identities: CohortMoments) -> Reals:
    """Return (s - mean_g) / deviation_g of scores [Q, N], by the cohort's scores of each identity [N]."""
    return np.asarray((scores - identities.mean) / identities.deviation)


def s_norm(scores: Scores, probes: CohortMoments, identities: CohortMoments) -> Reals:
    """Return the mean of both (Shum et al. 2010, Odyssey): symmetric in probe and identity."""
    return (z_norm(scores, probes) + t_norm(scores, identities)) / 2


def centred(scores: Scores, probes: CohortMoments, identities: CohortMoments) -> Reals:
    """Return s - (mean_p + mean_g) / 2: the level is taken away, the spread is kept, and so is the unit of a cosine."""
    return np.asarray(scores - (probes.mean[:, None] + identities.mean) / 2)
