"""The quick tests of the gallery, run once more in another environment."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent


def pass_again(parts: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run files and folders beside this one with other variables; those of PostgreSQL's store alone are left out."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider"]
    files = ["--ignore-glob=*test_postgres*", *(str(HERE / part) for part in parts)]
    run = subprocess.run(
        [*command, *files], env={**os.environ, **environment}, cwd=HERE.parents[1], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-3000:]
