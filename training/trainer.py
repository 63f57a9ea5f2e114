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
import io
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TextIO, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from faceid.inference.cpu_features import has_bfloat16
from faceid.models.networks import build_network
from training.augment import centre_crops
from training.average import averaged_copy, move_average
from training.checkpoint import (
    Checkpoint,
    momentum_of,
    read_checkpoint,
    restore_momentum,
    write_checkpoint,
)
from training.class_shards import ShardedHead, class_range
from training.config import Config, to_record
from training.data.batches import Batches, MakeCrops, stream, stream_on_device
from training.data.faces import UNKNOWN, Faces, mislabel
from training.data.opening import TrainingData, open_data
from training.distillation import Distillation, class_centres, even_axes
from training.distributed import Group, joined_group
from training.errors import CheckpointError, ConfigError, DataError, DivergenceError
from training.growth import Start, read_start, start_centres, start_from
from training.heads import build_head
from training.heads.head import Head, SphereHead
from training.linear_start import fit_linear
from training.logs import CsvLog, EventLog, progress_line
from training.network_input import normalised
from training.schedules import learning_rate
from training.teacher import teacher_embeddings
from training.validation import Validation, validate

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
    with joined_group(config.device) as group:
        opened = data if data is not None else open_data(config.data)
        return _train(config, opened, folder, group, progress if group.leads else io.StringIO())


