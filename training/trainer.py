"""The training loop, from aligned faces to weights: the whole run, read from top to bottom.

A step is a function of the seed and its number: which faces, which augmentation. So a run that was killed goes on
from its checkpoint to the very weights that it would have reached undisturbed.

A batch is cut into one share a thread, and each thread takes its share through the whole network by itself. The
usual way, all threads inside every operation, waits for the slowest thread hundreds of times a step: on two cores of
which one was busy with something else, it ran at 40 images/s, one thread alone at 190. The processes of torchrun have
their shares of the batch in the same way, so four threads, two processes of two threads, and four of one come to the
same weights, but for the order of sums.
"""

import copy
import hashlib
import io
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from faceid.inference.cpu_features import has_bfloat16
from faceid.models.networks import build_network
from faceid.models.networks.dropout import Dropout
from faceid.vision.opencv import cv2
from training.augment import centre_crops
from training.average import averaged_copy, move_average
from training.checkpoint import (
    Checkpoint,
    momentum_of,
    read_checkpoint,
    restore_momentum,
    write_checkpoint,
)
from training.class_shards import ShardedHead
from training.config import Config, to_record
from training.data.batches import DROPOUT_DRAW, Batches, MakeCrops, stream, stream_on_device
from training.data.faces import FaceSource, mislabel
from training.data.opening import TrainingData, open_data
from training.distributed import Group, joined_group
from training.errors import CheckpointError, ConfigError, DataError, DivergenceError
from training.growth import Start, read_start, start_centres, start_from
from training.heads.head import Head, SphereHead
from training.linear_start import fit_linear
from training.logs import CsvLog, EventLog, progress_line
from training.network_input import normalised
from training.objectives import (
    Objectives,
    build_objectives,
    distillation_of,
    load_objectives,
    objective_losses,
    own_momentum,
    whole_momentum,
    whole_state,
)
from training.schedules import learning_rate
from training.targets import read_targets
from training.teacher import teacher_embeddings
from training.validation import Validation, require_pairs, validate

WITHOUT_EFFECT = frozenset(
    {"data", "cache", "workers", "tensorboard", "checkpoint_steps", "validation_steps", "log_steps"}
)
VALIDATION_BATCH = 256
COMPILER = "g++"
CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
TRAINING_LOG = "training.csv"
VALIDATION_LOG = "validation.csv"
EVENTS = "events"


def run(config: Config, folder: Path, progress: TextIO = sys.stderr, data: TrainingData | None = None) -> Validation:
    """Train as the config says, or go on where the checkpoint in `folder` ends; returns the last validation.

    `data` is what `open_data(config.data)` gives, for callers with many runs on the same data.

    Writes into `folder`: `checkpoint.safetensors`, the last one, from which a run goes on; `best.safetensors`, the one
    with the best validation; `training.csv` and `validation.csv`, and `events` for TensorBoard where that is wanted.

    Raises:
        ConfigError, DataError: before the first step.
        CheckpointError: the checkpoint in `folder` is torn, or is of a run with another config.
        DivergenceError: the loss is no longer a number.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with joined_group(config.device) as group, _fastest_convolutions(config.device):
        opened = data if data is not None else open_data(config.data)
        return _train(config, opened, folder, group, progress if group.leads else io.StringIO())


@dataclass(eq=False)
class _Run:
    """A run between two steps: what is trained, by what, and how far it is.

    `parameters` are all that learn, by name; `average` the moving average of the weights, where one is kept; `record`
    the config as checkpoints keep it; `step` the last step that is done; `losses` those since the last line of the log.
    """

    config: Config
    folder: Path
    group: Group
    faces: FaceSource
    validation_faces: FaceSource
    batches: Batches
    steps: int
    targets: Tensor | None
    network: nn.Module
    objectives: Objectives
    parameters: dict[str, nn.Parameter]
    optimiser: torch.optim.SGD
    record: dict[str, Any]
    average: nn.Module | None = None
    step: int = 0
    losses: list[dict[str, Tensor]] = field(default_factory=list)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and exported."""
        return self.network if self.average is None else self.average

    @property
    def learning_weights(self) -> list[nn.Parameter]:
        """The network's own parameters."""
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]


