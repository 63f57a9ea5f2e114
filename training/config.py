"""A training run as a YAML file: every key is known and typed, and a key that is not known is an error."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from training.augment import Augmentation
from training.errors import ConfigError


@dataclass(frozen=True)
class DataConfig:
    """Which packs; relative paths start at the config file's folder.

    Attributes:
        training: tar files of the people to learn.
        validation: tar files of other people, for the figures of the log.
        side: height and width of a packed face.
    """

    training: tuple[Path, ...]
    validation: tuple[Path, ...]
    side: int = 120


@dataclass(frozen=True)
class PartConfig:
    """A network or a head: its name, and what its builder takes."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


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
        data: the packs.
        network: see `faceid.networks.build_network`.
        head: see `training.heads.build_head`.
        epochs: passes over the training faces; the last, incomplete batch of a pass is left out.
        batch_size: faces a step.
        optimiser: SGD and the learning rate.
        augmentation: chance in the crops.
        seed: of everything that is drawn.
        precision: "float32", or "bfloat16" for autocast of the network; the head is always float32.
        threads: CPU threads, each with its share of a batch (and of BatchNorm's view).
        checkpoint_steps: steps between two checkpoints, which is what a kill can lose.
        validation_steps: steps between two validations.
        log_steps: steps between two lines of the log.
    """

    name: str
    data: DataConfig
    network: PartConfig
    head: PartConfig
    epochs: int
    batch_size: int
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 1
    precision: str = "float32"
    threads: int = 2
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
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the config {path}: {error}") from error
    try:
        config: Config = _build(Config, record, "")
        _check_ranges(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    folder = path.parent
    data = dataclasses.replace(
        config.data,
        training=tuple(folder / pack for pack in config.data.training),
        validation=tuple(folder / pack for pack in config.data.validation),
    )
    return dataclasses.replace(config, data=data)


def to_record(config: Config) -> dict[str, Any]:
    """Turn the config into plain JSON, to be kept beside the weights it made."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    record = plain(dataclasses.asdict(config))
    assert isinstance(record, dict)
    return record


def _check_ranges(config: Config) -> None:
    if config.precision not in ("float32", "bfloat16"):
        raise ConfigError(f"precision is float32 or bfloat16, not {config.precision!r}")
    if "input_size" not in config.network.arguments:
        raise ConfigError("network.arguments needs input_size: [height, width]")
    for name in ("epochs", "batch_size", "threads", "checkpoint_steps", "validation_steps", "log_steps"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be 1 or more, not {getattr(config, name)}")


def _build(kind: Any, value: Any, where: str) -> Any:
    """Turn a YAML value into `kind`: a dataclass, a tuple of something, a path or a scalar."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where or 'the config'} must be a mapping, not {value!r}")
        hints = get_type_hints(kind)
        unknown = [key for key in value if key not in hints]
        if unknown:
            raise ConfigError(f"unknown key {_join(where, unknown[0])!r}; known are {', '.join(hints)}")
        for item in dataclasses.fields(kind):
            required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            if required and item.name not in value:
                raise ConfigError(f"missing key {_join(where, item.name)!r}")
        arguments = {key: _build(hints[key], item, _join(where, key)) for key, item in value.items()}
        return kind(**arguments)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be a list, not {value!r}")
        return tuple(_build(get_args(kind)[0], item, where) for item in value)
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a mapping, not {value!r}")
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) in (int, float):
        return float(value)
    if type(value) is kind:
        return value
    raise ConfigError(f"{where} must be of type {kind.__name__}, not {value!r}")


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
