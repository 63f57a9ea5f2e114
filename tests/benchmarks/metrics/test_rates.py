"""A rate comes with its counts and interval, and is refused where the trials cannot support it."""

import numpy as np
import pytest
from scipy.stats import chi2

from benchmarks.metrics.rates import UnsupportedRate, rate, require_support
from indexer.decision.intervals import wilson


def test_a_common_rate_has_wilsons_interval() -> None:
    found = rate(5967, 6000)
    assert (found.hits, found.trials, found.rate) == (5967, 6000, 0.9945)
    assert found.ci95 == wilson(5967, 6000)
    assert found.ci95_clustered is None


def test_a_rare_rate_has_garwoods_exact_interval() -> None:
    # 8 false accepts in 8,000,000: half the chi-squared quantiles with 16 and 18 degrees of freedom.
    low, high = rate(8, 8_000_000).ci95
    assert low == pytest.approx(chi2.ppf(0.025, 16) / 2 / 8e6)
    assert high == pytest.approx(chi2.ppf(0.975, 18) / 2 / 8e6)


def test_no_hit_in_few_trials_leaves_the_rate_open_up_to_one() -> None:
    low, high = rate(0, 2).ci95
    assert (low, high) == (0, 1)


def test_a_rate_is_made_of_plain_numbers() -> None:
    found = rate(np.int64(1), np.int64(4))  # type: ignore[arg-type]
    assert type(found.hits) is int
    assert type(found.rate) is float


@pytest.mark.parametrize(("target", "needed"), [(1e-6, 3_000_000), (1e-9, 3_000_000_000), (0.003, 1000), (0.29, 11)])
def test_three_trials_are_needed_for_each_one_in_the_rate(target: float, needed: int) -> None:
    require_support(target, needed, "non-mated pairs")
    with pytest.raises(UnsupportedRate, match=f"it needs {needed:,};") as refused:
        require_support(target, needed - 1, "non-mated pairs")
    assert (refused.value.needed, refused.value.trials) == (needed, needed - 1)


def test_a_target_that_is_no_rate_is_an_error() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        require_support(1.0, 100, "searches")
