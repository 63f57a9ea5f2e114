"""The learning rate rises, then falls to nothing at the last step."""

from itertools import pairwise

import pytest

from training.schedules import learning_rate


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    rates = [learning_rate(step, steps=100, peak=0.1, warmup=10) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.01 * step for step in range(1, 11)])
    assert max(rates) == rates[9]
    assert all(later < earlier for earlier, later in pairwise(rates[9:]))
    assert rates[54] == pytest.approx(0.05, rel=0.02)
    assert 0 < rates[-1] < 1e-4


def test_without_warm_up_the_first_rate_is_the_peak() -> None:
    assert learning_rate(1, steps=100, peak=0.1, warmup=0) == pytest.approx(0.1, rel=1e-3)
