"""The gallery's own tests, with every gallery encrypted, and once with a key for each person.

Those marked `plain` make plain ones on purpose.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.plain
@pytest.mark.parametrize("people_s_keys", [False, True])
def test_everything_a_gallery_does_it_does_encrypted(tmp_path, people_s_keys):
    parts = ["store", "test_gallery.py", "test_erase.py"]
    if not people_s_keys:  # which change nothing of how caches, damage and guests are dealt with
        parts += ["cache", "test_damage.py", "test_guest.py"]
    environment = {**os.environ, "FACEID_KEY": "env:KEY_OF_TESTS", "KEY_OF_TESTS": "5a" * 32}
    if people_s_keys:
        environment["FACEID_PERSON_KEYS"] = str(tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider"]
    files = [str(HERE / part) for part in parts]
    run = subprocess.run([*command, *files], env=environment, cwd=HERE.parents[1], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
