"""Measured runs on what a gallery survives.

    python -m benchmarks.measurements.durability kills|full-disk|damage|encryption [--times N]

`kills` kills every writing command at each of its writes and at random moments; `full-disk` does every writing command
on a file system that has room for ever more bytes until it succeeds; `damage` flips every bit that is used of every
file, replaces bytes and tears ends off; `encryption` stops `encrypt` and `rotate` in these ways. With FACEID_KEY set
the galleries of the other three are encrypted. Each prints a table and leaves with exit code 1 if anything was lost.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate


def main() -> None:
    """Run one of them and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", choices=["kills", "full-disk", "damage", "encryption"])
    parser.add_argument("--times", type=int, default=1000, help="kills, or replaced bytes, altogether")
    parser.add_argument("--every", type=int, default=1, help="kill at each so many writes, flip each so many bits only")
    parser.add_argument("--first", type=int, default=0, help="the bit to begin with: --every N in N parts")
    parser.add_argument("--only", action="append", default=[], help="only this command (again for more)")
    parser.add_argument("--work", type=Path, help="folder to work in; it is made and removed")
    options = parser.parse_args()
    if options.work is not None:
        options.work.mkdir(parents=True)
    folder = options.work or Path(tempfile.mkdtemp(prefix="durability-"))
    started = time.perf_counter()
    try:
        failures = _RUNS[options.run](folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for failure in failures[:50]:
        print(failure)
    print(f"{len(failures)} failures, {time.perf_counter() - started:.0f} s")
    sys.exit(1 if failures else 0)


def _kills(folder: Path, options: argparse.Namespace) -> list[str]:
    from benchmarks.measurements.durability.kills import kill_all

    results = []
    for one in kill_all(folder, options.times, frozenset(options.only), options.every):
        results.append(one)
        print(f"{one.command}: {one.at_writes + one.at_random} kills, {len(one.failures)} failures", flush=True)
    counts = [(one.at_writes, one.at_random, one.acknowledged, len(one.failures)) for one in results]
    rows = [(one.command, *its) for one, its in zip(results, counts, strict=True)]
    sums = [sum(column) for column in zip(*counts, strict=True)]
    headers = ["command", "at each write", "at random", "after acknowledgement", "failures"]
    print(tabulate([*rows, ("altogether", *sums)], headers=headers))
    return [failure for one in results for failure in one.failures]


def _full_disk(folder: Path, options: argparse.Namespace) -> list[str]:
    from benchmarks.measurements.durability.full_disk import fill_all

    results = fill_all(folder, frozenset(options.only))
    rows = [(one.command, one.sizes, one.refused, one.succeeded, len(one.failures)) for one in results]
    print(tabulate(rows, headers=["command", "sizes tried", "refused", "succeeded", "failures"]))
    return [failure for one in results for failure in one.failures]


def _damage(folder: Path, options: argparse.Namespace) -> list[str]:
    from benchmarks.measurements.durability.damage import damage_all

    results = damage_all(folder, options.times, options.every, options.first, options.first)
    rows = [
        (one.file, one.kind, one.tried, one.refused, one.mended, one.harmless, len(one.failures)) for one in results
    ]
    headers = ["file", "damage", "tried", "refused (5)", "found and rebuilt", "nothing changed", "failures"]
    print(tabulate(rows, headers=headers))
    return [failure for one in results for failure in one.failures]


def _encryption(folder: Path, options: argparse.Namespace) -> list[str]:
    from benchmarks.measurements.durability.encryption import encrypt_and_rotate

    results = encrypt_and_rotate(folder)
    rows = [(one.command, one.how, one.times, len(one.failures)) for one in results]
    print(tabulate(rows, headers=["command", "stopped", "times", "failures"]))
    return [failure for one in results for failure in one.failures]


_RUNS = {"kills": _kills, "full-disk": _full_disk, "damage": _damage, "encryption": _encryption}

if __name__ == "__main__":
    main()
