"""What a run writes about itself."""

import io
from pathlib import Path

import pytest

from tests.training.tiny_run import config, rows
from training.checkpoint import read_checkpoint
from training.logs import CsvLog, progress_line
from training.trainer import BEST, CHECKPOINT, EVENTS, TRAINING_LOG, run


def test_rows_of_lost_work_go_and_the_rest_stays(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "a.csv", keep_until=0)
    for step in (5, 10, 15):
        log.add(step, {"loss": 1 / step})
    again = CsvLog(tmp_path / "a.csv", keep_until=10)
    again.add(12, {"loss": 0.25})
    assert [row["step"] for row in rows(tmp_path / "a.csv")] == ["5", "10", "12"]
    assert again.rows("loss") == [(0.2,), (0.1,), (0.25,)]


@pytest.mark.parametrize("torn", ["15,0.0", "15", "15\n", "15,0.1,2\n", "\0\0\0\n", "15,x\n", "\ufffd"])
def test_a_row_that_a_power_cut_has_torn_is_left_out(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"step,loss\n5,0.2\n{torn}", encoding="utf-8")
    assert CsvLog(path, keep_until=20).rows("loss") == [(0.2,)]
    assert path.read_text(encoding="utf-8").split() == ["step,loss", "5,0.2"]


def test_the_progress_line_has_the_speed_and_the_time_left() -> None:
    line = progress_line(50, steps=150, per_epoch=100, row={"loss": 2.0}, speed=40, batch_size=128)
    assert line == "step 50/150  epoch 0.50  loss 2  40 images/s  ETA 0:05:20"


def test_tensorboard_gets_the_values_of_the_csv_files(packs: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(config(packs, tmp_path, tensorboard=True, epochs=1), tmp_path / "run", io.StringIO())
    events = accumulator.EventAccumulator(str(tmp_path / "run" / EVENTS))
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("training/loss")}
    written = {int(row["step"]): float(row["loss"]) for row in rows(tmp_path / "run" / TRAINING_LOG)}
    assert losses == pytest.approx(written, rel=1e-4)
    assert [event.step for event in events.Scalars("validation/accuracy")] == [9]


def test_the_best_checkpoint_is_that_of_the_best_validation(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, validation_steps=3, epochs=2), tmp_path / "run", io.StringIO())
    figures = [(float(row["tar"]), int(row["step"])) for row in rows(tmp_path / "run" / "validation.csv")]
    best = max(tar for tar, _ in figures)
    assert len(figures) == 6
    checkpoint = read_checkpoint(tmp_path / "run" / BEST)
    assert checkpoint.step == next(step for tar, step in figures if tar == best)
    assert checkpoint.network.keys() == read_checkpoint(tmp_path / "run" / CHECKPOINT).network.keys()
    assert not checkpoint.momentum