def _train(config: Config, data: TrainingData, folder: Path, group: Group, progress: TextIO) -> Validation:
    folder.mkdir(parents=True, exist_ok=True)
    if config.compiled and config.device == "cpu" and shutil.which(COMPILER) is None:
        raise ConfigError(f"compiled: true needs the compiler {COMPILER}, which is not on the PATH")
    strangers = data.validation
    faces = mislabel(data.training, config.mislabelled, config.seed) if config.mislabelled else data.training
    shares = group.size * config.threads
    if group.size > 1 and config.batch_size % shares:
        raise ConfigError(f"a batch of {config.batch_size} cannot be shared evenly by {shares} threads of processes")
    batches = Batches(
        faces,
        size=config.batch_size,
        shares=shares,
        photos_per_identity=config.photos_per_identity,
        input_size=config.input_size,
        augmentation=config.augmentation,
        seed=config.seed,
    )
    steps = config.epochs * batches.per_epoch
    if steps == 0:
        raise DataError(f"{len(faces.labels)} faces do not fill one batch of {config.batch_size}")

    torch.manual_seed(config.seed)
    try:
        network = build_network(config.network.name, **config.network.arguments)
        dimension = _dimension(network, config.input_size)
        network.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        targets = _targets(config, faces, folder, group, progress)
        checkpoint_file = folder / CHECKPOINT
        initial = read_start(config.initial) if config.initial is not None and not checkpoint_file.exists() else None
        lessons = _lessons(config, dimension, faces, targets, initial, steps=steps, group=group)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    parameters = _trainable(network, lessons)
    optimiser = _optimiser(parameters, config)

    record = to_record(config) | {"threads": shares}  # of all processes: what a share is, shows in BatchNorm
    done = 0
    average = None
    if checkpoint_file.exists():
        checkpoint = read_checkpoint(checkpoint_file)
        if not _same_run(checkpoint, record, faces):
            raise CheckpointError(
                f"{checkpoint_file} belongs to a run with another config or other faces; "
                "give this run a folder of its own, or delete the checkpoint"
            )
        network.load_state_dict(checkpoint.network)
        _load_lessons(lessons, checkpoint)
        restore_momentum(optimiser, parameters, _own_momentum(lessons, checkpoint.momentum))
        done = checkpoint.step
        if config.ema > 0:
            average = averaged_copy(network)
            average.load_state_dict(checkpoint.average)
    elif initial is not None:
        linear_fits = start_from(network, initial, config.input_size)
        if not linear_fits and targets is not None:
            print("the linear layer begins at the least-squares fit to the teacher", file=progress, flush=True)
            aims = _distillation(lessons).aims(targets)
            fit_linear(network, faces, aims, input_size=config.input_size, seed=config.seed)
        if isinstance(head := lessons.get("head"), SphereHead):
            start_centres(head, faces.identities, initial)
    if config.ema > 0 and average is None:
        average = averaged_copy(network)
    judged = network if average is None else average
    replicas = _replicas(network, config.threads)
    if config.compiled:
        replicas = [cast(nn.Module, torch.compile(replica)) for replica in replicas]
    network_parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    crops = _crops(config, batches, range(done + 1, steps + 1), group)
    pool = ThreadPoolExecutor(config.threads, initializer=torch.set_num_threads, initargs=(1,))
    group.wait()  # every process has read the checkpoint before one writes the next
    log = _Log(folder, config, done) if group.leads else None
    print(
        f"{config.name}: {len(faces.labels)} faces of {len(faces.identities)} people, step {done} of {steps}; left "
        f"out (no face to see, or listed): {faces.left_out}, and {strangers.left_out} for validation",
        file=progress,
        flush=True,
    )

    if config.device == "cuda":
        print(
            "on a GPU sums have no fixed order: a second run of this config will have nearly these figures, not these "
            "weights; on a processor it would have both",
            file=progress,
            flush=True,
        )

    result = None
    losses: list[dict[str, float]] = []
    since, seconds = done, time.monotonic()
    for step in range(done + 1, steps + 1):
        rate = learning_rate(
            step,
            steps=steps,
            peak=config.optimiser.peak_rate,
            warmup=round(config.optimiser.warmup_epochs * batches.per_epoch),
        )
        for parameter_group in optimiser.param_groups:
            parameter_group["lr"] = rate
        head = lessons.get("head")
        schedules = head.at_step(step) if isinstance(head, Head) else {}

        # Forward: each thread's share as far as its embeddings, then one loss of the embeddings of all processes.
        chosen = torch.from_numpy(batches.chosen(step))
        labels = torch.from_numpy(faces.labels[chosen.numpy()]).to(group.device)
        embedded = list(pool.map(partial(_embed, config, group.device), replicas, next(crops)))
        own = torch.cat([share.detach() for share in embedded])
        embeddings = group.gather(own).requires_grad_()
        optimiser.zero_grad()
        taught = _losses(lessons, config, embeddings, labels, None if targets is None else targets[chosen])
        loss = torch.stack(list(taught.values())).sum()
        losses.append({"loss": loss.item(), **{name: part.item() for name, part in taught.items()}})
        if not np.isfinite(losses[-1]["loss"]):
            before = [each["loss"] for each in losses]
            raise DivergenceError(_diverged(step, before, rate, schedules, checkpoint_file))

        # Backward: the loss's gradient at the embeddings, then each share's back through the network; these add up.
        loss.backward()  # type: ignore[no-untyped-call]
        assert embeddings.grad is not None
        pulls = torch.tensor_split(embeddings.grad[group.rank * len(own) :][: len(own)], config.threads)
        gradients = list(pool.map(partial(_gradients, network_parameters), embedded, pulls))
        for parameter, *parts in zip(network_parameters, *gradients, strict=True):
            parameter.grad = parts[0]
            for part in parts[1:]:
                parameter.grad.add_(part)
        group.add([parameter.grad for parameter in network_parameters if parameter.grad is not None])
        if config.optimiser.clip_norm > 0:
            _clip(parameters, lessons, group, config.optimiser.clip_norm)
        optimiser.step()
        if average is not None:
            move_average(average, network, decay=config.ema, step=step)

        if step % config.log_steps == 0 or step == steps:
            now = time.monotonic()
            speed = (step - since) * config.batch_size / (now - seconds)
            since, seconds = step, now
            # Where there is but one lesson its loss is the whole loss.
            names = ["loss", *lessons] if len(lessons) > 1 else ["loss"]
            means = {name: float(np.mean([each[name] for each in losses])) for name in names}
            row = {**means, "rate": rate, **schedules}
            losses.clear()
            line = progress_line(
                step, steps=steps, per_epoch=batches.per_epoch, row=row, speed=speed, batch_size=config.batch_size
            )
            print(line, file=progress, flush=True)
            if log is not None:
                log.train(step, {**row, "images_per_second": speed})
        if step % config.validation_steps == 0 or step == steps:
            result = _validate(judged, strangers, config, group.device)
            print(f"step {step}  validation: {result.text()}", file=progress, flush=True)
            if log is not None and log.validate(step, result):
                weights = Checkpoint(step, record, faces.identities, len(faces.labels), judged.state_dict(), {})
                write_checkpoint(folder / BEST, weights)
        if step % config.checkpoint_steps == 0 or step == steps:
            checkpoint = Checkpoint(
                step,
                record,
                faces.identities,
                len(faces.labels),
                network.state_dict(),
                momentum=_whole_momentum(lessons, momentum_of(optimiser, parameters)),
                average={} if average is None else average.state_dict(),
                **{name: _whole_state(lesson) for name, lesson in lessons.items()},
            )
            if group.leads:
                write_checkpoint(checkpoint_file, checkpoint)
    if log is not None:
        log.close()
    return result if result is not None else _validate(judged, strangers, config, group.device)


