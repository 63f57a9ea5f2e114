"""Many clients ask a server who is on their photos: requests a second, waiting times, memory, and what a request costs.

    python -m benchmarks.measurements.service_load --photos LFW_FOLDER --clients 50 --seconds 600 [--batch 16]

The gallery holds people with photos and random unit vectors up to `--templates`. The processor time of a request is
that of the server's process. The engine's own is that of single calls (`FaceEngine.identify` of the same bytes against
the same gallery), by a process that makes one a second while the load runs, and for comparison before and after it:
only ratios count on a machine that does other work, and only of what ran at the same time. Each answer is compared with
the engine's: all of it, or with `--batch`, where similarities move in the fourth decimal, decision and person.
"""

import asyncio
import itertools
import json
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import httpx
import numpy as np
from tabulate import tabulate

from benchmarks.demo.people import write_people
from benchmarks.measurements.running_server import RunningServer
from faceid.engine import FaceEngine
from faceid.thresholds import identification_threshold
from faceid.vision.photo_list import PersonPhoto, photos_in
from faceid.vision.picture import Picture
from indexer.decision.decision import Threshold
from indexer.gallery import Gallery
from indexer.records import NewTemplate

ROUTE = "/v1/galleries/default/identify"
PHOTOS = 160
FPIR = 0.01
ENROLLED = 80
_asked: tuple[FaceEngine, Gallery, Threshold]


@dataclass
class Load:
    """What was seen: seconds of each request, counts of outcomes; once a second the server's memory and a single call.

    `beside` are the processor seconds of those single calls, `together` how many photos were computed at a time.
    """

    seconds: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    memory: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    together: float = 0.0
    cpu: float = 0.0
    wall: float = 0.0


@click.command(help=__doc__)
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Drawn ones without.")
@click.option("--clients", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=1), default=600.0, show_default=True)
@click.option("--templates", type=click.IntRange(min=1000), default=10_000, show_default=True)
@click.option("--batch", type=click.IntRange(1, 32), default=1, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--model", help="The shipped one without.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the numbers here, as JSON."
)
def main(
    photos: Path | None,
    clients: int,
    seconds: float,
    templates: int,
    batch: int,
    workers: int,
    model: str | None,
    output: Path | None,
) -> None:
    """Measure, print a table; exit status 1 for a wrong answer."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = _photos(photos, folder)
        engine = FaceEngine(model)
        _fill(engine, folder / "gallery", data[:ENROLLED], templates)
        expected, before = _alone(engine, folder / "gallery", data)
        settings = f"data = {json.dumps(str(folder / 'data'))}\nworkers = {workers}\nbatch = {batch}\n"
        settings += "requests_a_minute = 0\n[serve.galleries]\n"
        server = RunningServer(folder, f"{settings}default = {json.dumps(str(folder / 'gallery'))}\n")
        server.wait_until_ready()
        with ProcessPoolExecutor(1, get_context("spawn"), _begin_single_calls, (model, folder / "gallery")) as other:
            other.submit(_single_call, data[0]).result()
            load = asyncio.run(_load(server, other, data, expected, clients, seconds, exact=batch == 1))
        files = server.open_files()
        code = server.stop()
        _, after = _alone(engine, folder / "gallery", data)
    numbers = _numbers(load, clients, batch, (before + after) / 2) | {"open_files": files, "exit_code": code}
    if output:
        output.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(tabulate(list(numbers.items()), headers=("", "measured"), tablefmt="github", disable_numparse=True))
    raise SystemExit(load.outcomes["wrong"] > 0)


def _photos(photos: Path | None, folder: Path) -> list[bytes]:
    if photos is None:
        paths = write_people(folder / "people", PHOTOS, 1, seed=3)
    else:
        found = [picture.path for picture in photos_in(photos) if picture.path is not None]
        paths = found[:: max(1, len(found) // PHOTOS)]
    return [path.read_bytes() for path in paths[:PHOTOS]]


def _fill(engine: FaceEngine, path: Path, enrolled: list[bytes], templates: int) -> None:
    rng = np.random.default_rng(1)
    with Gallery.open(path, create=engine.binding) as gallery:
        people = [PersonPhoto(data, f"person {number}") for number, data in enumerate(enrolled)]
        engine.enroll(gallery, people, faces="largest", limits=None)
        missing = templates - gallery.stats().templates
        vectors = rng.standard_normal((missing, engine.binding.dimension)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        gallery.add(
            [
                NewTemplate(f"random {n}", None, vector, "", n.to_bytes(32, "big"), None, None, None, "float32")
                for n, vector in enumerate(vectors, start=1)
            ]
        )


def _alone(engine: FaceEngine, path: Path, data: list[bytes]) -> tuple[list[Any], float]:
    """Return the engine's answers to the photos one by one, and the processor seconds of a call."""
    with Gallery.open(path) as gallery:
        threshold = identification_threshold(engine.model, gallery, FPIR, detector=engine.detector_digest)
        engine.identify(gallery, data[0], threshold)
        answers = []
        began = time.process_time()
        for one in data:
            answers.append([answer.record() for answer in engine.identify(gallery, Picture(one, "x"), threshold)])
        return answers, (time.process_time() - began) / len(data)


