"""A model file: safetensors with, as JSON in its header, all that one must know to embed with its weights.

Its SHA-256 is the model's digest, which galleries, templates and thresholds are bound to. Other people's ONNX
networks live in the same format: their bytes are the one tensor `onnx` (uint8), so there is one reader.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from faceid.inference.onnx_reading import WrongNetwork, check_network
from indexer.durable_file import writing
from indexer.errors import FaceIdError
from indexer.regular_file import open_regular

SUFFIX = ".safetensors"
FORMAT_VERSION = 1
HEADER_KEY = "faceid"  # the one entry of the safetensors `__metadata__`: the spec's record as JSON text
WEIGHTS_KEY = "weights_sha256"  # beside the spec in that record
DESCRIPTION_KEY = "description_sha256"  # of the record without it; older files have none
ONNX = "onnx"  # the architecture of imported networks, and the name of the tensor that holds their bytes

MAX_HEADER_BYTES = 16 * 2**20  # a real header takes kilobytes; the safetensors library would read 100 MB
MAX_FILE_BYTES = 4 * 2**30  # twice the largest ONNX file; what is larger is not hashed for minutes
MAX_DIMENSION = 16_384
MIN_SIDE, MAX_SIDE = 8, 1024  # pixels of a crop's side
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # safe as a file name, on case-blind disks too

_LARGEST = float(np.finfo(np.float32).max)

# Weights, BatchNorm's counters, the bytes of an ONNX network.
STORED_TYPES = (np.float32, np.float16, np.int64, np.uint8)

Colour = Literal["rgb", "bgr"]
Flip = Literal["none", "sum", "concat"]


class ModelError(FaceIdError):
    """A model that is missing, damaged, not one of ours, or that this machine cannot run."""


@dataclass(frozen=True)
class Accuracy:
    """One measured accuracy of a model.

    `value` is in the measure's own unit (rates in [0, 1]); `trials` and the 95 % interval where they are known.
    """

    measure: str  # such as "LFW 10-fold accuracy", "rank-1 among 4,069 distractors"
    value: float
    data: str  # what it was measured on
    date: str  # ISO 8601
    trials: int | None = None
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """What one must know to turn a photo into this model's embedding, and where the model comes from.

    A network sees `(v - mean) / std` of each 0..255 channel value, in `colour` order, as float32 [B, 3, H, W].
    `flip` says what becomes of the mirrored crop's features: unused, added, or appended. `dimension` is the length
    of the embedding that comes out (after the flip rule). `calibrations` are records of measured non-mated scores,
    the threshold table. Raises ModelError where a value is of the wrong type or makes no sense.
    """

    name: str
    architecture: str  # a name that `faceid.models.networks.build_network` knows, or "onnx"
    arguments: dict[str, Any]
    input_size: tuple[int, int]  # height, width
    colour: Colour
    mean: float
    std: float
    reference_points: NDArray[np.float32]  # [5, 2] x, y; read-only
    flip: Flip
    dimension: int
    head: str = "unknown"
    training_data: str = "unknown"
    accuracies: tuple[Accuracy, ...] = ()
    calibrations: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    licence: str = "unknown"

    def __post_init__(self) -> None:
        for text in ("name", "architecture", "head", "training_data", "licence"):
            _demand(isinstance(getattr(self, text), str), f"{text} must be text, not {getattr(self, text)!r}")
        check_name(self.name)
        _demand(
            isinstance(self.arguments, dict) and all(isinstance(key, str) for key in self.arguments),
            "arguments must be an object of named values",
        )
        _demand(
            isinstance(self.input_size, tuple)
            and len(self.input_size) == 2
            and all(_is_int(side) and MIN_SIDE <= side <= MAX_SIDE for side in self.input_size),
            f"input_size must be height and width, {MIN_SIDE} to {MAX_SIDE} pixels each, not {self.input_size!r}",
        )
        _demand(self.colour in get_args(Colour), f"colour must be rgb or bgr, not {self.colour!r}")
        _demand(self.flip in get_args(Flip), f"flip must be none, sum or concat, not {self.flip!r}")
        _demand(_is_number(self.mean), f"mean must be a finite number, not {self.mean!r}")
        _demand(
            _is_number(self.std) and float(np.float32(self.std)) > 0,
            f"std must be a finite number above 0, not {self.std!r}",
        )
        _demand(
            _is_int(self.dimension) and 1 <= self.dimension <= MAX_DIMENSION,
            f"dimension must be 1 to {MAX_DIMENSION}, not {self.dimension!r}",
        )
        _demand(
            self.flip != "concat" or self.dimension % 2 == 0,
            f"dimension must be even when the flipped crop's features are appended, not {self.dimension}",
        )
        object.__setattr__(self, "reference_points", _checked_points(self.reference_points, self.input_size))

    @property
    def network_dimension(self) -> int:
        """How many values the network gives for one crop, before the flip rule."""
        return self.dimension // 2 if self.flip == "concat" else self.dimension

    def to_record(self) -> dict[str, Any]:
        """Return the spec as JSON-able values, as they stand in a model file's header."""
        record: dict[str, Any] = {"format_version": FORMAT_VERSION}
        for each in fields(self):
            record[each.name] = getattr(self, each.name)
        record["input_size"] = list(self.input_size)
        # Through text: 38.2946 stays 38.2946 and does not become 38.29460144042969.
        record["reference_points"] = [[float(str(value)) for value in point] for point in self.reference_points]
        record["accuracies"] = [
            {each.name: getattr(accuracy, each.name) for each in fields(Accuracy)} for accuracy in self.accuracies
        ]
        record["calibrations"] = list(self.calibrations)
        return record

    @classmethod
    def from_record(cls, record: object) -> ModelSpec:
        """Read the spec from such a record; ModelError says which value is missing, unknown or wrong."""
        if not isinstance(record, dict):
            raise ModelError("the description must be an object")
        version = record.get("format_version")
        if version != FORMAT_VERSION:
            newer = isinstance(version, int) and version > FORMAT_VERSION
            raise ModelError(
                f"its format version is {version!r}, this program reads {FORMAT_VERSION}; "
                + ("update faceid" if newer else "an older program wrote it, or none of ours")
            )
        known = {each.name for each in fields(cls)}
        given = set(record) - {"format_version"}
        _demand(given <= known, f"unknown entries: {', '.join(sorted(map(str, given - known)))}")
        _demand(known <= given, f"missing entries: {', '.join(sorted(known - given))}")
        values = {name: record[name] for name in known}
        size = values["input_size"]
        values["input_size"] = tuple(size) if isinstance(size, list) else size
        values["accuracies"] = tuple(map(_accuracy, _list(record, "accuracies")))
        calibrations = _list(record, "calibrations")
        _demand(all(isinstance(each, dict) for each in calibrations), "calibrations must be objects")
        values["calibrations"] = tuple(calibrations)
        return cls(**values)


