"""A writer killed anywhere loses nothing that was acknowledged and leaves nothing half-done.

Each command is killed at a sample of its writes; `python -m benchmarks.measurements.durability kills` does it at
every one.
"""

import os
import subprocess
import sys

import pytest

from benchmarks.measurements.durability.full_disk import can_mount, fill_all


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_its_writes_every_command_is_done_or_not_done(tmp_path):
    command = [sys.executable, "-m", "benchmarks.measurements.durability", "kills", "--times", "0", "--every", "19"]
    run = subprocess.run([*command, "--work", str(tmp_path / "w")], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "switch model" in run.stdout
    assert int(next(line for line in run.stdout.splitlines() if line.startswith("altogether")).split()[1]) > 40


@pytest.mark.slow
def test_on_a_full_disk_a_command_fails_in_clear_words_and_loses_nothing(tmp_path):
    if not can_mount(tmp_path / "disk"):
        pytest.skip("needs the right to mount a small tmpfs")
    (create, add) = fill_all(tmp_path, frozenset({"create", "add"}), step=128 << 10)
    assert (create.failures, add.failures) == ((), ())
    assert create.refused
    assert add.refused