def _begin_single_calls(model: str | None, path: Path) -> None:
    """Open what `_single_call` asks, in a process of its own."""
    global _asked
    engine = FaceEngine(model)
    gallery = Gallery.open(path)
    _asked = engine, gallery, identification_threshold(engine.model, gallery, FPIR, detector=engine.detector_digest)


def _single_call(data: bytes) -> float:
    """Ask the engine who is on one photo; the processor seconds of this process."""
    engine, gallery, threshold = _asked
    began = time.process_time()
    engine.identify(gallery, Picture(data, "x"), threshold)
    return time.process_time() - began


async def _load(
    server: RunningServer,
    other: ProcessPoolExecutor,
    data: list[bytes],
    expected: list[Any],
    clients: int,
    seconds: float,
    *,
    exact: bool,
) -> Load:
    load = Load()
    turn = itertools.count()
    began, cpu = time.perf_counter(), server.cpu_seconds()
    ends = began + seconds

    async def client(http: httpx.AsyncClient) -> None:
        while time.perf_counter() < ends:
            number = next(turn) % len(data)
            asked = time.perf_counter()
            try:
                response = await http.post(ROUTE, files={"photos": ("x", data[number])}, data={"fpir": str(FPIR)})
            except httpx.TransportError as error:
                load.outcomes[f"no answer: {type(error).__name__}"] += 1
                continue
            load.seconds.append(time.perf_counter() - asked)
            if response.status_code != httpx.codes.OK:
                load.outcomes[response.json()["code"]] += 1
            else:
                same = _same(response.json()["answers"], expected[number], exact=exact)
                load.outcomes["right" if same else "wrong"] += 1

    async def watch() -> None:
        for second in itertools.count():
            if time.perf_counter() >= ends:
                return
            load.memory.append(server.memory_mib())
            call = other.submit(_single_call, data[second % len(data)])
            load.beside.append(await asyncio.wrap_future(call))
            await asyncio.sleep(1)

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=server.address, timeout=60, limits=limits) as http:
        await asyncio.gather(watch(), *(client(http) for _ in range(clients)))
        load.together = _mean_of(await http.get("/metrics"), "faceid_batch_photos")
    load.wall = time.perf_counter() - began
    load.cpu = server.cpu_seconds() - cpu
    return load


def _mean_of(told: httpx.Response, histogram: str) -> float:
    """Return the mean of one of the server's histograms."""
    numbers = dict(line.rsplit(" ", 1) for line in told.text.splitlines() if line.startswith(histogram))
    return float(numbers[f"{histogram}_sum"]) / float(numbers[f"{histogram}_count"])


def _same(answers: list[Any], expected: list[Any], *, exact: bool) -> bool:
    if exact:
        return answers == expected
    return [(one["decision"], one["identity"]) for one in answers] == [
        (one["decision"], one["identity"]) for one in expected
    ]


def _numbers(load: Load, clients: int, batch: int, alone: float) -> dict[str, Any]:
    requests = len(load.seconds)
    quarter = max(1, len(load.memory) // 4)
    p50, p99 = np.quantile(load.seconds, (0.5, 0.99))
    beside, request = float(np.mean(load.beside)), load.cpu / requests
    return {
        "clients": clients,
        "batch": batch,
        "seconds": round(load.wall, 1),
        "requests": requests,
        "requests_a_second": round(requests / load.wall, 1),
        "photos_together": round(load.together, 2),
        "p50_ms": round(1000 * float(p50), 1),
        "p99_ms": round(1000 * float(p99), 1),
        "outcomes": dict(load.outcomes),
        "server_cpu_ms": round(1000 * request, 2),
        "engine_cpu_ms": round(1000 * beside, 2),
        "ratio": round(request / beside, 3),
        "engine_alone_cpu_ms": round(1000 * alone, 2),
        "ratio_to_alone": round(request / alone, 3),
        "memory_mib_second_quarter": round(float(np.mean(load.memory[quarter : 2 * quarter] or load.memory)), 1),
        "memory_mib_last_quarter": round(float(np.mean(load.memory[-quarter:])), 1),
    }


if __name__ == "__main__":
    main()
