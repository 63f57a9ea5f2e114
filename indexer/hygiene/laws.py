"""A model's laws of mated scores: what photos score against the mean of their person's templates, by their number."""

from collections.abc import Mapping

import numpy as np

from indexer.records import FloatVector

Laws = Mapping[int, FloatVector]
"""By number of templates: scores evenly spaced in probability, from the lowest to the highest."""


def law_for(laws: Laws, templates: int) -> FloatVector | None:
    """Return the law that was measured nearest to this number of templates, in proportion; None where there is none."""
    if not laws:
        return None
    return laws[min(laws, key=lambda count: abs(np.log(count / templates)))]