@dataclass(frozen=True, eq=False)
class _Threads:
    """The threads of this process, and for each a replica of the network."""

    pool: ThreadPoolExecutor
    replicas: Sequence[nn.Module]


def _train(config: Config, data: TrainingData, folder: Path, group: Group, progress: TextIO) -> Validation:
    run = _prepare(config, data, folder, group, progress)
    threads = _threads(run)
    crops = _crops(config, run.batches, range(run.step + 1, run.steps + 1), group)
    group.wait()  # every process has read the checkpoint before one writes the next
    log = _Log(folder, config, run.step) if group.leads else None
    _announce(run, progress)
    result = None
    logged, seconds = run.step, time.monotonic()
    for step in range(run.step + 1, run.steps + 1):
        settings = _set_schedules(run, step)
        _optimise(run, step, threads, next(crops))
        if _reads_losses(run):
            _check_losses(run, settings)
        if _due(run, config.log_steps):
            now = time.monotonic()
            _write_line(run, settings, (step - logged) * config.batch_size / (now - seconds), log, progress)
            logged, seconds = step, now
        if _due(run, config.validation_steps):
            result = _validate_run(run, log, progress)
        if _due(run, config.checkpoint_steps):
            _write_checkpoint(run)
    if log is not None:
        log.close()
    return result if result is not None else _validate(run)


def _fastest_convolutions(device: str) -> AbstractContextManager[None]:
    """Have a GPU try which of its convolutions are fastest: every step has the same shapes."""
    if device == "cpu":
        return nullcontext()
    chosen: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, benchmark=True)
    return chosen


def _prepare(config: Config, data: TrainingData, folder: Path, group: Group, progress: TextIO) -> _Run:
    """Build all of a run from its seed; then take its checkpoint, where there is one, or start from another run."""
    require_pairs(data.validation.labels)
    folder.mkdir(parents=True, exist_ok=True)
    if config.compiled and config.device == "cpu" and shutil.which(COMPILER) is None:
        raise ConfigError(f"compiled: true needs the compiler {COMPILER}, which is not on the PATH")
    faces = mislabel(data.training, config.mislabelled, config.seed) if config.mislabelled else data.training
    batches = _batches(config, faces, group)
    steps = config.epochs * batches.per_epoch
    if steps == 0:
        raise DataError(f"{len(faces.labels)} faces do not fill one batch of {config.batch_size}")

    torch.manual_seed(config.seed)
    checkpoint = folder / CHECKPOINT
    try:
        network = build_network(config.network.name, **config.network.arguments)
        dimension = _dimension(network, config.input_size)
        network.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        targets = _targets(config, faces, folder, group, progress)
        initial = read_start(config.initial) if config.initial is not None and not checkpoint.exists() else None
        objectives = build_objectives(config, dimension, faces, targets, initial, steps=steps, group=group)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    parameters = _trainable(network, objectives)
    run = _Run(
        config,
        folder,
        group,
        faces,
        data.validation,
        batches,
        steps,
        None if targets is None else targets.to(group.device),
        network,
        objectives,
        parameters,
        _optimiser(parameters, config),
        # The shares of all processes: what a share is, shows in BatchNorm.
        record=to_record(config) | {"threads": group.size * config.threads},
    )
    if checkpoint.exists():
        _resume(run, checkpoint)
    elif initial is not None:
        _start_from(run, initial, progress)
    if config.ema > 0 and run.average is None:
        run.average = averaged_copy(network)
    return run


def _batches(config: Config, faces: FaceSource, group: Group) -> Batches:
    """Cut the faces into batches, a share of each for every thread of every process."""
    shares = group.size * config.threads
    if group.size > 1 and config.batch_size % shares:
        raise ConfigError(f"a batch of {config.batch_size} cannot be shared evenly by {shares} threads of processes")
    if config.batch_size < 2 * shares:
        raise ConfigError(
            f"a batch of {config.batch_size} has no two faces for each of {shares} threads; give a larger batch_size, "
            "or fewer threads"
        )
    return Batches(
        faces,
        size=config.batch_size,
        shares=shares,
        photos_per_identity=config.photos_per_identity,
        input_size=config.input_size,
        augmentation=config.augmentation,
        seed=config.seed,
    )


