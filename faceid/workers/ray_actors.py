"""Workers that are Ray's actors, on the machines of a cluster.

Plain actors, not Ray Data: items are few and small (paths in, vectors out), their order must be kept, and a worker that
died must be told, which Ray Data does not. Photos are read by the actors, never by tasks of Ray's own: those would wait
for the processors that the actors hold. What is sent is pickled: between machines that trust each other.
"""

import os
import socket
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import count
from typing import Any, cast

from faceid.workers.crew import Crew, Died, Done, Failed, Work, Worker, attempt, logger
from faceid.workers.processes import share_of_threads
from indexer.errors import FaceIdError

Ray = Any  # the package's own types end at its remote functions


class RayUnreachable(FaceIdError):
    """Ray is not installed, or there is no cluster at the address."""


class Actor:
    """What runs on the cluster: makes its tool, then works."""

    def __init__(self) -> None:
        self._tool: Any = None

    def start(self, make: Callable[[], Any]) -> Done | Failed:
        """Make the tool."""
        share_of_threads(1)
        started = attempt(make)
        if isinstance(started, Done):
            self._tool = started.result
        return Done(None) if isinstance(started, Done) else started

    def work(self, work: Work[Any, Any], item: object) -> Done | Failed:
        """Do the work."""
        return attempt(work, self._tool, item)


class RayWorker:
    """An actor, and the answer that is expected of it."""

    def __init__(self, ray: Ray, number: int, make: Callable[[], Any], gpus: int) -> None:
        self._ray = ray
        self._actor = ray.remote(Actor).options(num_cpus=1, num_gpus=gpus, max_restarts=0).remote()
        self.expected = self._actor.start.remote(make)
        self.name = f"Ray's worker {number}"

    def give(self, work: Work[Any, Any], item: object) -> None:
        """Send an item."""
        self.expected = self._actor.work.remote(work, item)

    def answer(self) -> Done | Failed | Died:
        """Fetch what it answered."""
        try:
            return cast(Done | Failed, self._ray.get(self.expected))
        except self._ray.exceptions.RayError as error:
            return Died(f"is lost ({str(error).splitlines()[0].strip()})")

    def end(self) -> None:
        """Kill the actor."""
        self._ray.kill(self._actor)


class RaySource:
    """Starts actors on a cluster, one processor each."""

    def __init__(self, address: str, make: Callable[[], Any], gpus: int) -> None:
        self._ray = _connected(address)
        self._make, self._gpus = make, gpus
        self._numbers = count(1)

    @property
    def processors(self) -> int:
        """How many the cluster has."""
        return int(self._ray.cluster_resources().get("CPU", 0))

    def start(self) -> RayWorker:
        """Start one; it waits for a free processor somewhere."""
        return RayWorker(self._ray, next(self._numbers), self._make, self._gpus)

    def wait(self, workers: Sequence[Worker], seconds: float) -> list[Worker]:
        """Return those whose answer is there, or will never be."""
        expected = {cast(RayWorker, worker).expected: worker for worker in workers}
        ready, _ = self._ray.wait(list(expected), timeout=seconds)
        return [expected[one] for one in ready]

    def close(self) -> None:
        """Leave the cluster; one that was started for this ends."""
        self._ray.shutdown()


def ray_crew(
    address: str,
    make: Callable[[], Any],
    workers: int | None = None,
    tell: Callable[[str], None] = logger.warning,
    *,
    gpu_each: bool = False,
) -> Crew:
    """Return a crew of Ray's actors (None: as many as the cluster has processors), each with one thread.

    `address` is a cluster's (`HOST:6379`, `auto`), or `local` for one that is started here and ends
    with the crew. The machines must have this package and the model. Raises RayUnreachable.
    """
    source = RaySource(address, make, int(gpu_each))
    wanted = source.processors if workers is None else workers
    if wanted > source.processors:
        tell(f"the cluster has {source.processors} processors; {wanted} workers will not all start before it has more")
    return Crew(source, max(1, wanted), tell)


def _knock(address: str) -> None:
    """Raise OSError where nobody is at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), 5).close()


def _connected(address: str) -> Ray:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    try:
        ray: Ray = import_module("ray")
    except ImportError as error:
        raise RayUnreachable(
            f"Ray cannot be imported ({error}); install it with `pip install 'faceid-engine[ray]'`"
        ) from error
    own = {"include_dashboard": False} if address == "local" else {}
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    except Exception as error:  # it raises many kinds, of many packages
        token = "; if it asks for a token, set RAY_AUTH_MODE=token, with the token in ~/.ray/auth_token"
        raise RayUnreachable(f"no Ray cluster at {address}: {str(error).splitlines()[0]}{token}") from error
    return ray
