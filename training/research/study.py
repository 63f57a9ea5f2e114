"""A study: many runs that differ in one thing each, trained side by side, the unfinished ones taken up again.

A study file (YAML) has a config that all runs share (`shared`), the seeds, and for each run what it changes in that
config:

    shared: {name: losses, data: ..., network: ..., epochs: 12, ...}
    seeds: [1, 2]
    runs:
      softmax: {head: {name: softmax}}
      arcface: {head: {name: arcface}}

Run `arcface` with seed 2 has the folder `arcface-2`. All runs share the faces in memory, and each process is one run.
"""

import json
import math
import multiprocessing
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from faceid.vision.opencv import cv2
from indexer.durable_file import replacing
from training.checkpoint import read_checkpoint
from training.config import Config, config_of, read_yaml, to_record
from training.data.opening import TrainingData, open_data
from training.errors import CheckpointError, ConfigError, DivergenceError
from training.trainer import CHECKPOINT, run, same_config

OUTCOME = "outcome.json"
LOG = "log.txt"

Record = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its validation (rates in 0..1, None for too few trials), or why it diverged."""

    accuracy: float | None = None
    tar: float | None = None
    low_tar: float | None = None
    rank1: float | None = None
    fnir: float | None = None
    diverged: str | None = None

    def text(self) -> str:
        """One line."""
        if self.diverged is not None:
            return self.diverged
        tar = "too few trials" if self.tar is None else f"{self.tar:.4f}"
        return f"validation accuracy {self.accuracy:.4f}, TAR {tar}, rank-1 {self.rank1:.4f}"


def read_study(path: Path) -> dict[str, Config]:
    """Read a study file: the config of each run by its name, in the file's order, all of one seed first.

    Raises:
        ConfigError: as `read_config`; an unknown key; or runs that do not learn from the same faces.
    """
    record = read_yaml(path)
    if not isinstance(record, dict) or set(record) != {"shared", "seeds", "runs"}:
        raise ConfigError(f"{path}: a study has the keys shared, seeds and runs")
    shared, seeds, runs = record["shared"], record["seeds"], record["runs"]
    mappings = isinstance(shared, dict) and isinstance(runs, dict)
    if not (mappings and all(isinstance(each or {}, dict) for each in runs.values()) and isinstance(seeds, list)):
        raise ConfigError(f"{path}: shared is a config, seeds a list, and runs has for each run what it changes")
    if not (seeds and runs):
        raise ConfigError(f"{path}: a study has a seed and a run at least")
    configs = {}
    for seed in seeds:
        for name, changes in runs.items():
            merged = _merged(shared, changes or {}) | {"name": name, "seed": seed}
            try:
                configs[f"{name}-{seed}"] = config_of(merged, path.parent)
            except ConfigError as error:
                raise ConfigError(f"{path}, run {name}: {error}") from error
    if len({config.data for config in configs.values()}) > 1:
        raise ConfigError(f"{path}: all runs of a study learn from the same data")
    return configs


def train_study(configs: Mapping[str, Config], folder: Path, jobs: int, progress: TextIO = sys.stderr) -> None:
    """Train all runs that have not ended yet, `jobs` at a time, each in its own folder with its log.

    A run that diverges is an outcome like any other.

    Raises:
        ConfigError, DataError, CheckpointError: as `training.trainer.run`, of the first run that has it; also for a run
            that has ended, of another config.
    """
    waiting = {name: config for name, config in configs.items() if not (folder / name / OUTCOME).exists()}
    for name in configs.keys() - waiting.keys():
        _require_same(configs[name], folder / name)
    if not waiting:
        return
    cv2.setNumThreads(1)  # before the fork, which loses OpenCV's threads
    data = open_data(next(iter(configs.values())).data)
    # Forked, so that the faces are there once, however many runs there are.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs, context, initializer=_share, initargs=(data,)) as pool:
        runs = {pool.submit(_train, config, folder / name): name for name, config in waiting.items()}
        for done in as_completed(runs):
            print(f"{runs[done]}: {done.result().text()}", file=progress, flush=True)


def read_outcome(folder: Path) -> Outcome | None:
    """How the run in this folder ended; None while it has not."""
    file = folder / OUTCOME
    return Outcome(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def diverged_runs(folder: Path) -> dict[str, str]:
    """List the runs of a study in `folder` that diverged, each with what it said."""
    outcomes = {file.parent.name: read_outcome(file.parent) for file in sorted(folder.glob(f"*/{OUTCOME}"))}
    return {name: end.diverged for name, end in outcomes.items() if end is not None and end.diverged is not None}


def _require_same(config: Config, folder: Path) -> None:
    """Raise CheckpointError where the run that ended in this folder had another config: how it ended says nothing."""
    file = folder / CHECKPOINT
    # One that diverged soon has left none.
    if file.exists() and not same_config(read_checkpoint(file).config, to_record(config)):
        raise CheckpointError(
            f"{file} belongs to a run with another config; give this study a folder of its own, or delete {folder}"
        )


_shared: list[TrainingData] = []  # of a worker process: the faces it was forked with


def _share(data: TrainingData) -> None:
    _shared[:] = [data]


def _train(config: Config, folder: Path) -> Outcome:
    """Train one run in this process and write down how it ended."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("a", encoding="utf-8") as log:
        try:
            figures = asdict(run(config, folder, log, _shared[0]))
            # JSON has no number for what is none.
            outcome = Outcome(**{name: None if math.isnan(rate) else rate for name, rate in figures.items()})
        except DivergenceError as error:
            outcome = Outcome(diverged=str(error))
    with replacing(folder / OUTCOME) as unfinished:
        unfinished.write_text(json.dumps(asdict(outcome), indent=1), encoding="utf-8")
    return outcome


def _merged(shared: Record, changes: Record) -> Record:
    """Change nested mappings key by key; what has a name (a network, a head) whole: its arguments go with it."""

    def merged(key: str, value: Any) -> Any:
        nested = isinstance(value, dict) and "name" not in value and isinstance(shared.get(key), dict)
        return _merged(shared[key], value) if nested else value

    return shared | {key: merged(key, value) for key, value in changes.items()}
