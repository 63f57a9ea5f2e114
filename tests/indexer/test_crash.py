"""A writer killed between any two of its writes loses nothing that was acknowledged and leaves nothing half-done."""

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_every_write_step_the_gallery_is_whole(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "tests.indexer.killed_writer", str(tmp_path)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    outcome = json.loads(run.stdout)
    assert outcome["failures"] == []
    assert outcome["steps"] > 100