@dataclass(frozen=True, eq=False)
class Model:
    """A model file that was read and hashed; its weights are read from the disk when they are asked for."""

    spec: ModelSpec
    path: Path
    digest: str  # SHA-256 of the file, hex
    weights_digest: str  # SHA-256 of the weights that were written, hex
    _file: tuple[int, ...] = field(repr=False)  # which file was hashed: device, inode, size, time of change

    def stored_tensors(self) -> dict[str, NDArray[Any]]:
        """Read the weights by name, in the types they are stored in; ModelError unless it is the file hashed."""
        try:
            with safe_open(self.path, framework="numpy") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            unchanged = _file_identity(self.path.stat()) == self._file
        except (OSError, SafetensorError, TypeError, AttributeError) as error:
            raise ModelError(f"{self.path}: the weights cannot be read ({error})") from error
        if not unchanged:
            raise ModelError(f"{self.path}: the file changed while it was being used; run the command again")
        for name, tensor in tensors.items():
            if tensor.dtype not in STORED_TYPES:
                _refuse(self.path, f"the weights {name} are {tensor.dtype}; float32 or float16 is wanted")
        return tensors

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Read the weights by name as the network takes them: float16 widened to float32."""
        return {
            name: tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
            for name, tensor in self.stored_tensors().items()
        }

    def network_arguments(self) -> dict[str, Any]:
        """Return what one of our own networks is built with; ModelError where it was made for other crops."""
        described = self.spec.arguments.get("input_size", self.spec.input_size)
        if not isinstance(described, list | tuple) or tuple(described) != self.spec.input_size:
            raise ModelError(
                f"{self.path}: its network is built for {described!r}, its crops are {self.spec.input_size}"
            )
        return self.spec.arguments | {"input_size": self.spec.input_size}

    def onnx_bytes(self) -> bytes:
        """Return the network as ONNX: what was imported, byte for byte, or ours, made of the weights.

        Our own takes any number of normalised crops, and has the model's description among its metadata. Raises
        ModelError when the weights do not fit the architecture.
        """
        if self.spec.architecture == ONNX:
            return self._imported_bytes()
        from faceid.models.graphs import onnx_network

        description = {HEADER_KEY: json.dumps(self.spec.to_record(), allow_nan=False)}
        try:
            return onnx_network(self.spec.architecture, self.network_arguments(), self.tensors(), description)
        except (ValueError, ArithmeticError) as error:
            raise ModelError(f"{self.path}: the weights do not make a {self.spec.architecture}: {error}") from error

    def _imported_bytes(self) -> bytes:
        tensors = self.stored_tensors()
        network = tensors.get(ONNX)
        if set(tensors) != {ONNX} or network is None or network.dtype != np.uint8 or network.ndim != 1:
            raise ModelError(f"{self.path}: it holds no ONNX network; its architecture is {self.spec.architecture}")
        content = network.tobytes()
        try:
            check_network(content)  # the file need not have come by `models import`
        except WrongNetwork as error:
            raise ModelError(f"{self.path}: {error}") from error
        return content


def read_model(path: Path | str) -> Model:
    """Read, check and hash a model file; its weights are read again when they are asked for.

    Raises ModelError, naming the file, when it is missing, torn, no safetensors, has an oversized header or none of
    ours, when its description makes no sense, or when a bit of description or weights is not as it was written.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            _check_layout(path, status, file.read(8))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with safe_open(path, framework="numpy") as tensors:
            metadata = tensors.metadata() or {}
        unchanged = _file_identity(path.stat()) == _file_identity(status)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no such model file; `faceid models list` names those here") from error
    except OSError as error:
        raise ModelError(f"{path}: the model file cannot be read ({error.strerror or error})") from error
    except SafetensorError as error:
        _refuse(path, f"torn or no safetensors file ({error})")
    if not unchanged:
        raise ModelError(f"{path}: the file changed while it was being read; run the command again")
    if HEADER_KEY not in metadata:
        _refuse(path, "a safetensors file, but without a model's description in its header")
    try:
        record = json.loads(metadata[HEADER_KEY], parse_constant=_no_constant)
        sealed = isinstance(record, dict) and DESCRIPTION_KEY in record
        if sealed and record.pop(DESCRIPTION_KEY) != _description_digest(record):
            raise ModelError("its description is not the one that was written to it (a damaged disk or download)")
        weights_digest = record.pop(WEIGHTS_KEY, None) if isinstance(record, dict) else None
        if not isinstance(weights_digest, str):
            raise ModelError(f"missing entry: {WEIGHTS_KEY}")
        spec = ModelSpec.from_record(record)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"the description in its header is no JSON ({error})")
    except ModelError as error:
        _refuse(path, str(error))
    model = Model(spec, path, digest, weights_digest, _file_identity(status))
    if digest_of_weights(model.stored_tensors()) != weights_digest:
        _refuse(path, "its weights are not those that were written to it (a damaged disk or download)")
    return model


