"""Workers that are processes of this machine, each with its share of the threads."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from itertools import count
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, cast

from faceid.inference.cpu_features import available_cores
from faceid.inference.onnx_session import compute_here_with
from faceid.workers.crew import Crew, Died, Done, Failed, Work, Worker, attempt, logger


class ProcessWorker:
    """A process and the pipe to it. What goes through is pickled, by us and for us."""

    def __init__(self, number: int, make: Callable[[], Any], threads: int) -> None:
        # Not a fork: that would inherit threads of ours that are not there.
        spawn = multiprocessing.get_context("spawn")
        self._pipe, its_end = spawn.Pipe()
        self._process = spawn.Process(target=_work, args=(its_end, make, threads), daemon=True)
        self._process.start()
        its_end.close()  # so that the pipe ends when the process does
        self.name = f"worker {number} (process {self._process.pid})"

    def give(self, work: Work[Any, Any], item: object) -> None:
        """Send an item; raises what pickling it does."""
        message = ForkingPickler.dumps((work, item))
        try:
            self._pipe.send_bytes(message)
        except OSError:  # it is dead, and its answer will be that
            return

    def answer(self) -> Done | Failed | Died:
        """Receive what it sent."""
        try:
            return cast(Done | Failed, self._pipe.recv())
        except (EOFError, OSError):
            self._process.join(10)
            return Died(_how(self._process.exitcode))

    def end(self) -> None:
        """Kill the process: it holds nothing that must be finished."""
        self._process.kill()
        self._process.join(10)
        self._pipe.close()

    @property
    def pipe(self) -> Connection:
        """What is readable when there is an answer, or the process is gone."""
        return self._pipe


class ProcessSource:
    """Starts processes that make a tool each, and may use so many threads."""

    def __init__(self, make: Callable[[], Any], threads: int) -> None:
        self._make, self._threads = make, threads
        self._numbers = count(1)

    def start(self) -> ProcessWorker:
        """Start one."""
        return ProcessWorker(next(self._numbers), self._make, self._threads)

    def wait(self, workers: Sequence[Worker], seconds: float) -> list[Worker]:
        """Return those that have sent something, or died."""
        pipes = {cast(ProcessWorker, worker).pipe: worker for worker in workers}
        return [pipes[cast(Connection, pipe)] for pipe in wait(list(pipes), seconds)]

    def close(self) -> None:
        """Nothing is held."""


def process_crew(make: Callable[[], Any], workers: int, tell: Callable[[str], None] = logger.warning) -> Crew:
    """Return a crew of processes whose tools are what `make`, a function that can be pickled, gives in each."""
    return Crew(ProcessSource(make, max(1, available_cores() // workers)), workers, tell)


def share_of_threads(threads: int) -> None:
    """Let this process, from this thread, compute with so many threads."""
    compute_here_with(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # torch asks when it is imported, which is later
    import cv2

    cv2.setNumThreads(threads)


def _work(pipe: Connection, make: Callable[[], Any], threads: int) -> None:
    """Be a worker, until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    share_of_threads(threads)
    started = attempt(make)
    pipe.send(started if isinstance(started, Failed) else Done(None))
    while isinstance(started, Done):
        try:
            work, item = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(attempt(work, started.result, item))


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, also in the middle of an item."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"