def _crops(config: Config, batches: Batches, steps: range, group: Group) -> Iterator[list[MakeCrops]]:
    """For each step what makes the crops of this process's shares, ahead of time, on the device, or by the threads."""
    shares = range(group.rank * config.threads, (group.rank + 1) * config.threads)
    if config.on_device:
        return stream_on_device(batches, steps, shares, group.device)
    return stream(batches, steps, shares, workers=config.workers, pin=config.device == "cuda")


def _targets(config: Config, faces: Faces, folder: Path, group: Group, progress: TextIO) -> Tensor | None:
    """Have the teacher embed the faces, one process for all; the others find its file: float16 [N, T]."""
    if config.distill is None:
        return None
    if not group.leads:
        group.wait()
    cache = config.cache if config.cache is not None else folder
    rows = teacher_embeddings(config.distill.teacher, faces, cache, progress, mirrored=config.distill.mirrored)
    if group.leads:
        group.wait()
    return torch.from_numpy(rows).half()


def _lessons(
    config: Config,
    dimension: int,
    faces: Faces,
    targets: Tensor | None,
    initial: Start | None,
    *,
    steps: int,
    group: Group,
) -> dict[str, nn.Module]:
    """Build what the network learns from: a head, a teacher, or both."""
    lessons: dict[str, nn.Module] = {}
    if config.distill is not None and targets is not None:
        axes = _axes(targets, config.distill.components, initial)
        lessons["distillation"] = Distillation(dimension, targets.shape[1], axes)
    classes = len(faces.identities)
    if config.head is not None:
        build = partial(build_head, config.head.name, steps=steps, **config.head.arguments)
        if config.class_shards is None:
            head = build(dimension=dimension, classes=classes)
            if targets is not None and isinstance(head, SphereHead):
                aims = _distillation(lessons).aims(targets)
                known = torch.from_numpy(faces.labels != UNKNOWN)
                if aims.shape[1] == dimension:
                    head.start_at(class_centres(aims[known], torch.from_numpy(faces.labels)[known], classes))
            lessons["head"] = head
        else:
            first, last = class_range(classes, group)
            torch.manual_seed(config.seed + 1 + group.rank)  # each process draws centres of its own
            rate = config.class_shards.sampling_rate
            idle = 1
            own = build(dimension=dimension, classes=last - first + idle)
            lessons["head"] = ShardedHead(own, classes=classes, sampling_rate=rate, seed=config.seed, group=group)
            torch.manual_seed(config.seed)
    return {name: lesson.to(group.device) for name, lesson in lessons.items()}


def _axes(targets: Tensor, count: int, initial: Start | None) -> Tensor | None:
    """Take the axes of the run that this one starts from, whose embeddings they made; find new ones otherwise."""
    if count == 0:
        return None
    if initial is not None and initial.axes is not None and initial.axes.shape == (targets.shape[1], count):
        return initial.axes
    return even_axes(targets, count)


def _distillation(lessons: Mapping[str, nn.Module]) -> Distillation:
    return cast(Distillation, lessons["distillation"])


def _same_run(checkpoint: Checkpoint, record: Mapping[str, object], faces: Faces) -> bool:
    """Whether both lead to the same weights: the same but for where the faces lie and what is written when."""
    one = checkpoint.config
    same_config = all(one.get(key) == record.get(key) for key in {*one, *record} - WITHOUT_EFFECT)
    return same_config and checkpoint.identities == faces.identities and checkpoint.faces == len(faces.labels)


def _dimension(network: nn.Module, input_size: tuple[int, int]) -> int:
    """Length of the network's embeddings."""
    network.eval()
    with torch.inference_mode():
        return int(network(torch.zeros(1, 3, *input_size)).shape[1])


