"""Runs networks with ONNX Runtime, in float32: imported ones anywhere, our own on the processor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faceid.inference import onnx_session
from faceid.inference.onnx_session import Session, SessionError, in_parts
from faceid.models.backends import Network
from faceid.models.model_file import ONNX, Model, ModelError

MAX_BATCH = 1024  # of a network that was exported with a fixed one
CHUNK = 8  # crops in one run of a network that takes any number: larger ones are no faster, and leave cores idle


def load(model: Model, device: str) -> Network:
    """Load the model's network.

    Raises ModelError when ONNX Runtime is missing, lacks the device, or refuses the network.
    """
    session = open_session(model.onnx_bytes(), str(model.path), device)
    return run_with(session, fixed_batch(model))


def fixed_batch(model: Model) -> int | None:
    """Return how many crops the network takes at a time; None: any number."""
    batch = model.spec.arguments.get("batch") if model.spec.architecture == ONNX else None
    if batch is not None and not (isinstance(batch, int) and 1 <= batch <= MAX_BATCH):
        raise ModelError(f"{model.path}: a batch of {batch!r} makes no sense; import the network again")
    return batch


def open_session(network: bytes, source: str, device: str = "cpu") -> Session:
    """Open a session for these ONNX bytes on `cpu`, `cuda` or `cuda:N`; `source` is for the error texts."""
    try:
        return onnx_session.open_session(network, device)
    except SessionError as error:
        raise ModelError(f"{source}: {error}") from error


def run_with(session: Session, batch: int | None) -> Network:
    """Return the network of a session that takes `batch` crops at a time, no more and no fewer; None: any number."""
    input_name = session.get_inputs()[0].name
    output_name = session.get_outputs()[0].name
    on_processor = session.get_providers()[0] == "CPUExecutionProvider"

    def run_once(crops: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            embeddings = session.run([output_name], {input_name: crops})[0]
        except Exception as error:  # its kinds have no root but this
            raise RuntimeError(str(error)) from error
        if embeddings.shape[:1] != crops.shape[:1]:  # whose they are nobody could say
            raise RuntimeError(f"it gives an output of {list(embeddings.shape)} for {len(crops)} crops")
        return np.asarray(embeddings, dtype=np.float32)

    def run(crops: NDArray[np.float32]) -> NDArray[np.float32]:
        if batch is None and not on_processor:
            return run_once(crops)
        chunk = batch or CHUNK
        parts = [crops[start : start + chunk] for start in range(0, max(1, len(crops)), chunk)]
        rows = in_parts(run_once, parts if batch is None else [filled(part, batch) for part in parts if len(part)])
        return np.concatenate(rows)[: len(crops)]

    return run


def filled(crops: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """Return the crops, repeated up to a whole batch."""
    return crops if len(crops) == batch else np.resize(crops, (batch, *crops.shape[1:]))
