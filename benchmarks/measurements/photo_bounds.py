"""What the worst photo costs in seconds and MiB, and a folder of fifty photos of 200 megapixels.

python -m benchmarks.measurements.photo_bounds zoo|fuzzed|fifty [--work DIR]

`zoo` decodes each photo of the tests' zoo in a fork of its own, `fuzzed` 10,000 damaged ones in forks of a hundred;
memory is the fork's peak above its beginning, and that of a process that it started. `fifty` enrols a folder.
"""

import argparse
import io
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from benchmarks.demo.people import write_people
from faceid.vision.images import ImageError, decode
from tests.faceid.vision.zoo import zoo
from tests.fuzz.mutations import mutated
from tests.fuzz.targets import usual_photos

MIB = 2**20
FUZZED, AT_ONCE = 10_000, 100
BIG_SIDE, BIG_PHOTOS = 14_142, 50  # 200 megapixels, which is the most that is taken


@dataclass(frozen=True)
class Cost:
    """What decoding took: seconds by the clock and of CPU, MiB above the beginning, MiB of a child process."""

    name: str
    seconds: float
    cpu: float
    own: float
    child: float


def main() -> None:
    """Measure one of the three and print the worst."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["zoo", "fuzzed", "fifty"])
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "fifty":
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            _enrol_fifty(Path(folder))
        return
    costs = [*_zoo_costs()] if arguments.what == "zoo" else [*_fuzzed_costs()]
    print(f"{len(costs)} photos")
    measures: dict[str, Callable[[Cost], float]] = {
        "seconds": lambda cost: cost.seconds,
        "seconds of CPU": lambda cost: cost.cpu,
        "MiB": lambda cost: cost.own,
        "MiB in a child": lambda cost: cost.child,
    }
    for measure, of in measures.items():
        worst = max(costs, key=of)
        print(f"worst {measure}: {of(worst):.2f} ({worst.name})")


def _zoo_costs() -> Iterator[Cost]:
    for animal in zoo():
        yield from _in_a_fork([(animal.name, animal.data)])


def _fuzzed_costs() -> Iterator[Cost]:
    seeds = usual_photos()
    for start in range(0, FUZZED, AT_ONCE):
        numbers = range(start, start + AT_ONCE)
        yield from _in_a_fork([(f"number {one}", mutated(seeds[one % len(seeds)], one)) for one in numbers])


def _in_a_fork(photos: Sequence[tuple[str, bytes]]) -> list[Cost]:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    fork = multiprocessing.get_context("fork").Process(target=_decode_all, args=(photos, sender))
    fork.start()
    costs: list[Cost] = receiver.recv()
    fork.join()
    return costs


def _decode_all(photos: Sequence[tuple[str, bytes]], sender: Connection) -> None:
    before = _peak(resource.RUSAGE_SELF)
    costs = []
    for name, data in photos:
        start, cpu = time.perf_counter(), _cpu()
        with suppress(ImageError):
            decode(data, name)
        own, child = _peak(resource.RUSAGE_SELF) - before, _peak(resource.RUSAGE_CHILDREN)
        costs.append(Cost(name, time.perf_counter() - start, _cpu() - cpu, own, child))
    sender.send(costs)


def _peak(who: int) -> float:
    return resource.getrusage(who).ru_maxrss * 1024 / MIB


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _enrol_fifty(folder: Path) -> None:
    write_people(folder / "drawn", 1, 1, seed=5)
    with Image.open(next((folder / "drawn").rglob("*.jpg"))) as small:
        buffer = io.BytesIO()
        small.resize((BIG_SIDE, BIG_SIDE)).save(buffer, "JPEG", quality=60)
    jpeg = buffer.getvalue()
    (folder / "people" / "Ann").mkdir(parents=True)
    for number in range(BIG_PHOTOS):
        comment = f"{number:06}".encode()
        numbered = jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + jpeg[2:]
        (folder / "people" / "Ann" / f"{number}.jpg").write_bytes(numbered)
    command = [sys.executable, "-m", "faceid", "enroll", str(folder / "people"), "--gallery", str(folder / "g")]
    start, cpu = time.perf_counter(), _cpu()
    done = subprocess.run([*command, "--faces", "largest", "--json"], capture_output=True, text=True, check=False)
    enrolled = done.stdout.count('"status": "enrolled"')
    print(f"{BIG_PHOTOS} photos of {BIG_SIDE} x {BIG_SIDE}, {len(jpeg) / MIB:.0f} MiB each: {enrolled} enrolled")
    print(f"{time.perf_counter() - start:.0f} s, {_cpu() - cpu:.0f} s of CPU")
    print(f"peak memory of the largest process {_peak(resource.RUSAGE_CHILDREN):.0f} MiB")
    print(done.stderr.strip())


if __name__ == "__main__":
    main()
