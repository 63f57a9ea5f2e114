"""How often one may come: a bucket of requests for each key, and longer and longer waits after wrong keys."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from faceid.service.problems import Problem

_REMEMBERED = 10_000  # keys and addresses
_BURST_SECONDS = 10
_FREE_FAILURES = 5
_LONGEST_WAIT = 60.0


class RateLimit:
    """A bucket for each caller that holds ten seconds' worth of requests."""

    def __init__(self, requests_a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = requests_a_minute / 60
        self._most = max(1.0, self._per_second * _BURST_SECONDS)
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        self._alone = threading.Lock()

    def take(self, who: Hashable) -> None:
        """Take one request out of the bucket; raises Problem `too_many_requests` where it is empty."""
        if not self._per_second:
            return
        with self._alone:
            present = self._clock()
            left, then = self._buckets.pop(who, (self._most, present))
            left = min(self._most, left + (present - then) * self._per_second)
            self._buckets[who] = (max(left - 1, 0.0) if left >= 1 else left, present)
            _forget_oldest(self._buckets)
        if left < 1:
            wait = max(1, round((1 - left) / self._per_second))
            raise Problem("too_many_requests", "this key has used up its requests for now", retry_after=wait)


class SlowDown:
    """Wrong keys from one address: the first few cost nothing, then each doubles the wait before the next try."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()
        self._alone = threading.Lock()

    def check(self, address: Hashable) -> None:
        """Raise `too_many_requests` while the address has to wait."""
        with self._alone:
            _, until = self._failures.get(address, (0, 0.0))
        left = until - self._clock()
        if left > 0:
            raise Problem(
                "too_many_requests", "too many wrong keys; wait before the next try", retry_after=int(left) + 1
            )

    def failed(self, address: Hashable) -> None:
        """Note a wrong key."""
        with self._alone:
            count, _ = self._failures.pop(address, (0, 0.0))
            wait = 0.0 if count < _FREE_FAILURES else min(_LONGEST_WAIT, 2.0 ** (count - _FREE_FAILURES))
            self._failures[address] = (count + 1, self._clock() + wait)
            _forget_oldest(self._failures)

    def succeeded(self, address: Hashable) -> None:
        """Forget the address's wrong keys."""
        with self._alone:
            self._failures.pop(address, None)


def _forget_oldest(known: OrderedDict[Hashable, Any]) -> None:
    while len(known) > _REMEMBERED:
        known.popitem(last=False)
