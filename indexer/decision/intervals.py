"""Confidence intervals of counted rates: Wilson for shares of trials, Garwood for counts over an exposure."""

import math
from statistics import NormalDist


def wilson(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a share hits/trials (Wilson 1927): (low, high), each in 0..1.

    Assumes independent trials; where trials share persons it is a lower bound on the width.
    """
    if not 0 <= hits <= trials or trials == 0:
        raise ValueError(f"{hits} hits in {trials} trials")
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    centre = (hits + z2 / 2) / (trials + z2)
    half = math.sqrt(z2 * (hits * (trials - hits) / trials + z2 / 4)) / (trials + z2)
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == trials else min(1.0, centre + half)
    return low, high


def garwood(count: int, exposure: float = 1.0, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a Poisson rate count/exposure (Garwood 1936): (low, high) >= 0 in events per exposure."""
    from scipy.special import gammaincinv

    if count < 0 or not exposure > 0:
        raise ValueError(f"{count} events in an exposure of {exposure}")
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(gammaincinv(count, tail))
    high = float(gammaincinv(count + 1, 1 - tail))
    return low / exposure, high / exposure
