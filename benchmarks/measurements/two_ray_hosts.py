"""Embedding on one host and on two, as Ray sees them: network namespaces of this machine, a core each. Needs root.

    python -m benchmarks.measurements.two_ray_hosts PEOPLE_DIR FOLDER [--photos 400]

The first namespace has the head and the program, the second joins it over a veth pair. The photos are embedded into
feature files by one host, by both, and by both while the second is lost in the middle: all its processes are killed
and its link is cut. The files must be the same, to the byte. FOLDER takes Ray's logs and the files.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measurements.many_workers import evenly
from faceid.vision.photo_list import photos_of_people

_HOSTS = {"faceid-a": "10.77.0.1", "faceid-b": "10.77.0.2"}
_HEAD, _OTHER = _HOSTS
_PORT = 6391


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=400)
    options = parser.parse_args()
    photos = options.folder / "photos"
    for photo in evenly(list(photos_of_people(options.people)), options.photos):
        (photos / photo.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(photo.path, photos / photo.name)
    os.environ["RAY_AUTH_MODE"] = "disabled"  # nobody else is in these networks
    _connect()
    try:
        print("| hosts | seconds | photos/s | as one host |")
        print("|---|---|---|---|")
        _start_ray(options.folder, _HEAD)
        first = _embed(options.folder, photos, "one", 1)
        _start_ray(options.folder, _OTHER)
        both = _embed(options.folder, photos, "both", 2)
        lost = _embed(options.folder, photos, "lost", 2, lose=True)
        expected = (options.folder / "one.npz").read_bytes()
        for name, seconds in (("one", first), ("both", both), ("lost", lost)):
            same = "yes" if (options.folder / f"{name}.npz").read_bytes() == expected else "NO"
            rate = options.photos / seconds
            print(f"| {name} | {seconds:.1f} | {rate:.1f} ({first / seconds:.2f}) | {same} |")
    finally:
        for host in _HOSTS:
            _kill(host)
            subprocess.run(["ip", "netns", "del", host], check=False)


def _connect() -> None:
    """Make two namespaces with a link between them."""
    for host in _HOSTS:
        _run("ip", "netns", "add", host)
    _run("ip", "link", "add", "veth-a", "netns", _HEAD, "type", "veth", "peer", "name", "veth-b", "netns", _OTHER)
    for host, device in zip(_HOSTS, ("veth-a", "veth-b"), strict=True):
        _in(host, "ip", "addr", "add", f"{_HOSTS[host]}/24", "dev", device)
        _in(host, "ip", "link", "set", device, "up")
        _in(host, "ip", "link", "set", "lo", "up")


def _start_ray(folder: Path, host: str) -> None:
    """Start Ray on a host with one processor."""
    core = str(list(_HOSTS).index(host) % (os.cpu_count() or 1))
    head = ("--head", f"--port={_PORT}", "--include-dashboard=false", f"--temp-dir={folder.absolute() / 'ray'}")
    join = (f"--address={_HOSTS[_HEAD]}:{_PORT}",)
    ray = (str(Path(sys.executable).parent / "ray"), "start", *(head if host == _HEAD else join))
    settings = ("--num-cpus=1", f"--node-ip-address={_HOSTS[host]}", "--object-store-memory=100000000")
    _in(host, "taskset", "-c", core, *ray, *settings, "--disable-usage-stats")
    time.sleep(5)


def _embed(folder: Path, photos: Path, name: str, workers: int, *, lose: bool = False) -> float:
    """Embed the photos from the first host; the seconds that it took from the first worker's start on."""
    program = (sys.executable, "-m", "faceid", "benchmark", "features", str(photos), "--labels")
    asked = ("-o", str(folder / f"{name}.npz"), "--ray", f"{_HOSTS[_HEAD]}:{_PORT}", "--workers", str(workers))
    log = (folder / f"{name}.log").open("w+")
    begun = time.perf_counter()
    running = subprocess.Popen(["ip", "netns", "exec", _HEAD, *program, *asked], stdout=log, stderr=log)
    record = folder / f"{name}.npz.progress-wal"
    while lose and running.poll() is None:
        time.sleep(0.5)
        if record.exists() and record.stat().st_size > 200_000:  # the first chunk is stored
            _kill(_OTHER)
            lose = False
    if running.wait() not in (0, 3):
        raise SystemExit((folder / f"{name}.log").read_text())
    seconds = time.perf_counter() - begun
    for line in (folder / f"{name}.log").read_text().splitlines():
        if re.search(r"is lost|has answered|processors", line):
            print(f"({name}: {line})", file=sys.stderr)
    return seconds


def _kill(host: str) -> None:
    """Kill every process in a namespace."""
    found = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True, check=False)
    for process in found.stdout.split():
        try:
            os.kill(int(process), signal.SIGKILL)
        except ProcessLookupError:
            continue


def _in(host: str, *command: str) -> None:
    _run("ip", "netns", "exec", host, *command)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
