"""A server is killed while it writes, again and again: what it had acknowledged is there, and its jobs tell the truth.

    python -m benchmarks.measurements.service_kills --kills 200 --folder kills

FOLDER keeps everything, so that a run that was ended goes on where it stopped.

Between two kills (SIGKILL, at a random moment) clients enrol, rename, remove and restore people, and a job enrols a zip
file. After each restart everybody must be as the last acknowledged answer said (or as a request that was on its way
asked), the audit log must be whole, and no job may be lost: each ends as done, with every photo's record.
"""

import asyncio
import io
import json
import random
import sys
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import httpx
from tabulate import tabulate

from benchmarks.demo.people import write_people
from benchmarks.measurements.running_server import RunningServer
from faceid.service import audit
from faceid.service.database import ServiceDatabase

PEOPLE = "/v1/galleries/default/people"
JOBS = "/v1/galleries/default/jobs"
WRITERS = 4


@dataclass
class Known:
    """What the clients were told: names and whether removed, by id; and what may have been done besides.

    `in_round` while clients write: what they were told of a round that was cut short is not known.
    """

    people: dict[int, tuple[str, bool]] = field(default_factory=dict)
    perhaps: dict[int, list[tuple[str, bool]]] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)
    kills: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    in_round: bool = False


@click.command(help=__doc__)
@click.option("--kills", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--longest", type=click.FloatRange(min=0.2), default=4.0, show_default=True, help="Seconds to a kill.")
def main(kills: int, folder: Path, seed: int, longest: float) -> None:
    """Kill, look, print a table; exit status 1 for anything that was lost."""
    folder.mkdir(parents=True, exist_ok=True)
    known = _noted(folder)
    drawn = folder / "people"
    photos = [path.read_bytes() for path in sorted(drawn.rglob("*.jpg")) or write_people(drawn, 60, 1, seed=seed)]
    settings = f"data = {json.dumps(str(folder / 'data'))}\nworkers = 2\nrequests_a_minute = 0\n"
    settings += f"[serve.galleries]\ndefault = {json.dumps(str(folder / 'gallery'))}\n"
    while True:
        server = RunningServer(folder, settings)
        server.wait_until_ready()
        asyncio.run(_look(server, known))
        if known.kills >= kills:
            asyncio.run(_wait_for_jobs(server, known))
            server.stop()
            _check_audit(folder, known)
            break
        _note(folder, known, in_round=True)
        asyncio.run(_write_until_killed(server, known, photos, random.Random(f"{seed}/{known.kills}"), longest))
        known.kills += 1
        _check_audit(folder, known)
        _note(folder, known, in_round=False)
        print(f"kill {known.kills}: {known.acknowledged} acknowledged, {len(known.lost)} lost", file=sys.stderr)
    rows = [
        ("kills", known.kills),
        ("writes acknowledged", known.acknowledged),
        ("people", len(known.people)),
        ("jobs", len(known.jobs)),
        ("lost or untrue", len(known.lost)),
    ]
    print(tabulate(rows, headers=("", "measured"), tablefmt="github"))
    print(*known.lost, sep="\n")
    raise SystemExit(bool(known.lost))


def _noted(folder: Path) -> Known:
    """Return what an earlier run noted, or nothing."""
    notes = folder / "known.json"
    if not notes.exists():
        return Known()
    known = Known(**json.loads(notes.read_text(encoding="utf-8")))
    known.people = {int(person): (name, removed) for person, (name, removed) in known.people.items()}
    known.perhaps = {int(person): [(name, gone) for name, gone in said] for person, said in known.perhaps.items()}
    return known


def _note(folder: Path, known: Known, *, in_round: bool) -> None:
    known.in_round = in_round
    fresh = folder / "known.json.new"
    fresh.write_text(json.dumps(asdict(known)), encoding="utf-8")
    fresh.replace(folder / "known.json")


def _check_audit(folder: Path, known: Known) -> None:
    with ServiceDatabase(folder / "data") as database:
        if audit.verify(database).broken_at is not None:
            known.lost.append(f"kill {known.kills}: the audit log is broken")


async def _look(server: RunningServer, known: Known) -> None:
    """Compare everybody with what was acknowledged; what was on its way may be done or not."""
    async with httpx.AsyncClient(base_url=server.address, timeout=60) as http:
        there = await _everybody(http)
        for person, said in known.people.items():
            found = there.get(person)
            if found not in [said, *known.perhaps.get(person, [])] and not (known.in_round and found):
                known.lost.append(f"person {person}: {said} was acknowledged, {found} is there")
            elif found is not None:
                known.people[person] = found
        known.perhaps.clear()
        jobs = {job["id"] for job in (await http.get(JOBS)).json()["jobs"]}
        known.lost += [f"job {one} is gone" for one in known.jobs if one not in jobs]


async def _everybody(http: httpx.AsyncClient) -> dict[int, tuple[str, bool]]:
    found: dict[int, tuple[str, bool]] = {}
    cursor: str | None = None
    while True:
        asked: dict[str, Any] = {"removed": True, "limit": 1000} | ({"cursor": cursor} if cursor else {})
        page = (await http.get(PEOPLE, params=asked)).json()
        found |= {one["id"]: (one["name"], one["removed"]) for one in page["people"]}
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def _write_until_killed(
    server: RunningServer, known: Known, photos: list[bytes], rng: random.Random, longest: float
) -> None:
    async with httpx.AsyncClient(base_url=server.address, timeout=60) as http:
        job = asyncio.create_task(_send_job(http, known, photos, rng))
        writers = [asyncio.create_task(_write(http, known, photos, rng)) for _ in range(WRITERS)]
        await asyncio.sleep(rng.uniform(0.1, longest))
        await asyncio.to_thread(server.kill)
        await asyncio.gather(job, *writers, return_exceptions=True)


async def _write(http: httpx.AsyncClient, known: Known, photos: list[bytes], rng: random.Random) -> None:
    """Write until the server is gone."""
    while True:
        free = sorted(set(known.people) - set(known.perhaps))
        if not free or rng.random() < 0.3:
            await _enroll(http, known, photos, rng)
            continue
        person = rng.choice(free)
        name, removed = known.people[person]
        new = (f"name {rng.random()}", removed) if rng.random() < 0.5 else (name, not removed)
        known.perhaps[person] = [new]
        if new[0] != name:
            answer = await http.patch(f"{PEOPLE}/{person}", json={"name": new[0]})
        else:
            answer = await http.post(f"{PEOPLE}/{person}/{'remove' if new[1] else 'restore'}")
        if answer.status_code == httpx.codes.OK:
            known.people[person] = new
            known.acknowledged += 1
        del known.perhaps[person]


async def _enroll(http: httpx.AsyncClient, known: Known, photos: list[bytes], rng: random.Random) -> None:
    name = f"person {rng.random()}"
    # Bytes after a JPEG's end make a photo of its own: the gallery has none twice.
    data = rng.choice(photos) + rng.randbytes(8)
    answer = await http.post(PEOPLE, data={"name": name, "faces": "largest"}, files={"photos": ("x", data)})
    if answer.status_code == httpx.codes.OK:
        known.people[answer.json()["person"]["id"]] = (name, False)
        known.acknowledged += 1


async def _send_job(http: httpx.AsyncClient, known: Known, photos: list[bytes], rng: random.Random) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, photo in enumerate(photos[:20]):
            archive.writestr(f"job {rng.random()}/{number}.jpg", photo + rng.randbytes(8))
    answer = await http.post(f"{JOBS}/enroll", files={"archive": ("x.zip", buffer.getvalue())})
    if answer.status_code == httpx.codes.OK:
        known.jobs.append(answer.json()["job"]["id"])


async def _wait_for_jobs(server: RunningServer, known: Known) -> None:
    async with httpx.AsyncClient(base_url=server.address, timeout=60) as http:
        while True:
            jobs: list[dict[str, Any]] = (await http.get(JOBS)).json()["jobs"]
            if all(job["state"] not in ("queued", "running") for job in jobs):
                break
            await asyncio.sleep(0.5)
        for job in jobs:
            records = (await http.get(f"{JOBS}/{job['id']}/records")).json()["records"]
            whole = job["state"] == "done" and job["done"] == job["total"] == len(records) == sum(
                job["counts"].values()
            )
            gave_up = job["state"] == "failed" and job["starts"] >= 3
            if not whole and not gave_up:
                known.lost.append(f"job {job['id']} says {job['state']}, {job['done']} of {job['total']}")


if __name__ == "__main__":
    main()