def _resume(run: _Run, file: Path) -> None:
    """Go on where the checkpoint ends. Raises CheckpointError for that of another run."""
    checkpoint = read_checkpoint(file)
    if not _same_run(checkpoint, run.record, run.faces):
        raise CheckpointError(
            f"{file} belongs to a run with another config or other faces; "
            "give this run a folder of its own, or delete the checkpoint"
        )
    run.network.load_state_dict(checkpoint.network)
    load_objectives(run.objectives, checkpoint)
    restore_momentum(run.optimiser, run.parameters, own_momentum(run.objectives, checkpoint.momentum))
    run.step = checkpoint.step
    if run.config.ema > 0:
        run.average = averaged_copy(run.network)
        run.average.load_state_dict(checkpoint.average)


def _start_from(run: _Run, initial: Start, progress: TextIO) -> None:
    """Begin with another run's network and, where the people are the same, its class centres."""
    size = run.config.input_size
    former = start_from(run.network, initial, size, anew=_matches_other_axes(run, initial))
    if former is not None and run.targets is not None:
        print("the linear layer begins at the least-squares fit to the teacher", file=progress, flush=True)
        aims = distillation_of(run.objectives).aims(run.targets)
        fit_linear(run.network, run.faces, aims, former, input_size=size, seed=run.config.seed)
    people = run.faces.identities
    head = whole = run.objectives.get("head")
    if isinstance(whole, ShardedHead):
        head, people = whole.head, people[whole.first : whole.last]
    if isinstance(head, SphereHead):
        start_centres(head, people, initial)


def _matches_other_axes(run: _Run, initial: Start) -> bool:
    """Whether the embedding matches axes of the teacher that the start does not tell (a model file has none)."""
    distill = run.config.distill
    if distill is None or initial.axes is not None:
        return False
    cut = distill.components > 0 or distill.targets is not None
    return cut and isinstance(distillation_of(run.objectives).projection, nn.Identity)


def _threads(run: _Run) -> _Threads:
    replicas = _replicas(run.network, run.config.threads)
    if run.config.compiled:
        replicas = [cast(nn.Module, torch.compile(replica)) for replica in replicas]
    return _Threads(ThreadPoolExecutor(run.config.threads, initializer=torch.set_num_threads, initargs=(1,)), replicas)


def _announce(run: _Run, progress: TextIO) -> None:
    print(
        f"{run.config.name}: {len(run.faces.labels)} faces of {len(run.faces.identities)} people, "
        f"step {run.step} of {run.steps}; left out (no face to see, or listed): {run.faces.left_out}, "
        f"and {run.validation_faces.left_out} for validation",
        file=progress,
        flush=True,
    )
    if run.config.device == "cuda":
        print(
            "on a GPU sums have no fixed order: a second run of this config will have nearly these figures, not these "
            "weights; on a processor it would have both",
            file=progress,
            flush=True,
        )


def _due(run: _Run, every: int) -> bool:
    """Whether something happens after this step that happens every so many steps, and after the last."""
    return run.step % every == 0 or run.step == run.steps


def _set_schedules(run: _Run, step: int) -> dict[str, float]:
    """Set the learning rate and the head's schedules for a step; returns them."""
    optimiser = run.config.optimiser
    warmup = round(optimiser.warmup_epochs * run.batches.per_epoch)
    rate = learning_rate(step, steps=run.steps, peak=optimiser.peak_rate, warmup=warmup)
    for parameter_group in run.optimiser.param_groups:
        parameter_group["lr"] = rate
    head = run.objectives.get("head")
    return {"rate": rate, **(head.at_step(step) if isinstance(head, Head) else {})}


