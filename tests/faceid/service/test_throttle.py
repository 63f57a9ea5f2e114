"""How often one may come."""

from collections.abc import Callable

import pytest

from faceid.service.problems import Problem
from faceid.service.throttle import RateLimit, SlowDown


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def refused(act: Callable[[], object]) -> int | None:
    """Seconds to wait, or None where it was let through."""
    try:
        act()
    except Problem as problem:
        return problem.retry_after
    return None


def test_ten_seconds_worth_may_come_at_once_and_then_as_many_as_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(60, clock)
    assert [refused(lambda: limit.take("a")) for _ in range(11)] == [None] * 10 + [1]
    assert refused(lambda: limit.take("b")) is None
    clock.seconds += 3
    assert [refused(lambda: limit.take("a")) for _ in range(4)] == [None] * 3 + [1]


def test_a_rate_of_zero_is_none() -> None:
    limit = RateLimit(0)
    assert all(refused(lambda: limit.take("a")) is None for _ in range(1000))


def test_each_wrong_key_after_the_fifth_doubles_the_wait() -> None:
    clock = Clock()
    slow = SlowDown(clock)
    waits = []
    for _ in range(14):
        slow.failed("a")
        wait = refused(lambda: slow.check("a")) or 0
        waits.append(wait)
        clock.seconds += wait
    assert waits == [0, 0, 0, 0, 0, 2, 3, 5, 9, 17, 33, 61, 61, 61]
    assert refused(lambda: slow.check("b")) is None
    slow.succeeded("a")
    slow.failed("a")
    assert refused(lambda: slow.check("a")) is None


@pytest.mark.parametrize("kind", [RateLimit, SlowDown])
def test_what_is_remembered_is_bounded(kind: type) -> None:
    if kind is RateLimit:
        limit = RateLimit(60)
        for n in range(10_100):
            limit.take(n)
        assert len(limit._buckets) == 10_000
    else:
        slow = SlowDown()
        for n in range(10_100):
            slow.failed(n)
        assert len(slow._failures) == 10_000
