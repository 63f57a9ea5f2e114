"""Brings other people's ONNX networks into our model format, after running them once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faceid.inference.onnx_session import Session
from faceid.models.backends.onnxruntime_backend import MAX_BATCH, open_session, run_with
from faceid.models.model_file import MAX_DIMENSION, ONNX, Colour, Flip, ModelError, ModelSpec
from faceid.vision.alignment import reference_points

MAX_ONNX_BYTES = 2**31 - 1  # what protobuf can hold in one message


def read_onnx(
    source: Path,
    name: str,
    *,
    input_size: tuple[int, int] | None = None,
    colour: Colour = "rgb",
    mean: float = 127.5,
    std: float = 128.0,
    flip: Flip = "none",
    points: NDArray[np.float32] | None = None,
    licence: str = "unknown",
    training_data: str = "unknown",
) -> tuple[ModelSpec, NDArray[np.uint8]]:
    """Check a face network in ONNX and describe it: the spec, and its bytes as the tensor to store.

    The network must take one float32 input [B, 3, H, W] and give one output [B, D]; B may be fixed. It is run on a
    zero and on random crops and must give finite values. `input_size` (height, width) may be left out where the
    network states it. Raises ModelError when any of this does not hold.
    """
    network = _read_bytes(source)
    _refuse_external_data(source, network)
    session = open_session(network, str(source))
    batch, size = _input(source, session, input_size)
    dimension = _output(source, session)
    size = size if input_size is None else input_size
    if size is None:
        raise ModelError(f"{source}: the network does not state its input size; give it, such as --input 112x112")
    batch, dimension = _try(source, session, batch, size, dimension)
    spec = ModelSpec(
        name=name,
        architecture=ONNX,
        arguments={"batch": batch},
        input_size=size,
        colour=colour,
        mean=mean,
        std=std,
        reference_points=_usual_points(source, size) if points is None else points,
        flip=flip,
        dimension=2 * dimension if flip == "concat" else dimension,
        training_data=training_data,
        licence=licence,
    )
    return spec, np.frombuffer(network, dtype=np.uint8)


def _read_bytes(source: Path) -> bytes:
    try:
        if source.stat().st_size > MAX_ONNX_BYTES:
            raise ModelError(f"{source}: larger than any ONNX file can be (2 GB)")
        return source.read_bytes()
    except OSError as error:
        raise ModelError(f"{source}: cannot be read ({error.strerror or error})") from error


def _refuse_external_data(source: Path, network: bytes) -> None:
    """Refuse a network whose weights lie in other files: one digest must cover all of it."""
    try:
        import onnx
        from onnx.external_data_helper import uses_external_data
    except ImportError as error:
        raise ModelError(f"{source}: importing needs onnx; pip install 'faceid-engine[onnx]'") from error
    try:
        graph = onnx.load_model_from_string(network).graph
    except Exception as error:  # protobuf's DecodeError, whose place differs between its versions
        raise ModelError(f"{source}: torn or no ONNX file ({error})") from error
    if any(map(uses_external_data, graph.initializer)):
        raise ModelError(
            f"{source}: its weights are in separate files (external data); save it as one file first: "
            "onnx.save(onnx.load(PATH), ONE_FILE, save_as_external_data=False)"
        )


def _input(source: Path, session: Session, wanted: tuple[int, int] | None) -> tuple[int | None, tuple[int, int] | None]:
    """Return the network's fixed batch and its fixed height and width; None where they are free."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        found = "; ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
        raise ModelError(f"{source}: a face network takes one float32 input [batch, 3, height, width]; found {found}")
    batch, channels, height, width = (side if isinstance(side, int) else None for side in inputs[0].shape)
    if batch is not None and not 1 <= batch <= MAX_BATCH:
        raise ModelError(f"{source}: the network takes {batch} crops at a time; 1 to {MAX_BATCH} are possible")
    if channels not in (3, None):
        layout = " (it looks channels-last; transpose it when exporting)" if width == 3 else ""
        raise ModelError(f"{source}: the input must have 3 channels after the batch, not {inputs[0].shape}{layout}")
    size = (height, width) if height is not None and width is not None else None
    if wanted is not None and any(own not in (None, want) for own, want in zip((height, width), wanted, strict=True)):
        raise ModelError(f"{source}: the network takes {height}x{width} (height x width), not {wanted[0]}x{wanted[1]}")
    return batch, size


def _output(source: Path, session: Session) -> int | None:
    """Return the length of the network's output rows; None where it does not state it."""
    outputs = session.get_outputs()
    if len(outputs) != 1 or outputs[0].type != "tensor(float)" or len(outputs[0].shape) != 2:
        found = "; ".join(f"{each.name} {each.type} {each.shape}" for each in outputs)
        raise ModelError(f"{source}: a face network gives one float32 output [batch, dimension]; found {found}")
    dimension = outputs[0].shape[1]
    return dimension if isinstance(dimension, int) else None


def _usual_points(source: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    try:
        return reference_points(*size)
    except ValueError as error:
        raise ModelError(f"{source}: {error}") from error


def _try(
    source: Path, session: Session, batch: int | None, size: tuple[int, int], stated: int | None
) -> tuple[int | None, int]:
    """Run the network; return the batch it truly takes (None: any) and the dimension of what it gives."""
    random = np.random.default_rng(0).normal(0, 0.5, (2, 3, *size)).astype(np.float32)
    crops = np.concatenate([np.zeros_like(random[:1]), random])
    try:
        alone = run_with(session, batch or 1)(crops)
    except RuntimeError as error:
        raise ModelError(f"{source}: the network fails on a {size[0]}x{size[1]} crop: {error}") from error
    if alone.ndim != 2 or alone.shape[0] != len(crops) or alone.shape[1] != (stated or alone.shape[1]):
        raise ModelError(f"{source}: three crops gave an output of shape {alone.shape}, not [3, {stated or 'D'}]")
    if not 1 <= alone.shape[1] <= MAX_DIMENSION:
        raise ModelError(f"{source}: {alone.shape[1]} values a face; 1 to {MAX_DIMENSION} are possible")
    if not np.isfinite(alone).all():
        raise ModelError(f"{source}: the network gives values that are not finite")
    if np.array_equal(alone[1], alone[2]):
        raise ModelError(f"{source}: the network gives the same values for two different crops")
    if batch is not None:
        return batch, alone.shape[1]
    try:
        together = run_with(session, None)(crops)
    except RuntimeError:  # some exporters call the batch free, yet a Reshape inside fixes it
        return 1, alone.shape[1]
    same = together.shape == alone.shape and np.allclose(together, alone, rtol=1e-3, atol=1e-4 * np.abs(alone).max())
    return (None if same else 1), alone.shape[1]
