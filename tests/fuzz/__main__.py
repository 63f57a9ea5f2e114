"""Fuzz one reader for as long as you like: python -m tests.fuzz TARGET [--seconds 3600] [--corpus DIR] [--plain].

With atheris (pip install atheris) the inputs follow what the code covers; `--plain`, or without it, they are damaged
copies of the seeds. Ends with 0 if nothing unexpected came; else the input is left in the corpus folder and told.
"""

import argparse
import importlib.util
import resource
import sys
import tempfile
import time
from pathlib import Path

SLOWEST = 45  # seconds that one input may take: the photos' own limit, and the start of a process


def main() -> None:
    """Parse the arguments and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--runs", type=int, default=0, help="stop after so many inputs (plain)")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--plain", action="store_true")
    arguments = parser.parse_args()
    corpus = arguments.corpus or Path(tempfile.mkdtemp(prefix=f"fuzz-{arguments.target}-"))
    corpus.mkdir(parents=True, exist_ok=True)
    if arguments.plain or importlib.util.find_spec("atheris") is None:
        _fuzz_plainly(arguments.target, corpus, arguments.seconds, arguments.runs)
    else:
        _fuzz_guided(arguments.target, corpus, arguments.seconds)


def _fuzz_guided(name: str, corpus: Path, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["faceid", "indexer", "training", "benchmarks", "PIL", "tarfile", "yaml"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        target.run(data)

    limits = [f"-max_total_time={seconds}", f"-timeout={SLOWEST}", "-rss_limit_mb=3000", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={corpus}/fault-", str(corpus)], one)
    atheris.Fuzz()


def _fuzz_plainly(name: str, corpus: Path, seconds: int, runs: int) -> None:
    from tests.fuzz.mutations import mutated
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    seeds = target.seeds()
    end, number, taken, slowest, faults = time.monotonic() + seconds, 0, 0, 0.0, 0
    while time.monotonic() < end and not (runs and number >= runs):
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
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
