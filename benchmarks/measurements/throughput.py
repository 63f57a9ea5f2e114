"""How much gets done in a second, in one or several checkouts side by side: enrolling, identifying, adding, searching.

    python -m benchmarks.measurements.throughput [--rounds 5] [--photos FOLDER] [CHECKOUT...]

Each round is a process of its own in each checkout (`throughput_round`); the checkouts take turns, so that a busy
moment of the machine hits all of them. The figures are medians over the rounds, with the least and the most.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from tabulate import tabulate

HERE = Path(__file__).resolve().parents[2]
ROUND = Path(__file__).with_name("throughput_round.py")
PEOPLE = 100
# In a process of its own: this one only waits.
DRAW = (
    "from pathlib import Path; from sys import argv; from benchmarks.demo.people import write_people; "
    f"write_people(Path(argv[1]), {PEOPLE}, 2, 7)"
)


@click.command(help=__doc__)
@click.argument("checkouts", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder for each person, instead of 200 drawn photos.",
)
@click.option("--templates", type=click.IntRange(min=1000), default=50_000, show_default=True, help="Random ones.")
def main(checkouts: tuple[Path, ...], rounds: int, photos: Path | None, templates: int) -> None:
    """Measure, and print a table."""
    places = [path.resolve() for path in checkouts] or [HERE]
    found: dict[tuple[str, Path], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        people = photos.resolve() if photos else Path(folder) / "people"
        if not photos:
            _run(HERE, ["-c", DRAW, str(people)])
        for number in range(rounds):
            for place in places:
                work = Path(folder) / f"{number}-{places.index(place)}"
                said = json.loads(_run(place, ["-P", str(ROUND), str(people), str(work), str(templates)]))
                for name, rate in said.items():
                    found.setdefault((name, place), []).append(rate)
    names = list(dict.fromkeys(name for name, _ in found))
    rows = [
        (name, place.name, statistics.median(rates), min(rates), max(rates))
        for name in names
        for place in places
        for rates in [found[name, place]]
    ]
    print(tabulate(rows, headers=("in a second", "checkout", "median", "least", "most"), floatfmt=",.1f"))


def _run(place: Path, arguments: list[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(place)}
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise click.ClickException(f"{arguments} in {place}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
