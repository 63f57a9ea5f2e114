"""Memory that a run of days would hold on to: glibc keeps what many short threads have freed in pieces."""

import ctypes
import sys
import time


class HeapKeeper:
    """Gives freed memory back to the system now and then; for programs of our own, which the process belongs to."""

    def __init__(self, every: float = 60.0) -> None:
        self._every = every
        self._next = time.monotonic() + every
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim = getattr(library, "malloc_trim", None)  # not in musl

    def look(self) -> None:
        """Give back if it is time."""
        if self._trim is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            self._trim(0)
