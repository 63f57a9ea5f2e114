"""Fuzz one reader for as long as you like: python -m tests.fuzz TARGET [--seconds 3600] [--ledger FILE] [--plain].

With atheris (pip install atheris) the inputs follow what the code covers, and the run ends at the first fault;
`--plain`, or without it, they are damaged copies of the seeds. Ends with 0 if nothing unexpected came; else the input
is left in the corpus folder and told. `--ledger docs/results/fuzz.csv` adds the run to the hours so far, and
`python -m tests.fuzz sums --ledger FILE` prints them.
"""

import argparse
import importlib.util
import multiprocessing
import resource
import sys
import tempfile
import time
from ctypes import c_double, c_uint64
from pathlib import Path
from typing import Any

from tests.fuzz.ledger import Run, add_run, sums

SLOWEST = 45  # seconds that one input may take: the photos' own limit, and the start of a process


def main() -> None:
    """Parse the arguments and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--runs", type=int, default=0, help="stop after so many inputs (plain)")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--ledger", type=Path)
    arguments = parser.parse_args()
    if arguments.target == "sums":
        sys.stdout.write(f"{sums(arguments.ledger)}\n")
        return
    corpus = arguments.corpus or Path(tempfile.mkdtemp(prefix=f"fuzz-{arguments.target}-"))
    corpus.mkdir(parents=True, exist_ok=True)
    if arguments.plain or importlib.util.find_spec("atheris") is None:
        run = _fuzz_plainly(arguments.target, corpus, arguments.seconds, arguments.runs)
    else:
        run = _fuzz_guided(arguments.target, corpus, arguments.seconds)
    if arguments.ledger is not None:
        add_run(arguments.ledger, run)
    sys.exit(1 if run.unexpected else 0)


def _fuzz_guided(name: str, corpus: Path, seconds: int) -> Run:
    """Fuzz in a process of its own, since libFuzzer ends the one that it runs in."""
    inputs, began = multiprocessing.RawValue(c_uint64), multiprocessing.RawValue(c_double)
    fuzzer = multiprocessing.get_context("fork").Process(target=_guided, args=(name, corpus, seconds, inputs, began))
    fuzzer.start()
    fuzzer.join()
    return Run(name, time.monotonic() - (began.value or time.monotonic()), inputs.value, int(fuzzer.exitcode != 0))


def _guided(name: str, corpus: Path, seconds: int, inputs: Any, began: Any) -> None:
    import atheris

    with atheris.instrument_imports(include=["faceid", "indexer", "training", "benchmarks", "PIL", "tarfile", "yaml"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        inputs.value += 1
        target.run(data)

    limits = [f"-max_total_time={seconds}", f"-timeout={SLOWEST}", "-rss_limit_mb=3000", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={corpus}/fault-", str(corpus)], one)
    began.value = time.monotonic()  # instrumenting took half a minute
    atheris.Fuzz()


def _fuzz_plainly(name: str, corpus: Path, seconds: int, runs: int) -> Run:
    from tests.fuzz.mutations import mutated
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    seeds = target.seeds()
    began, number, taken, slowest, faults = time.monotonic(), 0, 0, 0.0, 0
    while time.monotonic() < began + seconds and not (runs and number >= runs):
        data = mutated(seeds[number % len(seeds)], number)
        start = time.monotonic()
        try:
            taken += target.run(data)
        except Exception as error:
            faults += 1
            (corpus / f"fault-{number}").write_bytes(data)
            sys.stdout.write(f"number {number}: {error!r} ({corpus}/fault-{number})\n")
        slowest = max(slowest, time.monotonic() - start)
        number += 1
    own, child = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    sys.stdout.write(
        f"{name}: {number:,} inputs, {taken:,} taken, {faults} unexpected; slowest {slowest:.2f} s; "
        f"peak {own:.0f} MiB, of a child {child:.0f} MiB\n"
    )
    return Run(name, time.monotonic() - began, number, faults)


if __name__ == "__main__":
    main()