def write_model(path: Path | str, spec: ModelSpec, tensors: Mapping[str, NDArray[Any]]) -> Model:
    """Write a model file whole or not at all, and read it back.

    `tensors` are the network's state by name, float32 or float16 (uint8 for the bytes of an ONNX network). The
    same spec and tensors give the same bytes, so the same digest. Raises FileNotWritten.
    """
    path = Path(path)
    # safetensors writes a strided array's memory as it lies: without the copy the values would be scrambled.
    whole = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    record = spec.to_record() | {WEIGHTS_KEY: digest_of_weights(whole)}
    record[DESCRIPTION_KEY] = _description_digest(record)
    # One entry with all of it: several would be written in random order, and the digest would vary.
    content = save(whole, metadata={HEADER_KEY: json.dumps(record, sort_keys=True, allow_nan=False)})
    with writing(path) as temporary:
        temporary.write_bytes(content)
    return read_model(path)


def verify_weights(model: Model) -> None:
    """Raise ModelError when weights are not finite (that they are those that were written, reading has found)."""
    for name, tensor in model.stored_tensors().items():
        if not np.isfinite(tensor).all():
            _refuse(model.path, f"the weights {name} are not finite")


def check_name(name: str) -> None:
    """Raise ModelError unless the name is one a model may have (it becomes a file's name)."""
    if NAME_PATTERN.fullmatch(name) is None:
        raise ModelError(
            f"{name!r} is no name for a model; use a-z, 0-9, dot, dash and underscore, "
            "starting with a letter or digit, 64 characters at most"
        )


