"""`--workers`: the same output as one process gives; Ctrl-C ends every process, and what is stored stays stored."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faceid.cli.conftest import Run
from tests.interrupts import heard

pytestmark = pytest.mark.slow
MODEL = ("--model", "mobilefacenet", "--faces", "centre")


def test_enrolling_and_embedding_with_workers_print_and_write_the_same(
    run: Run, lfw_people: Path, tmp_path: Path
) -> None:
    alone = run("enroll", lfw_people, "--gallery", tmp_path / "alone", *MODEL, "--json")
    shared_out = run("enroll", lfw_people, "--gallery", tmp_path / "crew", *MODEL, "--json", "--workers", 2)
    assert shared_out.stdout == alone.stdout
    assert shared_out.code == alone.code == 0

    for name, workers in (("alone", ()), ("crew", ("--workers", "2"))):
        run("embed", lfw_people, "--labels", "-o", tmp_path / f"{name}.npz", *MODEL, *workers)
        run("benchmark", "features", lfw_people, "-o", tmp_path / f"{name}-features.npz", *MODEL, *workers)
    for kind in ("", "-features"):
        assert (tmp_path / f"alone{kind}.npz").read_bytes() == (tmp_path / f"crew{kind}.npz").read_bytes()


def test_clips_are_not_shared_out(run: Run, tmp_path: Path) -> None:
    (tmp_path / "people").mkdir()
    outcome = run("enroll", tmp_path / "people", "--video", "--workers", 2)
    assert outcome.code == 2
    assert "not clips" in outcome.stderr


def test_ctrl_c_ends_every_worker_and_the_next_run_goes_on(
    run: Run, lfw_people: Path, models_dir: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    for copy in range(4):  # enough to be in the middle of it
        for person in lfw_people.iterdir():
            target = people / f"{person.name}-{copy}"
            shutil.copytree(person, target)
            for photo in target.iterdir():
                photo.write_bytes(photo.read_bytes() + bytes([copy]))  # another photo, of the same pixels
    command = [sys.executable, "-m", "faceid", "enroll", people, "--gallery", tmp_path / "g", *MODEL, "--json"]
    with heard():
        running = subprocess.Popen(
            [str(word) for word in (*command, "--workers", 2)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "FACEID_MODELS": str(models_dir)},
            start_new_session=True,
        )
    assert running.stdout is not None
    running.stdout.readline()  # the first batch is stored
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"the same command goes on where this one stopped" in said
    assert len(children) >= 2
    deadline = time.monotonic() + 10
    while [one for one in children if Path(f"/proc/{one}").exists()]:
        assert time.monotonic() < deadline
        time.sleep(0.1)

    records = run("enroll", people, "--gallery", tmp_path / "g", *MODEL, "--json", "--workers", 2).records
    assert len(records) == 4 * 36
    statuses = {record["status"] for record in records}
    assert statuses >= {"already_enrolled", "enrolled"}
    assert "failed" not in statuses
