"""An engine inside a program of its own mind: 40 threads beside a writer, then 16 long searches, and what is left.

    python -m benchmarks.measurements.guest --minutes 5

The program sets warnings, logging, torch's threads, Pillow's limits and more (`host_globals`) to values of its own
before anything of ours is imported. Each answer is compared with that of a single thread. At the end everything that a
process has one of must be as it was.
"""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tabulate import tabulate

from benchmarks.measurements.host_globals import changes, import_libraries, settle_in, watch

if TYPE_CHECKING:
    from benchmarks.measurements.guest_load import LoadTally

Rows = list[tuple[str, str]]


@click.command(help=__doc__)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=5.0, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=40, show_default=True)
@click.option("--searches", type=click.IntRange(min=1), default=16, show_default=True, help="Long ones at once.")
@click.option("--templates", type=click.IntRange(min=10), default=100_000, show_default=True)
def main(minutes: float, threads: int, searches: int, templates: int) -> None:
    """Measure, print a table; exit status 1 for a wrong answer, an error or a changed global."""
    import_libraries()
    settle_in()
    read = watch()
    before = read()
    with tempfile.TemporaryDirectory() as folder:
        rows, failed = _measure(Path(folder), minutes * 60, threads, searches, templates)
    changed = changes(before, read())
    rows.append(("globals changed", f"{len(changed)} of {len(before)}"))
    print(
        tabulate(rows, headers=("", "measured"), tablefmt="github", disable_numparse=True, colalign=("left", "right"))
    )
    for name, what in changed.items():
        print(f"{name}: {what}")
    sys.exit(bool(changed) or failed)


def _measure(folder: Path, seconds: float, threads: int, searches: int, templates: int) -> tuple[Rows, bool]:
    # After the watch began: importing ours is part of what is watched.
    from benchmarks.measurements import guest_load
    from faceid import FaceEngine, Gallery

    engine = FaceEngine()
    with Gallery.open(folder / "people", create=engine.binding) as gallery:
        load = guest_load.engine_load(engine, gallery, folder / "photos")
        warm = guest_load.put_under(load, threads, seconds=min(10.0, seconds / 4))
        start = resident()
        many = guest_load.put_under(load, threads, seconds=seconds)
        end = resident()
    with Gallery.open(folder / "vectors", create=guest_load.model_of_vectors()) as gallery:
        long = guest_load.put_under(guest_load.search_load(gallery, templates, searches), searches)
    rows = _rows(f"{threads} threads", many)
    rows += [("memory at start, MiB (after a warm-up)", f"{start:.0f}"), ("memory at end, MiB", f"{end:.0f}")]
    rows += _rows(f"{searches} long searches of {templates:,}", long)
    tallies = (warm, many, long)
    for wrong in [one for tally in tallies for one in tally.wrong][:5]:
        print(wrong)
    return rows, any(tally.wrong or tally.errors for tally in tallies)


def _rows(who: str, tally: "LoadTally") -> Rows:
    errors = ", ".join(f"{count} {name}" for name, count in sorted(tally.errors.items()))
    return [
        (f"{who}: seconds", f"{tally.seconds:.1f}"),
        (f"{who}: answers", f"{tally.answers:,}"),
        (f"{who}: wrong answers", f"{len(tally.wrong):,}"),
        (f"{who}: errors", errors or "0"),
        (f"{who}: writes beside them", f"{tally.writes:,}"),
        *((f"{who}: longest {what}, seconds", f"{seconds:.2f}") for what, seconds in tally.longest.items()),
    ]


def resident() -> float:
    """Return what this process holds in memory now, in MiB (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = [one for one in status.splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
