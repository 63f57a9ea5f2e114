"""How figures read, on the page as in the terminal: rates, intervals and the names of what was foretold."""

import math
from collections.abc import Sequence

from benchmarks.results.results import Results

Runs = Sequence[tuple[str, Results]]
"""Runs to show, each with the name that it has among them."""

# The quantities that are shares, shown in percent; a quantity's name may go on after the first word.
NAMES = {"rank1": "rank-1", "rank10": "rank-10", "fpir": "FPIR", "fnir": "FNIR", "far": "FAR", "tar": "TAR"}


def percent(share: float) -> str:
    """Return a share as text: 0.9875 is 98.8 %. What is not 0 or 1 never reads as 0 % or 100 %: 0.9997 is 99.970 %."""
    rest = 100 * min(share, 1 - share)
    if rest == 0:
        return f"{100 * share:.0f} %"
    digits = 1 if rest < 0 or not math.isfinite(rest) else max(1, 1 - math.floor(math.log10(rest)))
    return f"{100 * share:.{min(digits, 12)}f} %"


def interval(ci95: tuple[float, float]) -> str:
    """Return an interval of shares as text: 91.3 to 98.6 %."""
    low, high = (percent(bound).removesuffix(" %") for bound in ci95)
    return f"{low} to {high} %"


def is_share(quantity: str) -> bool:
    """Whether a predicted quantity is a share, 0..1; a threshold is not."""
    return quantity.split(" ")[0] in NAMES


def words(quantity: str) -> str:
    """Return a predicted quantity as a reader calls it: rank1 is rank-1."""
    first, *rest = quantity.split(" ")
    return " ".join([NAMES.get(first, first), *rest])
