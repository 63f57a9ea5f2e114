"""The training loop, from packed faces to weights: the whole run, read from top to bottom.

A step is a function of the seed and its number: which faces, which augmentation. So a run that was killed goes on
from its checkpoint to the very weights that it would have reached undisturbed.

A batch is cut into one share a thread, and each thread takes its share through the whole network by itself. The
usual way, all threads inside every operation, waits for the slowest thread hundreds of times a step: on two cores of
which one was busy with something else, it ran at 40 images/s, one thread alone at 190.
"""

import copy
import csv
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from faceid.networks import build_network
from training.augment import augment, centre_crops
from training.checkpoint import (
    Checkpoint,
    momentum_of,
    read_checkpoint,
    restore_momentum,
    write_checkpoint,
)
from training.config import Config, to_record
from training.data.pack import Pack, read_packs
from training.errors import CheckpointError, ConfigError, DataError, DivergenceError
from training.heads import build_head
from training.schedules import learning_rate
from training.validation import Validation, validate

# v -> (v - 127.5) / 128, RGB, as the released SphereFace but for its channel order.
MEAN = 127.5
STD = 128.0
WITHOUT_EFFECT = frozenset({"data", "checkpoint_steps", "validation_steps", "log_steps"})
VALIDATION_BATCH = 256
CHECKPOINT = "checkpoint.safetensors"
TRAINING_LOG = "training.csv"
VALIDATION_LOG = "validation.csv"


