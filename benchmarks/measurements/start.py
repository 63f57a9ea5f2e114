"""What it costs to begin: processor seconds and memory of short commands, of one or several checkouts side by side.

    python -m benchmarks.measurements.start [--runs 10] [--photo FILE] [CHECKOUT...]

Each command runs in a process of its own; the checkouts take turns, so that a busy moment of the machine hits all of
them. The figures are medians. One run of each command comes before and is not counted: it fills the disk cache, and
makes what a first run leaves behind (bytecode, compiled loops), which is kept in a folder of this measurement.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
from tabulate import tabulate

HERE = Path(__file__).resolve().parents[2]
PEOPLE = 20
# Drawn by a process of its own: what this process holds when it starts a child counts as the child's memory.
DRAW = (
    "from pathlib import Path; from sys import argv; from benchmarks.demo.people import write_people; "
    f"write_people(Path(argv[1]), {PEOPLE}, 2, 7)"
)


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    seconds: float  # user and system, of all its threads
    mebibytes: float  # resident, at the peak


@click.command(help=__doc__)
@click.argument("checkouts", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--runs", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--photo", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Instead of a drawn one.")
def main(checkouts: tuple[Path, ...], runs: int, photo: Path | None) -> None:
    """Measure, and print a table."""
    places = [path.resolve() for path in checkouts] or [HERE]
    with tempfile.TemporaryDirectory() as folder:
        people = Path(folder) / "people"
        _run(HERE, [sys.executable, "-c", DRAW, str(people)], Path(folder) / "bytecode")
        shown = photo.resolve() if photo else people / "person-0001" / "2.jpg"
        galleries = {place: Path(folder) / f"gallery-{number}" for number, place in enumerate(places)}
        for place, gallery in galleries.items():
            enrol = [*_faceid(), "enroll", str(people), "--gallery", str(gallery), "--faces", "largest"]
            _run(place, enrol, Path(folder) / "bytecode")
        rows = []
        for name in _commands(shown, people, Path()):
            commands = {place: _commands(shown, people, galleries[place])[name] for place in places}
            costs = _in_turns(commands, runs, Path(folder) / "bytecode")
            rows += [(name, place.name, *_medians(costs[place])) for place in places]
    print(tabulate(rows, headers=("command", "checkout", "CPU s", "least", "most", "MiB"), floatfmt=".2f"))


def _faceid() -> list[str]:
    return [sys.executable, "-m", "faceid"]


def _commands(photo: Path, people: Path, gallery: Path) -> dict[str, list[str]]:
    other = people / "person-0001" / "1.jpg"
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "faceid --help": [*_faceid(), "--help"],
        "from faceid import FaceEngine": [sys.executable, "-c", "from faceid import FaceEngine"],
        "FaceEngine()": [sys.executable, "-c", "from faceid import FaceEngine; FaceEngine()"],
        "faceid identify PHOTO": [*_faceid(), "identify", str(photo), "--gallery", str(gallery)],
        "faceid verify A B": [*_faceid(), "verify", str(other), str(photo)],
        "faceid gallery list": [*_faceid(), "gallery", "list", "--gallery", str(gallery)],
    }


def _in_turns(commands: dict[Path, list[str]], runs: int, bytecode: Path) -> dict[Path, list[Cost]]:
    costs: dict[Path, list[Cost]] = {place: [] for place in commands}
    for number in range(runs + 1):
        for place, command in commands.items():
            cost = _run(place, command, bytecode)
            costs[place] += [cost] if number else []
    return costs


def _run(place: Path, command: list[str], bytecode: Path) -> Cost:
    environment = os.environ | {"PYTHONPATH": str(place), "PYTHONPYCACHEPREFIX": str(bytecode)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody compiles the sources at every start
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=tempfile.gettempdir(), env=environment, stdout=subprocess.DEVNULL, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise click.ClickException(f"{' '.join(command)} in {place}: {said.read().decode(errors='replace')}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _medians(costs: list[Cost]) -> tuple[float, float, float, int]:
    seconds = [cost.seconds for cost in costs]
    memory = statistics.median(cost.mebibytes for cost in costs)
    return statistics.median(seconds), min(seconds), max(seconds), round(memory)


if __name__ == "__main__":
    main()
