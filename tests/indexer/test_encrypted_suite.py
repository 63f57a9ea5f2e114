"""The gallery's own tests, with every gallery encrypted: those marked `plain` make plain ones on purpose."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.plain
def test_everything_a_gallery_does_it_does_encrypted():
    parts = ["store", "cache", "test_gallery.py", "test_erase.py", "test_damage.py", "test_guest.py"]
    environment = {**os.environ, "FACEID_KEY": "env:KEY_OF_TESTS", "KEY_OF_TESTS": "5a" * 32}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider"]
    files = [str(HERE / part) for part in parts]
    run = subprocess.run([*command, *files], env=environment, cwd=HERE.parents[1], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