def _optimise(run: _Run, step: int, threads: _Threads, crops: Sequence[MakeCrops]) -> None:
    """Take one step of SGD."""
    # Forward: each thread's share as far as its embeddings, then one loss of the embeddings of all processes.
    _draw_dropout(run, step, threads.replicas)
    shares = list(threads.pool.map(partial(_embed, run.config, run.group.device), threads.replicas, crops))
    own = torch.cat([share.detach() for share in shares])
    embeddings = run.group.gather(own).requires_grad_()
    run.optimiser.zero_grad()
    loss = _loss(run, step, embeddings)

    # Backward: the loss's gradient at the embeddings, then each share's back through the network; these add up.
    loss.backward()  # type: ignore[no-untyped-call]
    assert embeddings.grad is not None
    own_gradient = embeddings.grad[run.group.rank * len(own) :][: len(own)]
    _backward(run, shares, torch.tensor_split(own_gradient, run.config.threads), threads.pool)
    if run.config.optimiser.clip_norm > 0:
        _clip(run.parameters, run.objectives, run.group, run.config.optimiser.clip_norm)
    run.optimiser.step()
    if run.average is not None:
        move_average(run.average, run.network, decay=run.config.ema, step=step)
    run.step = step


def _draw_dropout(run: _Run, step: int, replicas: Sequence[nn.Module]) -> None:
    """Let what a share's network drops, where it has dropout, be a function of the seed, the step and the share."""
    for number, replica in enumerate(replicas, start=run.group.rank * run.config.threads):
        for module in replica.modules():
            if isinstance(module, Dropout):
                seed = np.random.default_rng([run.config.seed, DROPOUT_DRAW, step, number]).integers(2**63)
                module.random = torch.Generator(run.group.device).manual_seed(int(seed))


def _loss(run: _Run, step: int, embeddings: Tensor) -> Tensor:
    """Return the whole loss of a batch's embeddings [B, D], and note it with its parts."""
    chosen = torch.from_numpy(run.batches.chosen(step))
    labels = torch.from_numpy(run.faces.labels[chosen.numpy()])
    targets = None if run.targets is None else run.targets[chosen.to(run.group.device)]
    parts = objective_losses(run.objectives, run.config, embeddings, labels, targets)
    loss = torch.stack(list(parts.values())).sum()
    run.losses.append({name: part.detach() for name, part in {"loss": loss, **parts}.items()})
    return loss


def _reads_losses(run: _Run) -> bool:
    """Whether the losses are looked at after this step: seldom on a GPU, which would wait for the next step's work."""
    config = run.config
    return config.device == "cpu" or any(
        _due(run, every) for every in (config.log_steps, config.validation_steps, config.checkpoint_steps)
    )


def _check_losses(run: _Run, settings: Mapping[str, float]) -> None:
    """Raise DivergenceError where a loss since the last line of the log is no number."""
    losses = torch.stack([each["loss"] for each in run.losses]).tolist()
    wrong = np.flatnonzero(~np.isfinite(losses))
    if len(wrong):
        first = int(wrong[0])
        raise DivergenceError(_diverged(run, run.step - len(losses) + first + 1, losses[: first + 1], settings))


def _backward(run: _Run, shares: Sequence[Tensor], gradients: Sequence[Tensor], pool: ThreadPoolExecutor) -> None:
    """Carry the gradients at the shares' embeddings back to the network's parameters, over all processes."""
    weights = run.learning_weights
    for parameter, *parts in zip(weights, *pool.map(partial(_gradients, weights), shares, gradients), strict=True):
        parameter.grad = parts[0]
        for part in parts[1:]:
            parameter.grad.add_(part)
    run.group.add([parameter.grad for parameter in weights if parameter.grad is not None])


def _write_line(
    run: _Run, settings: Mapping[str, float], images_per_second: float, log: "_Log | None", progress: TextIO
) -> None:
    """Write the mean losses since the last line, to the terminal and the log."""
    # Where there is but one objective its loss is the whole loss.
    names = ["loss", *run.objectives] if len(run.objectives) > 1 else ["loss"]
    means = {name: torch.stack([each[name] for each in run.losses]).double().mean().item() for name in names}
    row = {**means, **settings}
    run.losses.clear()
    line = progress_line(
        run.step,
        steps=run.steps,
        per_epoch=run.batches.per_epoch,
        row=row,
        speed=images_per_second,
        batch_size=run.config.batch_size,
    )
    print(line, file=progress, flush=True)
    if log is not None:
        log.train(run.step, {**row, "images_per_second": images_per_second})