def _losses(
    lessons: Mapping[str, nn.Module], config: Config, embeddings: Tensor, labels: Tensor, targets: Tensor | None
) -> dict[str, Tensor]:
    """Compute each lesson's part of the loss, of the whole batch."""
    losses: dict[str, Tensor] = {}
    if "head" in lessons:
        known = labels != UNKNOWN
        head = lessons["head"].train()
        # A batch without anybody known is possible, and teaches the head nothing.
        losses["head"] = head(embeddings[known], labels[known]) if known.any() else 0 * embeddings.sum()
    if config.distill is not None and targets is not None:
        apart = lessons["distillation"](embeddings, targets.to(embeddings.device))
        losses["distillation"] = config.distill.weight * apart
    return losses


def _trainable(network: nn.Module, lessons: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    heads = {name: lesson.head if isinstance(lesson, ShardedHead) else lesson for name, lesson in lessons.items()}
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
    with torch.autocast(device.type, torch.bfloat16, enabled=_in_bfloat16(config), cache_enabled=False):
        embeddings: Tensor = network(normalised(crops))
    return embeddings.float()


def _in_bfloat16(config: Config) -> bool:
    if config.precision == "auto":
        return config.device == "cuda" or has_bfloat16()
    return config.precision == "bfloat16"


def _gradients(parameters: Sequence[nn.Parameter], embeddings: Tensor, pull: Tensor) -> tuple[Tensor, ...]:
    """Carry the loss's gradient at one share's embeddings [b, D] back to every parameter."""
    return torch.autograd.grad(embeddings, parameters, pull)


def _clip(parameters: Mapping[str, nn.Parameter], lessons: Mapping[str, nn.Module], group: Group, limit: float) -> None:
    """Shorten the gradient, all parameters of all processes together, to this Euclidean norm."""
    gradients = {name: each.grad for name, each in parameters.items() if each.grad is not None}
    cut = {"head.weight"} if isinstance(lessons.get("head"), ShardedHead) else set()
    whole = torch.nn.utils.get_total_norm([grad for name, grad in gradients.items() if name not in cut])
    if cut:
        elsewhere = torch.stack([gradients[name].square().sum() for name in sorted(cut)])
        group.add([elsewhere])
        whole = (whole.square() + elsewhere.sum()).sqrt()
    torch.nn.utils.clip_grads_with_norm_(parameters.values(), limit, whole)


def _validate(network: nn.Module, strangers: Faces, config: Config, device: torch.device) -> Validation:
    """Embed people who are not in the training set, without augmentation, and measure."""
    network.eval()
    embedded = []
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=_in_bfloat16(config)),
    ):
        for start in range(0, len(strangers.labels), VALIDATION_BATCH):
            faces = strangers.read(np.arange(start, min(start + VALIDATION_BATCH, len(strangers.labels))))
            crops = torch.from_numpy(centre_crops(faces, config.input_size)).to(device)
            embedded.append(functional.normalize(network(normalised(crops)).float()))
    return validate(torch.cat(embedded).numpy(force=True), strangers.labels)


def _whole_state(lesson: nn.Module) -> dict[str, Tensor]:
    """State as one process has it, so that a run may go on with any number of them."""
    return lesson.whole_state() if isinstance(lesson, ShardedHead) else lesson.state_dict()


def _load_lessons(lessons: Mapping[str, nn.Module], checkpoint: Checkpoint) -> None:
    for name, lesson in lessons.items():
        state = getattr(checkpoint, name)
        if isinstance(lesson, ShardedHead):
            lesson.load_whole_state(state)
        else:
            lesson.load_state_dict(state)


def _whole_momentum(lessons: Mapping[str, nn.Module], momentum: dict[str, Tensor]) -> dict[str, Tensor]:
    head = lessons.get("head")
    if not isinstance(head, ShardedHead):
        return momentum
    return {name: head.whole(buffer) if name == "head.weight" else buffer for name, buffer in momentum.items()}


def _own_momentum(lessons: Mapping[str, nn.Module], momentum: dict[str, Tensor]) -> dict[str, Tensor]:
    head = lessons.get("head")
    if not isinstance(head, ShardedHead):
        return momentum
    return {name: head.part(buffer) if name == "head.weight" else buffer for name, buffer in momentum.items()}


def _diverged(step: int, losses: list[float], rate: float, schedules: Mapping[str, float], checkpoint: Path) -> str:
    before = ", ".join(f"{loss:.3g}" for loss in losses[-6:-1]) or "none since the last line of the log"
    state = "".join(f", {name} {value:.3g}" for name, value in schedules.items())
    return (
        f"the loss is {losses[-1]} at step {step} (learning rate {rate:.3g}{state}; losses before: {before}).\n"
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
