"""The gallery's own tests, with every gallery in PostgreSQL: those marked `folder` are about files on purpose.

The tests of caches, which are the same on any store, are left to a server at hand:
FACEID_TEST_POSTGRES=postgresql://USER@HOST/DATABASE pytest tests/indexer
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres_server import VARIABLE

HERE = Path(__file__).parent


@pytest.mark.slow
def test_everything_a_gallery_does_it_does_in_postgresql(postgres):
    parts = ["store", "test_gallery.py", "test_erase.py", "test_damage.py", "test_decided_on.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider"]
    files = [str(HERE / part) for part in [*parts, "test_cancelable_gallery.py"]]
    environment = {**os.environ, VARIABLE: postgres}
    run = subprocess.run([*command, *files], env=environment, cwd=HERE.parents[1], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
