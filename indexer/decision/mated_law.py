"""Laws of mated scores: what photos score against their own person's templates, by fusion and number of templates."""

import numpy as np

from indexer.records import FloatVector

OwnScores = dict[tuple[str, int], FloatVector]
"""By fusion and templates: scores evenly spaced in probability, from the lowest to the highest."""


def law_for(laws: OwnScores, fusion: str, templates: int) -> FloatVector | None:
    """Return the law of this fusion that was measured nearest to this number of templates, in proportion."""
    known = [count for name, count in laws if name == fusion]
    if not known:
        return None
    return laws[fusion, min(known, key=lambda count: abs(np.log(count / max(1, templates))))]
