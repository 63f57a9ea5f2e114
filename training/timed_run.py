"""A run that must end in a given time, as on a machine that is borrowed by the minute: as many epochs as fit."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from training.checkpoint import read_checkpoint
from training.config import Config
from training.data.opening import open_data
from training.research.speed import measure_speed, report
from training.trainer import CHECKPOINT, run
from training.validation import Validation

RESERVE = 0.12  # of the time: validation, checkpoints, and faces on their way to the device


def run_within(config: Config, folder: Path, seconds: float, progress: TextIO = sys.stderr) -> Validation:
    """Train as `training.trainer.run` does, for as many of the config's epochs as this machine does in `seconds`.

    Opening the faces and measuring the speed, on the run's own first steps, are part of the time. At least one epoch is
    run. A run that was stopped goes on to the epochs that it was given when it began, however long that takes.

    Raises:
        ConfigError, DataError, CheckpointError, DivergenceError: as `run`.
    """
    begun = time.monotonic()
    file = folder / CHECKPOINT
    if file.exists():
        return run(replace(config, epochs=int(read_checkpoint(file).config["epochs"])), folder, progress)
    data = open_data(config.data)
    speed = measure_speed(config, data)
    left = seconds - (time.monotonic() - begun)
    epochs = epochs_within(left, faces=len(data.training.labels), speed=speed.images_per_second, most=config.epochs)
    for line in (*report(speed), f"{epochs} of {config.epochs} epochs fit into the {left:.0f} s that are left"):
        print(line, file=progress, flush=True)
    return run(replace(config, epochs=epochs), folder, progress, data)


def epochs_within(seconds: float, *, faces: int, speed: float, most: int) -> int:
    """How many passes over the faces fit into the time at `speed` images/s, of 1 to `most`."""
    return max(1, min(most, int((1 - RESERVE) * seconds * speed / faces)))