def _validate_run(run: _Run, log: "_Log | None", progress: TextIO) -> Validation:
    """Validate, and keep the weights where they are the best so far."""
    result = _validate(run)
    print(f"step {run.step}  validation: {result.text()}", file=progress, flush=True)
    if log is not None and log.validate(run.step, result):
        faces, weights = run.faces, run.evaluated.state_dict()
        best = Checkpoint(run.step, run.record, faces.identities, len(faces.labels), weights, {})
        write_checkpoint(run.folder / BEST, best)
    return result


def _write_checkpoint(run: _Run) -> None:
    """Write all that the run needs to go on; every process gives its part, one writes."""
    checkpoint = Checkpoint(
        run.step,
        run.record,
        run.faces.identities,
        len(run.faces.labels),
        run.network.state_dict(),
        momentum=whole_momentum(run.objectives, momentum_of(run.optimiser, run.parameters)),
        average={} if run.average is None else run.average.state_dict(),
        labels=_labels_digest(run.faces),
        **{name: whole_state(objective) for name, objective in run.objectives.items()},
    )
    if run.group.leads:
        write_checkpoint(run.folder / CHECKPOINT, checkpoint)


def _crops(config: Config, batches: Batches, steps: range, group: Group) -> Iterator[list[MakeCrops]]:
    """For each step what makes the crops of this process's shares, ahead of time, on the device, or by the threads."""
    shares = range(group.rank * config.threads, (group.rank + 1) * config.threads)
    if config.on_device:
        return stream_on_device(batches, steps, shares, group.device)
    return stream(batches, steps, shares, workers=config.workers, pin=config.device == "cuda")


def _targets(config: Config, faces: FaceSource, folder: Path, group: Group, progress: TextIO) -> Tensor | None:
    """Read the targets, or have the teacher make them, one process for all: float16 [N, T]."""
    if config.distill is None:
        return None
    if config.distill.targets is not None:
        return torch.from_numpy(read_targets(config.distill.targets, faces)).half()
    assert config.distill.teacher is not None  # the config has been checked
    if not group.leads:
        group.wait()
    cache = config.cache if config.cache is not None else folder
    rows = teacher_embeddings(config.distill.teacher, faces, cache, progress, mirrored=config.distill.mirrored)
    if group.leads:
        group.wait()
    return torch.from_numpy(rows).half()


def _same_run(checkpoint: Checkpoint, record: Mapping[str, object], faces: FaceSource) -> bool:
    """Whether both lead to the same weights: the same but for where the faces lie and what is written when."""
    same_people = checkpoint.identities == faces.identities and checkpoint.faces == len(faces.labels)
    same_faces = same_people and checkpoint.labels in ("", _labels_digest(faces))
    return same_config(checkpoint.config, record) and same_faces


def _labels_digest(faces: FaceSource) -> str:
    return hashlib.sha256(faces.labels.astype("<i8").tobytes()).hexdigest()


def same_config(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two configs, as checkpoints keep them, lead to the same weights from the same faces."""
    one, other = _given(one), _given(other)
    return all(one.get(key) == other.get(key) for key in {*one, *other} - WITHOUT_EFFECT)


def _given(record: Mapping[str, object]) -> dict[str, object]:
    """Drop what is not set: a checkpoint does not know the keys that came after it."""
    given = {key: _given(value) if isinstance(value, Mapping) else value for key, value in record.items()}
    return {key: value for key, value in given.items() if value is not None}


def _dimension(network: nn.Module, input_size: tuple[int, int]) -> int:
    """Length of the network's embeddings."""
    network.eval()
    with torch.inference_mode():
        return int(network(torch.zeros(1, 3, *input_size)).shape[1])


def _trainable(network: nn.Module, objectives: Objectives) -> dict[str, nn.Parameter]:
    heads = {
        name: objective.head if isinstance(objective, ShardedHead) else objective
        for name, objective in objectives.items()
    }
    return {
        f"{part}.{name}": parameter
        for part, module in {"network": network, **heads}.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


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
        fused=True,
    )


def _replicas(network: nn.Module, count: int) -> list[nn.Module]:
    """List the network and its twins: the same parameters, but BatchNorm statistics that threads do not fight over.

    Only the first one's running statistics are kept, as in distributed training.
    """
    shared = {id(parameter): parameter for parameter in network.parameters()}
    return [network, *(copy.deepcopy(network, dict(shared)) for _ in range(count - 1))]


def _embed(config: Config, device: torch.device, network: nn.Module, make_crops: MakeCrops) -> Tensor:
    """Make and embed one thread's share of a batch: [b, D] float32, with its graph."""
    crops = torch.as_tensor(make_crops()).to(device, non_blocking=True)
    network.train()
    # The cache of casts is one for all threads, and every weight is used but once.
    with torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16(config), cache_enabled=False):
        embeddings: Tensor = network(normalised(crops))
    return embeddings.float()