def run(config: Config, folder: Path, progress: TextIO = sys.stderr) -> Validation:
    """Train as the config says, or go on where the checkpoint in `folder` ends; returns the last validation.

    Writes `checkpoint.safetensors`, `training.csv` and `validation.csv` into `folder`.

    Raises:
        ConfigError, DataError: before the first step.
        CheckpointError: the checkpoint in `folder` is torn, or is of a run with another config.
        DivergenceError: the loss is no longer a number.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    folder.mkdir(parents=True, exist_ok=True)

    faces = read_packs(config.data.training, side=config.data.side)
    strangers = read_packs(config.data.validation, side=config.data.side)
    shared_people = set(faces.identities) & set(strangers.identities)
    if shared_people:
        raise DataError(f"{len(shared_people)} people are in training and validation, e.g. {min(shared_people)}")
    steps_per_epoch = len(faces.labels) // config.batch_size
    steps = config.epochs * steps_per_epoch
    if steps == 0:
        raise DataError(f"{len(faces.labels)} faces do not fill one batch of {config.batch_size}")

    torch.manual_seed(config.seed)
    try:
        network = build_network(config.network.name, **config.network.arguments)
        dimension = _dimension(network, config.input_size)
        head = build_head(config.head.name, dimension, len(faces.identities), steps=steps, **config.head.arguments)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pool = ThreadPoolExecutor(config.threads, initializer=torch.set_num_threads, initargs=(1,))
    parameters = _trainable(network, head)
    optimiser = _optimiser(parameters, config)

    done = 0
    checkpoint_file = folder / CHECKPOINT
    if checkpoint_file.exists():
        checkpoint = read_checkpoint(checkpoint_file)
        if not _same_run(checkpoint.config, to_record(config)) or checkpoint.identities != faces.identities:
            raise CheckpointError(
                f"{checkpoint_file} belongs to a run with another config or other faces; "
                "give this run a folder of its own, or delete the checkpoint"
            )
        network.load_state_dict(checkpoint.network)
        head.load_state_dict(checkpoint.head)
        restore_momentum(optimiser, parameters, checkpoint.momentum)
        done = checkpoint.step
    replicas = _replicas(network, config.threads)
    network_parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    training_log = _CsvLog(folder / TRAINING_LOG, keep_until=done)
    validation_log = _CsvLog(folder / VALIDATION_LOG, keep_until=done)
    print(
        f"{config.name}: {len(faces.labels)} faces of {len(faces.identities)} people, step {done} of {steps}",
        file=progress,
        flush=True,
    )

    result = None
    losses: list[float] = []
    since, seconds = done, time.monotonic()
    for step in range(done + 1, steps + 1):
        rate = learning_rate(
            step,
            steps=steps,
            peak=config.optimiser.peak_rate,
            warmup=round(config.optimiser.warmup_epochs * steps_per_epoch),
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        schedules = head.at_step(step)

        chosen = _faces_of(step, len(faces.labels), steps_per_epoch, config)
        shares = np.array_split(chosen, config.threads)
        draws = [(step, number) for number in range(config.threads)]
        embed = partial(_embed_share, faces, config)
        embedded = list(pool.map(embed, replicas, shares, draws))
        embeddings = torch.cat([share.detach() for share in embedded]).requires_grad_()
        head.train()
        optimiser.zero_grad()
        loss = head(embeddings, torch.from_numpy(faces.labels[chosen]))
        losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            raise DivergenceError(_diverged(step, losses, rate, schedules, checkpoint_file))
        loss.backward()
        assert embeddings.grad is not None
        pulls = torch.tensor_split(embeddings.grad, config.threads)
        gradients = list(pool.map(partial(_gradients, network_parameters), embedded, pulls))
        for parameter, *parts in zip(network_parameters, *gradients, strict=True):
            parameter.grad = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
        if config.optimiser.clip_norm > 0:
            nn.utils.clip_grad_norm_(parameters.values(), config.optimiser.clip_norm)
        optimiser.step()

        if step % config.log_steps == 0 or step == steps:
            now = time.monotonic()
            speed = (step - since) * config.batch_size / (now - seconds)
            since, seconds = step, now
            row = {"loss": float(np.mean(losses)), "rate": rate, **schedules}
            losses.clear()
            training_log.add(step, {**row, "images_per_second": speed})
            print(_progress_line(step, steps, steps_per_epoch, row, speed, config), file=progress, flush=True)
        if step % config.validation_steps == 0 or step == steps:
            result = _validate(network, strangers, config)
            validation_log.add(step, asdict(result))
            print(
                f"step {step}  validation: accuracy {result.accuracy:.4f}  TAR at FAR 1e-3 {result.tar:.4f}  "
                f"rank-1 {result.rank1:.4f}",
                file=progress,
                flush=True,
            )
        if step % config.checkpoint_steps == 0 or step == steps:
            write_checkpoint(
                checkpoint_file,
                Checkpoint(
                    step,
                    to_record(config),
                    faces.identities,
                    network.state_dict(),
                    head.state_dict(),
                    momentum_of(optimiser, parameters),
                ),
            )
    return result if result is not None else _validate(network, strangers, config)


def _same_run(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two configs lead to the same weights: the same but for where the packs lie and what is written when."""
    return all(one.get(key) == other.get(key) for key in {*one, *other} - WITHOUT_EFFECT)


def to_input(crops: npt.NDArray[np.uint8]) -> Tensor:
    """Crops uint8 [B, h, w, 3] RGB -> the network's input [B, 3, h, w] float32, channels last in memory."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float().sub_(MEAN).div_(STD)


def _dimension(network: nn.Module, input_size: tuple[int, int]) -> int:
    """Length of the network's embeddings."""
    network.eval()
    with torch.inference_mode():
        return int(network(torch.zeros(1, 3, *input_size)).shape[1])


def _trainable(network: nn.Module, head: nn.Module) -> dict[str, nn.Parameter]:
    named: Iterable[tuple[str, nn.Parameter]] = [
        *((f"network.{name}", parameter) for name, parameter in network.named_parameters()),
        *((f"head.{name}", parameter) for name, parameter in head.named_parameters()),
    ]
    return {name: parameter for name, parameter in named if parameter.requires_grad}


