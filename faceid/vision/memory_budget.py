"""Memory that decoders may hold together: who needs much waits for his turn, whatever the number of threads."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """So many bytes at a time; a request above them is served alone."""

    def __init__(self, limit: int) -> None:
        """Take the limit in bytes."""
        self.limit = limit
        self.forget()

    def forget(self) -> None:
        """Start anew, as a forked process must: threads that held something are not in it."""
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._used = 0

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Hold so many bytes for the time of the block; waits until they are free."""
        with self._turn, self._changed:  # in the order of arrival: small ones must not starve a big one
            self._changed.wait_for(lambda: not self._used or self._used + size <= self.limit)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()


def process_budget(limit: int) -> MemoryBudget:
    """Return a budget for this process; a forked one has its own."""
    budget = MemoryBudget(limit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=budget.forget)
    return budget
