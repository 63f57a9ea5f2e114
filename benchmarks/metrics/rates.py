"""Counting a rate with its interval, and the refusal of a rate that the trials cannot support."""

import math

from benchmarks.results.results import Rate
from indexer.decision.decision import RULE_OF_THREE
from indexer.decision.intervals import garwood, wilson
from indexer.errors import FaceIdError

RARE = 1e-3
"""Below this share hits are counted events of an exposure: Garwood's exact Poisson interval instead of Wilson's."""


class UnsupportedRate(FaceIdError):
    """A rate so small that this number of trials cannot tell it from zero; `needed` trials could."""

    def __init__(self, message: str, needed: int, trials: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.trials = trials


def rate(hits: int, trials: int, clustered: tuple[float, float] | None = None) -> Rate:
    """Return hits / trials with its naive 95 % interval: Wilson's, or Garwood's for a share below RARE.

    Raises ValueError unless 0 <= hits <= trials and trials > 0.
    """
    hits, trials = int(hits), int(trials)
    ci95 = wilson(hits, trials) if hits >= RARE * trials else _rare(hits, trials)
    return Rate(hits, trials, hits / trials, ci95, clustered)


def require_support(target: float, trials: int, what: str) -> None:
    """Raise UnsupportedRate where fewer than 3 / target trials (of `what`, a plural) were made: the rule of three.

    No event in n trials bounds a rate by 3/n at 95 % (Hanley & Lippman-Hand 1983), so fewer trials cannot tell the
    target from zero. Raises ValueError unless 0 < target < 1.
    """
    if not 0 < target < 1:
        raise ValueError(f"a target rate of {target:g} does not lie between 0 and 1")
    needed = math.ceil(RULE_OF_THREE / target * (1 - 1e-12))  # 3 / 1e-6 may be 3000000.0000000005
    if trials < needed:
        raise UnsupportedRate(
            f"a rate of {target:g} cannot be supported by {trials:,} {what}: it needs {needed:,};"
            " ask for a higher rate, or bring more photos",
            needed,
            trials,
        )


def _rare(hits: int, trials: int) -> tuple[float, float]:
    low, high = garwood(hits, trials)
    return low, min(1.0, high)
