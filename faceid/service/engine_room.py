"""Where the computing is done: a few threads that share one engine, behind a queue that is bounded.

A session of ONNX Runtime has no threads of its own, and torch gets one, so that a thread here is a core.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from faceid.service.problems import Problem

Result = TypeVar("Result")


class EngineRoom:
    """`workers` threads; at most `queue` pieces of work wait for one, the next is refused with `busy`."""

    def __init__(self, workers: int, queue: int) -> None:
        self.workers = workers
        self._most = workers + queue
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="faceid-worker")
        self._counting = threading.Lock()
        self._open = 0

    @property
    def waiting(self) -> int:
        """How many pieces of work wait for a thread."""
        return max(0, self._open - self.workers)

    async def run(self, work: Callable[[], Result], seconds: float) -> Result:
        """Do a piece of work in a thread; raises Problem `busy` past the bound, `too_slow` after so many seconds.

        What was not begun by then is never done; what was begun ends by itself, and holds its thread until then.
        """
        future = self._submit(work)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), max(seconds, 0.001))
        except TimeoutError:
            raise Problem("too_slow", f"the answer was not there after {seconds:.0f} seconds") from None

    def close(self) -> None:
        """Finish what was accepted."""
        self._pool.shutdown(wait=True)

    def _submit(self, work: Callable[[], Result]) -> Future[Result]:
        with self._counting:
            if self._open >= self._most:
                raise Problem("busy", f"{self._most} requests are being worked on or waiting")
            self._open += 1
        future = self._pool.submit(work)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _: object) -> None:
        with self._counting:
            self._open -= 1
