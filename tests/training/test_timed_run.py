"""A run for a given time: as many epochs as fit, and after a stop the same ones again."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.training.tiny_run import config
from training import timed_run
from training.checkpoint import read_checkpoint
from training.research.speed import TrainingSpeed
from training.timed_run import RESERVE, epochs_within, run_within
from training.trainer import CHECKPOINT


@pytest.mark.parametrize(("seconds", "epochs"), [(-5, 1), (0, 1), (10, 1), (100 / (1 - RESERVE) + 0.1, 10), (1e6, 60)])
def test_as_many_epochs_as_fit_but_one_and_no_more_than_the_config_says(seconds: float, epochs: int) -> None:
    assert epochs_within(seconds, faces=1000, speed=100, most=60) == epochs


def test_a_run_that_was_stopped_keeps_the_epochs_that_it_was_given(
    packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = TrainingSpeed(images_per_second=72, flop_per_image=1e9, product_flops=1e12, peak_memory_bytes=2**30)
    monkeypatch.setattr(timed_run, "time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr(timed_run, "measure_speed", lambda config, data: speed)
    settings, said = config(packs, tmp_path, epochs=50), io.StringIO()
    run_within(settings, tmp_path / "run", 2.9 / (1 - RESERVE), said)
    assert "2 of 50 epochs fit" in said.getvalue()
    first = read_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert first.step == 18
    run_within(settings, tmp_path / "run", 3600, io.StringIO())
    assert read_checkpoint(tmp_path / "run" / CHECKPOINT).step == 18