def _optimiser(parameters: Mapping[str, nn.Parameter], config: Config) -> torch.optim.SGD:
    """SGD with weight decay on what multiplies (matrices, filters), not on biases, norms and slopes."""
    multiplies = [parameter for parameter in parameters.values() if parameter.ndim > 1]
    others = [parameter for parameter in parameters.values() if parameter.ndim <= 1]
    return torch.optim.SGD(
        [
            {"params": multiplies, "weight_decay": config.optimiser.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.optimiser.peak_rate,
        momentum=config.optimiser.momentum,
    )


def _replicas(network: nn.Module, count: int) -> list[nn.Module]:
    """List the network and its twins: the same parameters, but BatchNorm statistics that threads do not fight over.

    Only the first one's running statistics are kept, as in distributed training.
    """
    shared = {id(parameter): parameter for parameter in network.parameters()}
    return [network, *(copy.deepcopy(network, dict(shared)) for _ in range(count - 1))]


def _faces_of(step: int, count: int, steps_per_epoch: int, config: Config) -> npt.NDArray[np.int64]:
    """Choose the faces of this step; each epoch has an order of its own."""
    epoch, position = divmod(step - 1, steps_per_epoch)
    order = np.random.default_rng([config.seed, 0, epoch]).permutation(count)
    return order[position * config.batch_size : (position + 1) * config.batch_size]


def _embed_share(
    faces: Pack, config: Config, network: nn.Module, chosen: npt.NDArray[np.int64], draw: tuple[int, int]
) -> Tensor:
    """Augment and embed one thread's share of a batch: [b, D] float32, with its graph."""
    random = np.random.default_rng([config.seed, 1, *draw])
    crops = augment(faces.images[chosen], config.input_size, config.augmentation, random)
    network.train()
    # The cache of casts is one for all threads, and every weight is used but once.
    with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16", cache_enabled=False):
        embeddings: Tensor = network(to_input(crops))
    return embeddings.float()


def _gradients(parameters: Sequence[nn.Parameter], embeddings: Tensor, pull: Tensor) -> tuple[Tensor, ...]:
    """Carry the loss's gradient at one share's embeddings [b, D] back to every parameter."""
    return torch.autograd.grad(embeddings, parameters, pull)


def _validate(network: nn.Module, strangers: Pack, config: Config) -> Validation:
    """Embed people who are not in the training set, without augmentation, and measure."""
    network.eval()
    embedded = []
    with (
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"),
    ):
        for start in range(0, len(strangers.labels), VALIDATION_BATCH):
            crops = centre_crops(strangers.images[start : start + VALIDATION_BATCH], config.input_size)
            embedded.append(functional.normalize(network(to_input(crops)).float()))
    return validate(torch.cat(embedded).numpy(), strangers.labels)


def _progress_line(
    step: int, steps: int, steps_per_epoch: int, row: Mapping[str, float], speed: float, config: Config
) -> str:
    left = round((steps - step) * config.batch_size / speed)
    figures = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
    return (
        f"step {step}/{steps}  epoch {step / steps_per_epoch:.2f}  {figures}  {speed:.0f} images/s  "
        f"ETA {left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
    )


def _diverged(step: int, losses: list[float], rate: float, schedules: Mapping[str, float], checkpoint: Path) -> str:
    before = ", ".join(f"{loss:.3g}" for loss in losses[-6:-1]) or "none since the last line of the log"
    state = "".join(f", {name} {value:.3g}" for name, value in schedules.items())
    return (
        f"the loss is {losses[-1]} at step {step} (learning rate {rate:.3g}{state}; losses before: {before}).\n"
        "Lower optimiser.peak_rate, lengthen optimiser.warmup_epochs, set optimiser.clip_norm, or bring "
        "the margin in more slowly (a higher minimum or later reach of the head's annealing)"
        + (f"; {checkpoint} still holds the run before that." if checkpoint.exists() else ".")
    )


class _CsvLog:
    """A CSV file with a row a step; rows after the checkpoint's step are of work that was lost, and go."""

    def __init__(self, path: Path, *, keep_until: int) -> None:
        self.path = path
        kept: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= keep_until]
        with path.open("w", newline="", encoding="utf-8") as file:
            if kept:
                writer = csv.DictWriter(file, list(kept[0]))
                writer.writeheader()
                writer.writerows(kept)

    def add(self, step: int, row: Mapping[str, float]) -> None:
        empty = self.path.stat().st_size == 0
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["step", *row])
            if empty:
                writer.writeheader()
            writer.writerow({"step": step, **{name: f"{value:.6g}" for name, value in row.items()}})
