"""Brings other people's ONNX networks into our model format, after running them once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceid.inference.onnx_reading import WrongNetwork, check_network
from faceid.inference.onnx_session import Session
from faceid.models.backends.onnxruntime_backend import MAX_BATCH, open_session, run_with
from faceid.models.model_file import MAX_DIMENSION, ONNX, Colour, Flip, ModelError, ModelSpec
from faceid.models.onnx_adapting import BYTES, FLOAT, HALF, adapted
from faceid.models.trial_crops import trial_crops
from faceid.vision.alignment import reference_points
from indexer.regular_file import read_regular

MAX_ONNX_BYTES = 2**31 - 1  # what protobuf can hold in one message
_NO_MEMORY = "bad_alloc"  # in what ONNX Runtime says


def read_onnx(
    source: Path,
    name: str,
    *,
    input_size: tuple[int, int] | None = None,
    output: str | None = None,
    colour: Colour = "rgb",
    mean: float = 127.5,
    std: float = 128.0,
    flip: Flip = "none",
    points: NDArray[np.float32] | None = None,
    licence: str = "unknown",
    training_data: str = "unknown",
) -> tuple[ModelSpec, NDArray[np.uint8]]:
    """Check a face network in ONNX and describe it: the spec, and its bytes as the tensor to store.

    The network must take one input [B, 3, H, W] or [B, H, W, 3] of float32, float16 or bytes, and give [B, D] in
    float32 or float16; further axes of 1 and a fixed B are possible. Where it is not float32 [B, 3, H, W] to float32
    [B, D], the difference is bridged in the bytes that are returned (`onnx_adapting`). Of several outputs, `output`
    names the one to use. Bytes are pixels 0 to 255: `mean` and `std` are then 0 and 1, for such networks normalise
    themselves. Else a `std` below 1 is one of pixels from 0 to 1, and refused. It is run on drawn faces and must give
    finite values. `input_size` (height, width) may be left out where the network states it. Raises ModelError when any
    of this does not hold.
    """
    network = _read_bytes(source)
    session = open_session(network, str(source))
    given = _input(source, session, input_size)
    wanted = _output(source, session, output)
    if given.size is None:
        raise ModelError(f"{source}: the network does not state its input size; give it, such as --input 112x112")
    if given.kind == BYTES:
        mean, std = 0.0, 1.0
    if std < 1:
        raise ModelError(
            f"{source}: pixels are 0 to 255, and a std of {std:g} is that of pixels from 0 to 1; "
            f"give 255 times as much: a mean of {255 * mean:g} and a std of {255 * std:g}"
        )
    crops = _crops(given.size, colour, mean, std)
    if given.kind != FLOAT or given.channels_last or wanted.kind != FLOAT or wanted.rank != 2 or wanted.among_several:
        network = adapted(
            network,
            given=(given.name, given.kind),
            wanted=(wanted.name, wanted.rank),
            channels_last=given.channels_last,
            size=given.size,
            batch=given.batch,
        )
        session = open_session(network, str(source))
    batch, dimension = _try(source, session, given.batch, crops, wanted.dimension)
    spec = ModelSpec(
        name=name,
        architecture=ONNX,
        arguments={"batch": batch},
        input_size=given.size,
        colour=colour,
        mean=mean,
        std=std,
        reference_points=_usual_points(source, given.size) if points is None else points,
        flip=flip,
        dimension=2 * dimension if flip == "concat" else dimension,
        training_data=training_data,
        licence=licence,
    )
    return spec, np.frombuffer(network, dtype=np.uint8)


def _read_bytes(source: Path) -> bytes:
    """Read the file; refuse what is no network, and one of which a part lies elsewhere."""
    try:
        network = read_regular(source, MAX_ONNX_BYTES)
        check_network(network)
        return network
    except OSError as error:
        raise ModelError(f"{source}: cannot be read ({error.strerror or error})") from error
    except WrongNetwork as error:
        raise ModelError(f"{source}: {error}") from error


@dataclass(frozen=True)
class _Input:
    """The network's input: name, element type, batch and (height, width) if not free; whether channels come last."""

    name: str
    kind: str
    batch: int | None
    size: tuple[int, int] | None
    channels_last: bool


@dataclass(frozen=True)
class _Output:
    """The output that gives the embeddings: its name, element type, number of axes, and length of a row if stated."""

    name: str
    kind: str
    rank: int
    dimension: int | None
    among_several: bool


