"""Several sources at once: live ones beside each other, files one after the other."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
_QUEUE = 100


def side_by_side(lanes: Sequence[Iterable[Item]], stop: Callable[[], None]) -> Iterator[Item]:
    """Yield what the lanes yield, as it comes, each taken in a thread of its own.

    An error in one ends all: the others are told by `stop`, and it is raised when they have ended.
    """
    if len(lanes) == 1:
        yield from lanes[0]
        return
    items: queue.Queue[Item | _Ended] = queue.Queue(_QUEUE)
    closing = threading.Event()

    def put(item: "Item | _Ended") -> None:
        while not closing.is_set():
            try:
                items.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def run(lane: Iterable[Item]) -> None:
        error: BaseException | None = None
        try:
            for item in lane:
                put(item)
        except BaseException as caught:
            error = caught
        put(_Ended(error))

    threads = [threading.Thread(target=run, args=(lane,), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    failed: BaseException | None = None
    try:
        for _ in threads:
            while not isinstance(item := items.get(), _Ended):
                yield item
            if item.error is not None:
                failed = failed or item.error
                stop()
    finally:
        stop()
        closing.set()
    if failed is not None:
        raise failed


class _Ended:
    """A lane has ended, perhaps by an error."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
