"""Counts lines of product code (no tests, no measuring scripts): `python docs/lines.py [REVISION]`."""

import subprocess
import sys

ROOMS = ("faceid", "indexer", "training", "benchmarks")
APART = "benchmarks/measurements/"


def main() -> None:
    """Write the lines of each room to standard output, blank ones and comments included."""
    revision = sys.argv[1] if len(sys.argv) > 1 else "HEAD"
    listed = subprocess.run(["git", "ls-tree", "-r", "--name-only", revision, *ROOMS], capture_output=True, check=True)
    lines = dict.fromkeys(ROOMS, 0)
    for file in listed.stdout.decode().splitlines():
        if file.endswith(".py") and not file.startswith(APART):
            content = subprocess.run(["git", "show", f"{revision}:{file}"], capture_output=True, check=True).stdout
            lines[file.partition("/")[0]] += content.count(b"\n")
    for room, count in {**lines, "altogether": sum(lines.values())}.items():
        sys.stdout.write(f"{room:12}{count:8,}\n")


if __name__ == "__main__":
    main()