def _description_digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def digest_of_weights(tensors: Mapping[str, NDArray[Any]]) -> str:
    """Hash names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(json.dumps([name, tensor.dtype.str, tensor.shape]).encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _check_layout(path: Path, status: os.stat_result, start: bytes) -> None:
    """Check what the file says of its header's size before anything believes it (8 bytes, little-endian)."""
    if status.st_size > MAX_FILE_BYTES:
        _refuse(path, f"{status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
    if len(start) < 8:
        _refuse(path, "too short for a safetensors file")
    header = int.from_bytes(start, "little")
    if not 0 < header <= MAX_HEADER_BYTES or 8 + header > status.st_size:
        _refuse(path, f"torn or no safetensors file (its header claims {header} bytes)")


def _file_identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _refuse(path: Path, reason: str) -> NoReturn:
    raise ModelError(f"{path}: not a usable model file: {reason}. Copy, export or import the model again.")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _demand(condition: bool, text: str) -> None:
    if not condition:
        raise ModelError(text)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    """Whether it is one that float32 holds: networks compute in it, and a whole number may have any length."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _list(record: Mapping[str, Any], name: str) -> list[Any]:
    _demand(isinstance(record[name], list), f"{name} must be a list")
    values: list[Any] = record[name]
    return values


def _accuracy(record: object) -> Accuracy:
    """One record of the list `accuracies`."""
    nonsense = f"an entry of accuracies makes no sense: {record!r}"
    _demand(isinstance(record, dict), nonsense)
    values: dict[str, Any] = dict(record)  # type: ignore[call-overload]
    interval = values.get("ci95")
    if isinstance(interval, list):
        values["ci95"] = tuple(interval)
        _demand(len(interval) == 2 and all(map(_is_number, interval)), nonsense)
    else:
        _demand(interval is None, nonsense)
    try:
        accuracy = Accuracy(**values)
    except TypeError as error:
        raise ModelError(nonsense) from error
    _demand(all(isinstance(text, str) for text in (accuracy.measure, accuracy.data, accuracy.date)), nonsense)
    _demand(_is_number(accuracy.value) and (accuracy.trials is None or _is_int(accuracy.trials)), nonsense)
    return accuracy


def _checked_points(points: object, input_size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the points [5, 2] as a read-only array, after checks that they could be a face in the crop."""
    try:
        array = np.array(points, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError("reference_points must be 5 pairs of numbers") from error
    _demand(
        array.shape == (5, 2) and bool(np.isfinite(array).all()),
        "reference_points must be 5 pairs of numbers",
    )
    height, width = input_size
    inside = (array >= 0) & (array <= (width - 1, height - 1))
    _demand(bool(inside.all()), f"reference_points must lie inside the {height}x{width} input: {array.tolist()}")
    left_eye, right_eye, _, left_mouth, right_mouth = array
    upright = left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    upright = upright and max(left_eye[1], right_eye[1]) < min(left_mouth[1], right_mouth[1])
    _demand(
        bool(upright),
        "reference_points must be x, y of left eye, right eye, nose, left and right mouth corner, as seen: "
        f"{array.tolist()}",
    )
    array.flags.writeable = False
    return array