def in_bfloat16(config: Config) -> bool:
    """Whether the network computes in bfloat16."""
    if config.precision == "auto":
        return config.device == "cuda" or has_bfloat16()
    return config.precision == "bfloat16"


def _gradients(parameters: Sequence[nn.Parameter], embeddings: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
    """Carry the loss's gradient at one share's embeddings [b, D] back to every parameter."""
    return torch.autograd.grad(embeddings, parameters, gradient)


def _clip(parameters: Mapping[str, nn.Parameter], objectives: Objectives, group: Group, limit: float) -> None:
    """Shorten the gradient, all parameters of all processes together, to this Euclidean norm."""
    gradients = {name: each.grad for name, each in parameters.items() if each.grad is not None}
    cut = {"head.weight"} if isinstance(objectives.get("head"), ShardedHead) else set()
    whole = torch.nn.utils.get_total_norm([grad for name, grad in gradients.items() if name not in cut])
    if cut:
        elsewhere = torch.stack([gradients[name].square().sum() for name in sorted(cut)])
        group.add([elsewhere])
        whole = (whole.square() + elsewhere.sum()).sqrt()
    torch.nn.utils.clip_grads_with_norm_(parameters.values(), limit, whole)


def _validate(run: _Run) -> Validation:
    """Embed people who are not in the training set, without augmentation, and measure."""
    network, people, device = run.evaluated.eval(), run.validation_faces, run.group.device
    embedded = []
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16(run.config)),
    ):
        for start in range(0, len(people.labels), VALIDATION_BATCH):
            faces = people.read(np.arange(start, min(start + VALIDATION_BATCH, len(people.labels))))
            crops = torch.from_numpy(centre_crops(faces, run.config.input_size)).to(device)
            embedded.append(functional.normalize(network(normalised(crops)).float()))
    return validate(torch.cat(embedded).numpy(force=True), people.labels)


def _diverged(run: _Run, step: int, losses: Sequence[float], settings: Mapping[str, float]) -> str:
    checkpoint = run.folder / CHECKPOINT
    before = ", ".join(f"{loss:.3g}" for loss in losses[-6:-1]) or "none since the last line of the log"
    state = "".join(f", {name} {value:.3g}" for name, value in settings.items() if name != "rate")
    return (
        f"the loss is {losses[-1]} at step {step} (learning rate {settings['rate']:.3g}{state}; "
        f"losses before: {before}).\n"
        "Lower optimiser.peak_rate, lengthen optimiser.warmup_epochs, set optimiser.clip_norm, or bring "
        "the margin in more slowly (a higher minimum or later reach of the head's annealing)"
        + (f"; {checkpoint} still holds the run before that." if checkpoint.exists() else ".")
    )


class _Log:
    """Where the values of a run go: two CSV files, and TensorBoard's event files where they are wanted."""

    def __init__(self, folder: Path, config: Config, done: int) -> None:
        self._training = CsvLog(folder / TRAINING_LOG, keep_until=done)
        self._validation = CsvLog(folder / VALIDATION_LOG, keep_until=done)
        self._events = EventLog(folder / EVENTS, keep_until=done) if config.tensorboard else None

    def train(self, step: int, row: Mapping[str, float]) -> None:
        self._training.add(step, row)
        if self._events is not None:
            self._events.add("training", step, row)

    def validate(self, step: int, result: Validation) -> bool:
        """Write the figures; whether they are the best so far."""
        row = asdict(result)
        earlier = [Validation(*values) for values in self._validation.rows(*row)]
        self._validation.add(step, row)
        if self._events is not None:
            self._events.add("validation", step, row)
        return all(result.is_better_than(each) for each in earlier)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
