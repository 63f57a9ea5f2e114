"""A training run as a YAML file: every key is known and typed, and a key that is not known is an error."""

import dataclasses
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from training.augment import Augmentation
from training.device_augment import refusal
from training.errors import ConfigError

MAX_CONFIG_BYTES = 2**20


@dataclass(frozen=True)
class DataConfig:
    """Which faces. `training.data.opening` says what paths may be.

    Relative paths, here and in the rest of a config, start at the config file's folder; $NAME is taken from the
    environment, and ~ is the home folder.

    Attributes:
        training: faces of the people to learn.
        validation: faces of other people, for the figures of the log.
        side: height and width of each face.
        only_faces: leave out crops that show no face, in training and validation (of packs).
        unlabelled: faces of whom nobody knows whom they show, in packs: for the teacher alone, mixed into every batch.
        leave_out: names of faces to leave out, of those to learn and the unlabelled, as `faceid train clean` lists
            them.
        fewest_photos: people with fewer training faces are left out.
    """

    training: tuple[Path, ...]
    validation: tuple[Path, ...]
    unlabelled: tuple[Path, ...] = ()
    side: int = 120
    only_faces: bool = True
    leave_out: Path | None = None
    fewest_photos: int = 0


@dataclass(frozen=True)
class PartConfig:
    """A network or a head: its name, and what its builder takes."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DistillConfig:
    """Learning from a better network.

    Attributes:
        teacher: a model's name (`faceid models list`) or the path of its file; or else
        targets: what a teacher made of the faces, as `faceid train targets` wrote it: nobody needs the teacher then.
        weight: factor on 1 - cos(embedding, teacher's embedding); the head's loss is added as it is.
        components: match the teacher along this many axes that carry most of it (`training.distillation.even_axes`), a
            power of two; 0 matches all of its numbers. Targets have been cut to theirs.
        mirrored: the target is the teacher's sum over a crop and its mirror image; else the crop's alone, in half the
            time. Targets have been made one way or the other.
    """

    teacher: str | None = None
    targets: Path | None = None
    weight: float = 1.0
    components: int = 0
    mirrored: bool = True


@dataclass(frozen=True)
class ClassShardConfig:
    """Class centres spread over the processes, see `training.class_shards`.

    Attributes:
        sampling_rate: share of the classes that a step uses, above 0; 1 uses all.
    """

    sampling_rate: float = 1.0


@dataclass(frozen=True)
class OptimiserConfig:
    """SGD with momentum; the rate rises over `warmup_epochs`, then falls along half a cosine.

    Attributes:
        peak_rate: the highest learning rate.
        momentum: of SGD.
        weight_decay: on matrices and filters, not on biases, norms or PReLU slopes.
        warmup_epochs: length of the rise.
        clip_norm: the gradient's largest Euclidean norm, all parameters together; 0 does not clip.
    """

    peak_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: float = 1.0
    clip_norm: float = 0.0


@dataclass(frozen=True)
class Config:
    """A whole run.

    Attributes:
        name: of the run and of its model.
        data: the faces.
        network: see `faceid.models.networks.build_network`.
        head: see `training.heads.build_head`; none where `distill` alone teaches, without labels.
        distill: the teacher, where there is one.
        initial: checkpoint of another run whose network this one starts from, and whose class centres, where the heads
            are of unit weights; its input may have been smaller. Or a model file, for the network alone. Where its
            embeddings have another dimension, or nobody knows which of the teacher's axes they match (a model file does
            not tell), the linear layer begins anew: at the least-squares fit to the teacher.
        cache: folder for the teacher's embeddings, where runs share them; by default they lie with the run.
        epochs: passes over the training faces; the last, incomplete batch of a pass is left out.
        batch_size: faces a step.
        optimiser: SGD and the learning rate.
        augmentation: chance in the crops.
        ema: share of the averaged weights that a step keeps (0.999, say): they are what is validated and
            exported. 0 averages nothing.
        seed: of everything that is drawn.
        precision: "float32", or "bfloat16" for autocast of the network; the head is always float32. "auto" takes
            bfloat16 where the processor or GPU multiplies in it, for runs that go on on one machine or another.
        device: "cpu" or "cuda"; with torchrun each process takes a GPU of its own.
        threads: CPU threads, each with its share of a batch (and of BatchNorm's view); 1 on a GPU.
        compiled: fuse the network's operations by `torch.compile`: faster after a minute or two of compiling, which
            needs g++ on a processor.
        on_device: keep all faces in the device's memory and augment them there, where JPEG is not to be had.
        workers: processes that read and augment ahead; 0 leaves it to the threads. They change no result.
        mislabelled: share of the training faces, drawn at random, whose labels are shuffled among them: what a loss
            makes of noisy labels.
        photos_per_identity: 0 takes each face once an epoch; k draws identities, and k photos of each, for a batch.
        class_shards: spread the class centres over the processes of torchrun.
        tensorboard: write event files for TensorBoard, beside the CSV files.
        checkpoint_steps: steps between two checkpoints, which is what a kill can lose.
        validation_steps: steps between two validations.
        log_steps: steps between two lines of the log.
    """

    name: str
    data: DataConfig
    network: PartConfig
    epochs: int
    batch_size: int
    head: PartConfig | None = None
    distill: DistillConfig | None = None
    initial: Path | None = None
    cache: Path | None = None
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    ema: float = 0.0
    seed: int = 1
    precision: str = "float32"
    device: str = "cpu"
    threads: int = 2
    compiled: bool = False
    on_device: bool = False
    workers: int = 0
    mislabelled: float = 0.0
    photos_per_identity: int = 0
    class_shards: ClassShardConfig | None = None
    tensorboard: bool = False
    checkpoint_steps: int = 200
    validation_steps: int = 1000
    log_steps: int = 20

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        height, width = self.network.arguments["input_size"]
        return int(height), int(width)


def read_config(path: Path) -> Config:
    """Read and check a config.

    Raises:
        ConfigError: no such file, not YAML, an unknown or missing key, a value of the wrong type or range.
    """
    record = read_yaml(path)
    try:
        return config_of(record, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def read_yaml(path: Path) -> Any:
    """Read a YAML file of at most MAX_CONFIG_BYTES; ConfigError where it cannot be."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(
                f"cannot read the config {path}: it is missing, no regular file, or too large for a config"
            )
        return yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
    # ValueError: numbers and dates that are none, and text that is not UTF-8; RecursionError: brackets without end.
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the config {path}: {error}") from error


