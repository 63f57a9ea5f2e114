"""How far two protected templates can be told to be of one person: ISO/IEC 30136's unlinkability, as a number."""

import numpy as np

from indexer.records import FloatVector

_MOST_BINS = 100


def linkability(mated: FloatVector, non_mated: FloatVector) -> float:
    """D_sys, 0 (nothing can be told) to 1 (everything), of scores between two galleries protected by different keys.

    D(s) = 2 LR / (1 + LR) - 1 where the likelihood ratio LR(s) = p(s | mated) / p(s | non-mated) is above 1, else 0, at
    equal priors; D_sys = sum over bins of p(s | mated) D(s). Gomez-Barrero et al. 2018, General Framework to Evaluate
    Unlinkability in Biometric Template Protection Systems, eq. 5 to 9. Bins of equal width, mated / 10 of them and 100
    at most, as there. Few scores make it larger than it is: hold it against that of two samples of non-mated scores.
    Raises ValueError without ten scores of each.
    """
    if min(len(mated), len(non_mated)) < 10:
        raise ValueError(f"{len(mated)} mated and {len(non_mated)} non-mated scores say nothing")
    ends = (min(mated.min(), non_mated.min()), max(mated.max(), non_mated.max()))
    bins = np.linspace(*ends, min(len(mated) // 10, _MOST_BINS) + 1)
    of_mated = np.histogram(mated, bins)[0] / len(mated)
    of_others = np.histogram(non_mated, bins)[0] / len(non_mated)
    # 2 LR / (1 + LR) - 1, without dividing by what may be zero.
    local = np.maximum(of_mated - of_others, 0) / np.maximum(of_mated + of_others, 1e-300)
    return float((of_mated * local).sum())
