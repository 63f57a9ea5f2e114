"""The hours of fuzzing so far: one line a run, in docs/results/fuzz.csv; the page shows the sums."""

import csv
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

_COLUMNS = ("target", "commit", "seconds", "inputs", "unexpected")


@dataclass(frozen=True)
class Run:
    """What one run did: seconds of fuzzing, inputs read, faults found."""

    target: str
    seconds: float
    inputs: int
    unexpected: int


def add_run(ledger: Path, run: Run) -> None:
    """Append one run at the commit that is checked out (`-dirty` where files differ from it)."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    new = not ledger.exists()
    with ledger.open("a", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        if new:
            lines.writerow(_COLUMNS)
        lines.writerow((run.target, described.stdout.strip(), round(run.seconds), run.inputs, run.unexpected))


def sums(ledger: Path) -> str:
    """Return a Markdown table of each target's runs, minutes, inputs and faults."""
    totals: dict[str, list[int]] = {}
    with ledger.open(encoding="utf-8", newline="") as file:
        for run in csv.DictReader(file):
            total = totals.setdefault(run["target"], [0, 0, 0, 0])
            for column, value in enumerate((1, int(run["seconds"]), int(run["inputs"]), int(run["unexpected"]))):
                total[column] += value
    rows = [
        (target, runs, f"{seconds / 60:.0f}", f"{inputs:,}", unexpected)
        for target, (runs, seconds, inputs, unexpected) in totals.items()
    ]
    headers = ["target", "runs", "minutes", "inputs", "unexpected"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)