class _PlainLoader(yaml.SafeLoader):
    """Without aliases: a few lines of them unfold to gigabytes, or lead in a circle."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node; refuse one that stands for another."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"line {mark.line + 1}: an alias (*name); write out what it stands for")
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping; refuse a key that comes twice, of which YAML would take the last without a word."""
        node = super().compose_mapping_node(anchor)
        known: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in known:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {key.value} is there twice")
            known.add(str(key.value))
        return node


# To YAML 1.1 a number without a dot, or without a sign in its exponent, is a text.
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$", re.ASCII),
    list("-+.0123456789"),
)


def config_of(record: Any, folder: Path) -> Config:
    """Check a config that was read from YAML; its relative paths start at `folder`. Raises ConfigError."""
    config = _typed(record)
    _check_ranges(config)
    data = dataclasses.replace(
        config.data,
        training=tuple(folder / pack for pack in config.data.training),
        validation=tuple(folder / pack for pack in config.data.validation),
        unlabelled=tuple(folder / pack for pack in config.data.unlabelled),
        leave_out=None if config.data.leave_out is None else folder / config.data.leave_out,
    )
    distill = config.distill
    if distill is not None and distill.targets is not None:
        distill = dataclasses.replace(distill, targets=folder / distill.targets)
    beside = {key: folder / path for key in ("initial", "cache") if (path := getattr(config, key)) is not None}
    return dataclasses.replace(config, data=data, distill=distill, **beside)


def to_record(config: Config) -> dict[str, Any]:
    """Turn the config into plain JSON, to be kept beside the weights it made."""
    record: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dataclasses.asdict(config), enc_hook=str))
    return record


