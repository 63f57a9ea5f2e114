"""Embedding photos alone, by two processes and by Ray, in turn; one worker is killed in the middle of a run of its own.

    python -m benchmarks.measurements.many_workers PEOPLE_DIR [--photos 1000] [--workers 2] [--rounds 1] [--no-ray]

Each way embeds the same photos (evenly chosen from the folder) with the model that ships; the rows must be those of
the engine alone, to the bit. `begun` is the time to the first result: workers start, import and load their networks
in it. Photos per second are of the rest, and of the whole. CPU seconds are those of this process and its workers;
Ray's processes are not its children, and theirs are not known.
"""

import argparse
import hashlib
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from faceid.engine import FaceEngine
from faceid.vision.photo_list import PersonPhoto, photos_of_people
from faceid.workers.crew import Crew
from faceid.workers.processes import process_crew
from faceid.workers.ray_actors import ray_crew

_BATCH = 32  # photos in the engine's batches


@dataclass(frozen=True)
class Run:
    """One way's run: seconds to the first result and to the last, CPU seconds, and a digest of all rows."""

    begun: float
    ended: float
    cpu: float
    rows: int
    digest: str


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--no-ray", dest="ray", action="store_false")
    options = parser.parse_args()
    photos = evenly(list(photos_of_people(options.folder)), options.photos)
    engine = FaceEngine()
    ways = _ways(engine, options.workers, options.ray)
    print(f"{len(photos)} photos of {options.folder.name}, model {engine.model.spec.name}")
    print("| way | begun, s | photos/s of the rest | photos/s of all | CPU s | rows | as alone |")
    print("|---|---|---|---|---|---|---|")
    alone: Run | None = None
    for _ in range(options.rounds):
        for name, crew, kill in ways:
            run = embed(engine, photos, crew, kill)
            alone = alone or run
            rest = (len(photos) - _BATCH) / (run.ended - run.begun)
            total = len(photos) / run.ended
            against = (len(photos) - _BATCH) / (alone.ended - alone.begun)
            same = "yes" if run.digest == alone.digest else "NO"
            cpu = f"{run.cpu:.1f}" if "Ray" not in name else "-"
            print(
                f"| {name} | {run.begun:.1f} | {rest:.1f} ({rest / against:.2f}) | {total:.1f} | {cpu} |"
                f" {run.rows} | {same} |",
                flush=True,
            )


def evenly(photos: Sequence[PersonPhoto], count: int) -> list[PersonPhoto]:
    """Return so many of the photos, spread over all."""
    chosen = np.unique(np.linspace(0, len(photos) - 1, min(count, len(photos))).astype(int))
    return [photos[one] for one in chosen.tolist()]


def embed(
    engine: FaceEngine,
    photos: Sequence[PersonPhoto],
    start: Callable[[], AbstractContextManager[Crew | None]],
    kill: Callable[[], None] | None,
) -> Run:
    """Embed the photos one way; in the middle something may happen."""
    times: list[float] = []
    begun, cpu = time.perf_counter(), _cpu()
    with start() as crew:

        def watched() -> Iterator[PersonPhoto]:
            # The engine asks for photos ahead: what is asked for last is at most some batches before what is done.
            for number, photo in enumerate(photos):
                if number == len(photos) // 2 and kill is not None:
                    kill()
                if number == _BATCH * (1 if crew is None else 2 * crew.count + 1):
                    times.append(time.perf_counter())
                yield photo

        found = engine.embed(watched(), crew=crew)
        ended = time.perf_counter()
    first = times[0] if times else ended
    content = found.vectors.tobytes() + "\n".join((*found.labels, *found.paths)).encode()
    digest = hashlib.sha256(content).hexdigest()
    return Run(first - begun, ended - begun, _cpu() - cpu, len(found.vectors), digest)


def _ways(
    engine: FaceEngine, workers: int, ray: bool
) -> list[tuple[str, Callable[[], AbstractContextManager[Crew | None]], Callable[[], None] | None]]:
    def processes(count: int) -> AbstractContextManager[Crew | None]:
        return process_crew(engine.twin, count, print)

    def actors() -> AbstractContextManager[Crew | None]:
        return ray_crew("local", engine.twin, workers, print)

    found: list[tuple[str, Callable[[], AbstractContextManager[Crew | None]], Callable[[], None] | None]] = [
        ("alone, all cores", nullcontext, None),
        ("1 worker", partial(processes, 1), None),
        (f"{workers} workers", partial(processes, workers), None),
        (f"{workers} workers, one killed", partial(processes, workers), partial(_kill, "spawn_main")),
    ]
    if ray:
        found.append((f"Ray, {workers} workers", actors, None))
        found.append((f"Ray, {workers} workers, one killed", actors, partial(_kill, "ray::Actor")))
    return found


def _kill(mark: str) -> None:
    """Kill one process of ours whose command line has a mark."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        ours = f"\0{_OURS}=1\0".encode() in b"\0" + environment
        if mark.encode() in command and ours and int(process.name) != os.getpid():
            os.kill(int(process.name), signal.SIGKILL)
            return


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


_OURS = "FACEID_MANY_WORKERS_RUN"  # in the environment of this process and its workers, and of no other program

if __name__ == "__main__":
    os.environ[_OURS] = "1"
    main()
