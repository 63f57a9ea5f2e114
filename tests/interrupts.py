"""Programs that tests start and interrupt."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heard() -> Iterator[None]:
    """Let the programs that are started in the block hear interrupts.

    Where the tests run in the background of a shell they are ignored, and a child would inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
