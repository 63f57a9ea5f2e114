"""Intervals against published values and against SciPy's own roots of the defining equations."""

import pytest
from scipy import stats

from indexer.decision.intervals import garwood, wilson


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3 (score).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_newcombes_table(hits, trials, low, high):
    assert wilson(hits, trials) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize(("hits", "trials"), [(0, 5), (5, 5), (1, 300), (299, 300), (30, 10**8)])
def test_wilson_agrees_with_scipy(hits, trials):
    theirs = stats.binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    assert wilson(hits, trials) == pytest.approx((theirs.low, theirs.high), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Garwood 1936, Biometrika 28:437, as tabulated by Gehrels 1986 and every textbook.
    [(0, 0.0, 3.689), (1, 0.0253, 5.572), (5, 1.623, 11.668), (10, 4.795, 18.390)],
)
def test_garwood_gives_the_textbook_table(count, low, high):
    assert garwood(count) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=1e-3))
    assert garwood(count, 10.0) == pytest.approx(tuple(bound / 10 for bound in garwood(count)))


def test_garwood_leaves_a_fortieth_in_each_tail():
    low, high = garwood(7)
    assert stats.poisson.sf(6, low) == pytest.approx(0.025)
    assert stats.poisson.cdf(7, high) == pytest.approx(0.025)


def test_nonsense_is_refused():
    for wrong in (lambda: wilson(0, 0), lambda: wilson(3, 2), lambda: garwood(-1), lambda: garwood(1, 0)):
        with pytest.raises(ValueError, match="in"):
            wrong()