def _check_ranges(config: Config) -> None:
    for key, number in _numbers(dataclasses.asdict(config), ""):
        if not math.isfinite(number):
            raise ConfigError(f"{key} must be a finite number, not {number}")
    if config.precision not in ("float32", "bfloat16", "auto"):
        raise ConfigError(f"precision is float32, bfloat16 or auto, not {config.precision!r}")
    if config.head is None and config.distill is None:
        raise ConfigError("nothing to learn from: give a head, a distill section, or both")
    if config.distill is not None and (config.distill.teacher is None) == (config.distill.targets is None):
        raise ConfigError("distill: give a teacher, or the targets that one made; not both")
    if config.distill is not None and config.distill.targets is not None and config.distill.components:
        raise ConfigError("distill.components goes with a teacher; targets have been cut to theirs")
    if not 0 <= config.ema < 1:
        raise ConfigError(f"ema lies in 0..1, below 1, not {config.ema}")
    if "input_size" not in config.network.arguments:
        raise ConfigError("network.arguments needs input_size: [height, width]")
    size = config.network.arguments["input_size"]
    if not (isinstance(size, list) and len(size) == 2 and all(type(each) is int and each > 0 for each in size)):
        raise ConfigError(f"network.arguments.input_size is [height, width] in pixels, not {size!r}")
    if config.device not in ("cpu", "cuda"):
        raise ConfigError(f"device is cpu or cuda, not {config.device!r}")
    if config.device == "cuda" and config.threads != 1:
        raise ConfigError("threads must be 1 on a GPU: its batch is not cut into shares")
    if config.on_device and (why := refusal(config.input_size, config.augmentation)) is not None:
        raise ConfigError(f"on_device: {why}")
    if config.class_shards is not None and not 0 < config.class_shards.sampling_rate <= 1:
        raise ConfigError(
            f"class_shards.sampling_rate lies above 0, at most 1, not {config.class_shards.sampling_rate}"
        )
    if config.class_shards is not None and config.head is None:
        raise ConfigError("class_shards needs a head, whose classes are to be spread")
    if not 0 <= config.mislabelled <= 1:
        raise ConfigError(f"mislabelled is a share, 0..1, not {config.mislabelled}")
    photos = config.photos_per_identity
    if config.workers < 0 or photos < 0:
        raise ConfigError("workers and photos_per_identity are 0 or more")
    if photos and config.data.unlabelled:
        raise ConfigError("photos_per_identity draws people: it does not go with data.unlabelled")
    if config.data.unlabelled and config.distill is None:
        raise ConfigError("data.unlabelled needs a distill section: nobody else says what these faces are")
    if photos and (config.batch_size % photos or config.batch_size < 2 * photos):
        raise ConfigError(f"a batch of {config.batch_size} does not hold {photos} photos each of two people or more")
    for name in ("epochs", "batch_size", "threads", "checkpoint_steps", "validation_steps", "log_steps"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be 1 or more, not {getattr(config, name)}")
    if config.data.side < 1:
        raise ConfigError(f"data.side must be 1 or more, not {config.data.side}")
    if not 0 <= config.seed < 2**63:
        raise ConfigError(f"seed must be 0 or more, and below 2^63, not {config.seed}")
    for name, number in dataclasses.asdict(config.optimiser).items():
        if number < 0:
            raise ConfigError(f"optimiser.{name} must be 0 or more, not {number}")


def _numbers(values: Any, where: str) -> Iterator[tuple[str, float]]:
    """Yield every float in nested mappings and lists, with its key."""
    if isinstance(values, float):
        yield where, values
    elif isinstance(values, dict | list | tuple):
        inner = values.items() if isinstance(values, dict) else enumerate(values)
        for key, value in inner:
            yield from _numbers(value, f"{where}.{key}" if where else str(key))


def _typed(record: Any) -> Config:
    """Turn what YAML gave into a config; raises ConfigError with the key."""
    try:
        config = msgspec.convert(record, Config, dec_hook=_path)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        where = place.rstrip("`") or "the file as a whole"
        raise ConfigError(f"{where}: {what}") from error
    _check_keys(record, to_record(config), "")
    return config


def _path(kind: type, value: Any) -> Any:
    if kind is not Path or not isinstance(value, str):
        raise ValueError(f"Expected the path of a file, got {value!r}")
    path = os.path.expanduser(os.path.expandvars(value))  # noqa: PTH111 - without a home it stays as it is
    if not path:  # of a variable that is empty: it would mean the config's own folder
        raise ValueError(f"Expected the path of a file, got {value!r}, which is empty")
    return Path(path)


def _check_keys(given: dict[str, Any], known: dict[str, Any], where: str) -> None:
    """Raise ConfigError for a key that no config has: msgspec passes over those of a dataclass."""
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"unknown key {where + str(key)!r}; known are {', '.join(known)}")
        if isinstance(value, dict):
            _check_keys(value, known[key], f"{where}{key}.")
