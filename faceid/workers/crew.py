"""A crew of workers: results come in the order of the items, and who dies is replaced and costs nothing but time.

A worker makes its tool (an engine) when it starts, and then works on one item at a time. What it has in hand when it
dies is done once more by another; everything else is done once.
"""

import logging
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, TypeVar

from indexer.errors import FaceIdError

Item = TypeVar("Item")
Kept = TypeVar("Kept")
Result = TypeVar("Result")
Tool = Any
Work = Callable[[Tool, Item], Result]

_DEATHS = 3  # workers that one item may cost before it is given up
_AHEAD = 2  # items in flight for each worker: one in hand, one waiting
_PATIENCE = 60.0  # seconds without an answer after which that is said

logger = logging.getLogger(__name__)


class WorkersDied(FaceIdError):
    """Workers die, always over the same photos or before they have begun."""


class WorkFailed(FaceIdError):
    """A worker met an error that cannot be handed on as it was."""


@dataclass(frozen=True)
class Done:
    """What a worker answers: that it has started (None), or the result of an item."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """What a worker answers where the work raised an error; the worker itself goes on."""

    error: Exception


@dataclass(frozen=True)
class Died:
    """The worker is gone, and how."""

    how: str


class Worker(Protocol):
    """One worker, as its crew sees it; it answers once when it has started, and once to each item."""

    name: str

    def give(self, work: Work[Any, Any], item: object) -> None:
        """Hand over an item; if the worker is gone, its answer says so. Raises where the item cannot be sent."""
        ...

    def answer(self) -> Done | Failed | Died:
        """Return the answer that is there, or why none will come."""
        ...

    def end(self) -> None:
        """End the worker at once, whatever it does."""
        ...


class Source(Protocol):
    """Where workers come from."""

    def start(self) -> Worker:
        """Start one; it makes its tool meanwhile."""
        ...

    def wait(self, workers: Sequence[Worker], seconds: float) -> list[Worker]:
        """Wait until some of the workers have an answer, or for so long; return those."""
        ...

    def close(self) -> None:
        """Let go of what the workers came from."""
        ...


@dataclass(eq=False)
class _Task:
    work: Work[Any, Any]
    item: object
    deaths: int = 0
    outcome: list[Done | Failed] = field(default_factory=list)


class Crew:
    """`count` workers of a source; a context manager, at whose end no worker is left. For one thread at a time.

    `tell` gets a line for people where a worker died or none answers.
    """

    def __init__(self, source: Source, count: int, tell: Callable[[str], None] = logger.warning) -> None:
        if count < 1:
            raise ValueError(f"at least one worker is needed, not {count}")
        self.count = count
        self._source, self._tell = source, tell
        self._todo: deque[_Task] = deque()
        self._idle: list[Worker] = []
        self._busy: dict[Worker, _Task | None] = {}  # None: it is still starting
        self._false_starts = 0
        try:
            for _ in range(count):
                self._busy[source.start()] = None
        except BaseException:
            self.close()
            raise

    def map(self, work: Work[Item, Result], pairs: Iterable[tuple[Kept, Item]]) -> Iterator[tuple[Kept, Result]]:
        """Do `work(tool, item)` for each pair's item; yield what is kept here beside it, with the result, in order.

        `work` is a function of a module, or a partial of one; the pairs are taken as the work goes on, and the items of
        several maps may be under way at once. Raises what the work raised, and WorkersDied for an item that has cost
        several workers their lives.
        """
        under_way: deque[tuple[Kept, _Task]] = deque()
        for kept, item in pairs:
            task = _Task(work, item)
            self._todo.append(task)
            self._hand_out()
            under_way.append((kept, task))
            while len(under_way) >= _AHEAD * self.count or (under_way and under_way[0][1].outcome):
                yield self._finished(*under_way.popleft())
        while under_way:
            yield self._finished(*under_way.popleft())

    def close(self) -> None:
        """End every worker, also in the middle of an item."""
        for worker in [*self._idle, *self._busy]:
            worker.end()
        self._idle, self._busy = [], {}
        self._source.close()

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _finished(self, kept: Kept, task: _Task) -> tuple[Kept, Any]:
        while not task.outcome:
            self._hand_out()
            self._hear()
        (outcome,) = task.outcome
        if isinstance(outcome, Failed):
            raise outcome.error
        return kept, outcome.result

    def _hand_out(self) -> None:
        while self._idle and self._todo:
            worker, task = self._idle.pop(), self._todo.popleft()
            try:
                worker.give(task.work, task.item)
            except Exception as error:  # pickling may raise anything, and says nothing about the worker
                task.outcome.append(Failed(error))
                self._idle.append(worker)
            else:
                self._busy[worker] = task

    def _hear(self) -> None:
        """Wait for answers, and note them."""
        answering = self._source.wait(list(self._busy), _PATIENCE)
        if not answering:
            starting = sum(task is None for task in self._busy.values())
            waiting = f"; {starting} of {self.count} have not started yet" if starting else ""
            self._tell(f"no worker has answered for {_PATIENCE:.0f} seconds{waiting}")
        for worker in answering:
            task, answer = self._busy.pop(worker), worker.answer()
            if isinstance(answer, Died):
                self._replace(worker, task, answer)
                continue
            self._idle.append(worker)
            if task is not None:
                task.outcome.append(answer)
            elif isinstance(answer, Failed):
                raise answer.error
            else:
                self._false_starts = 0

    def _replace(self, dead: Worker, task: _Task | None, death: Died) -> None:
        """Start another worker in the place of one that died, and put what it had in hand in front of the rest."""
        dead.end()
        if task is None:
            self._false_starts += 1
            if self._false_starts >= _DEATHS:
                raise WorkersDied(f"no worker can be started: {dead.name} {death.how}; is there enough memory?")
        else:
            task.deaths += 1
            if task.deaths >= _DEATHS:
                error = WorkersDied(
                    f"{task.deaths} workers died over the same photos ({dead.name} {death.how}); what came before is"
                    " done. Try fewer workers if memory is short"
                )
                task.outcome.append(Failed(error))
            else:
                self._todo.appendleft(task)
        self._tell(f"{dead.name} {death.how}; another takes its place, and what it had in hand is done once more")
        self._busy[self._source.start()] = None


def attempt(function: Callable[..., Any], *arguments: object) -> Done | Failed:
    """Call a function in a worker; what it raises becomes an answer that can be sent."""
    try:
        return Done(function(*arguments))
    except Exception as error:
        return Failed(_sendable(error))


def _sendable(error: Exception) -> Exception:
    """Return the error if it survives being sent, else one that says the same."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):  # noqa: S301  (bytes of our own)
            return error
    except Exception:  # pickling may raise anything
        logger.debug("%r cannot be sent", error)
    return WorkFailed(f"{type(error).__name__}: {error}")