def _input(source: Path, session: Session, wanted: tuple[int, int] | None) -> _Input:
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in (FLOAT, HALF, BYTES) or len(inputs[0].shape) != 4:
        raise ModelError(
            f"{source}: a face network takes one input [batch, 3, height, width] of float32, float16 or uint8; "
            f"found {_described(inputs)}"
        )
    shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
    batch, channels_last = shape[0], shape[1] != 3 and shape[3] == 3
    if batch is not None and not 1 <= batch <= MAX_BATCH:
        raise ModelError(f"{source}: the network takes {batch} crops at a time; 1 to {MAX_BATCH} are possible")
    channels, (height, width) = (shape[3], shape[1:3]) if channels_last else (shape[1], shape[2:])
    if channels not in (3, None):
        raise ModelError(f"{source}: the input must have 3 channels, not {inputs[0].shape}")
    own = (height, width) if height is not None and width is not None else None
    if wanted is not None and any(side not in (None, want) for side, want in zip((height, width), wanted, strict=True)):
        raise ModelError(f"{source}: the network takes {height}x{width} (height x width), not {wanted[0]}x{wanted[1]}")
    return _Input(inputs[0].name, inputs[0].type, batch, wanted or own, channels_last)


def _output(source: Path, session: Session, name: str | None) -> _Output:
    outputs = session.get_outputs()
    named = [each for each in outputs if each.name == name] if name is not None else outputs
    if not named:
        raise ModelError(f"{source}: there is no output {name!r}; it gives {_described(outputs)}")
    if len(named) > 1:
        raise ModelError(
            f"{source}: the network has several outputs; name the one with the embeddings with --output: "
            f"{_described(outputs)}"
        )
    found = named[0]
    shape = [side if isinstance(side, int) else None for side in found.shape]
    long = [side for side in shape[1:] if side != 1]
    if found.type not in (FLOAT, HALF) or len(shape) < 2 or (len(shape) > 2 and len(long) > 1):
        raise ModelError(
            f"{source}: a face network gives one row of numbers a face, [batch, dimension] in float32 or float16; "
            f"found {_described(named)}"
        )
    dimension = (long[0] if long else 1) if len(shape) > 2 else shape[1]
    return _Output(found.name, found.type, len(shape), dimension, len(outputs) > 1)


def _described(values: Sequence[Any]) -> str:
    return "; ".join(f"{each.name} {each.type} {each.shape}" for each in values)


def _usual_points(source: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    try:
        return reference_points(*size)
    except ValueError as error:
        raise ModelError(f"{source}: {error}") from error


def _crops(size: tuple[int, int], colour: Colour, mean: float, std: float) -> NDArray[np.float32]:
    faces = trial_crops(*size)
    ordered = faces if colour == "rgb" else faces[..., ::-1]
    return np.ascontiguousarray((ordered.transpose(0, 3, 1, 2).astype(np.float32) - mean) / std, np.float32)


def _try(
    source: Path, session: Session, batch: int | None, crops: NDArray[np.float32], stated: int | None
) -> tuple[int | None, int]:
    """Run the network; return the batch it truly takes (None: any) and the dimension of what it gives."""
    try:
        alone = run_with(session, batch or 1)(crops)
    except RuntimeError as error:
        height, width = crops.shape[2:]
        reason = "it takes more memory than a network may" if _NO_MEMORY in str(error) else error
        raise ModelError(f"{source}: the network fails on a {height}x{width} crop: {reason}") from error
    if alone.ndim != 2 or alone.shape[0] != len(crops) or alone.shape[1] != (stated or alone.shape[1]):
        raise ModelError(f"{source}: three crops gave an output of shape {alone.shape}, not [3, {stated or 'D'}]")
    if not 2 <= alone.shape[1] <= MAX_DIMENSION:  # a direction in one dimension is a sign
        raise ModelError(f"{source}: {alone.shape[1]} values a face; 2 to {MAX_DIMENSION} are possible")
    if not np.isfinite(alone).all():
        raise ModelError(f"{source}: the network gives values that are not finite")
    if np.array_equal(alone[0], alone[1]):
        raise ModelError(f"{source}: the network gives the same values for two different crops")
    if not _alike(run_with(session, batch or 1)(crops), alone):
        raise ModelError(f"{source}: the network gives other values for the same crops the second time: it draws lots")
    if batch is not None:
        if not _alike(run_with(session, batch)(crops[:1]), alone[:1]):
            raise ModelError(f"{source}: what the network gives for a crop depends on the {batch - 1} beside it")
        return batch, alone.shape[1]
    try:
        together = run_with(session, None)(crops)
    except RuntimeError:  # some exporters call the batch free, yet a Reshape inside fixes it
        return 1, alone.shape[1]
    return (None if _alike(together, alone) else 1), alone.shape[1]


def _alike(found: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    return found.shape == expected.shape and np.allclose(found, expected, 1e-3, 1e-4 * np.abs(expected).max())
