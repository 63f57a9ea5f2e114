"""Where the computing is done: a few threads that share one engine, behind a queue that is bounded.

A session of ONNX Runtime has no threads of its own, and torch gets one, so that a thread here is a core.
"""

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from faceid.inference.onnx_session import compute_here_with
from faceid.service.problems import Problem

_PAUSE = 0.02  # seconds without anybody new after which a batch that is not full is begun
_LONGEST_GATHERING = 0.25

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Asked:
    """Somebody's items, and where the answer goes: a list of results an item, and how many were worked on together."""

    items: Sequence[Any]
    answer: "Future[tuple[list[list[Any]], int]]"


class EngineRoom:
    """`workers` threads; at most `queue` pieces of work wait for one, the next is refused with `busy`.

    With a `batch` above 1, items of several callers who ask alike are worked on together, as many as have come when a
    thread is free and nobody new has come for a moment.
    """

    def __init__(self, workers: int, queue: int, batch: int = 1) -> None:
        self.workers = workers
        self._batch = batch
        self._alike: dict[Hashable, deque[_Asked]] = defaultdict(deque)
        self._most = workers + queue
        self._pool = ThreadPoolExecutor(workers, "faceid-worker", compute_here_with, (1,))
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
        self._enter()
        future = self._pool.submit(work)
        future.add_done_callback(self._leave)
        return await self._wait(future, seconds)

    async def run_together(
        self,
        alike: Hashable,
        items: Sequence[Item],
        work: Callable[[list[Item]], list[list[Result]]],
        seconds: float,
    ) -> tuple[list[list[Result]], int]:
        """Do `work` for these items and for those of others who ask `alike`: one list an item, in order.

        Also returns how many items were worked on together. Raises as `run`.
        """
        self._enter()
        asked = _Asked(items, Future())
        asked.answer.add_done_callback(self._leave)
        with self._counting:
            self._alike[alike].append(asked)
        self._pool.submit(self._work_on_those_who_wait, alike, work)
        return await self._wait(asked.answer, seconds)

    async def _wait(self, future: "Future[Result]", seconds: float) -> Result:
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), max(seconds, 0.001))
        except TimeoutError:
            raise Problem("too_slow", f"the answer was not there after {seconds:.0f} seconds") from None

    def close(self) -> None:
        """Finish what was accepted."""
        self._pool.shutdown(wait=True)

    def _work_on_those_who_wait(self, alike: Hashable, work: Callable[[list[Any]], list[list[Any]]]) -> None:
        """Take as many who ask alike as a batch holds. Each brought a call of this; some find nobody left."""
        if self._batch > 1:
            self._gather(alike)
        taken: list[_Asked] = []
        count = 0
        with self._counting:
            waiting = self._alike[alike]
            while waiting and (not taken or count + len(waiting[0].items) <= self._batch):
                asked = waiting.popleft()
                if asked.answer.set_running_or_notify_cancel():
                    taken.append(asked)
                    count += len(asked.items)
            if not waiting:
                del self._alike[alike]
        if not taken:
            return
        try:
            results = work([item for asked in taken for item in asked.items])
            if len(results) != count:
                raise RuntimeError(f"{len(results)} answers to {count} items")
            in_order = iter(results)
            for asked in taken:
                asked.answer.set_result(([next(in_order) for _ in asked.items], count))
        except BaseException as error:  # each of them must hear of it
            for asked in taken:
                if not asked.answer.done():
                    asked.answer.set_exception(error)

    def _gather(self, alike: Hashable) -> None:
        """Wait as long as others come: those whose answers went out together ask again one after the other."""
        ends = time.monotonic() + _LONGEST_GATHERING
        before = 0
        while time.monotonic() < ends:
            with self._counting:
                waiting = sum(len(asked.items) for asked in self._alike.get(alike, ()))
            if waiting in (0, before) or waiting >= self._batch:
                return
            before = waiting
            time.sleep(_PAUSE)

    def _enter(self) -> None:
        with self._counting:
            if self._open >= self._most:
                raise Problem("busy", f"{self._most} requests are being worked on or waiting")
            self._open += 1

    def _leave(self, _: object) -> None:
        with self._counting:
            self._open -= 1
