"""Runs imported ONNX networks with ONNX Runtime, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceid.models.backends import Network
from faceid.models.cpu_features import available_cores
from faceid.models.model_file import Model, ModelError

Session = Any  # an onnxruntime.InferenceSession; the package has no types

MAX_BATCH = 1024  # of a network that was exported with a fixed one


def load(model: Model, device: str) -> Network:
    """Load the model's network.

    Raises ModelError when ONNX Runtime is missing, lacks the device, or refuses the network.
    """
    session = open_session(model.onnx_bytes(), str(model.path), device)
    return run_with(session, fixed_batch(model))


def fixed_batch(model: Model) -> int | None:
    """Return how many crops the imported network takes at a time; None: any number."""
    batch = model.spec.arguments.get("batch")
    if batch is not None and not (isinstance(batch, int) and 1 <= batch <= MAX_BATCH):
        raise ModelError(f"{model.path}: a batch of {batch!r} makes no sense; import the network again")
    return batch


def open_session(network: bytes, source: str, device: str = "cpu") -> Session:
    """Open a session for these ONNX bytes on `cpu`, `cuda` or `cuda:N`; `source` is for the error texts."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            f"{source}: an imported network needs ONNX Runtime; pip install 'faceid-engine[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: it warns on stderr about what it then tidies up itself
    options.intra_op_num_threads = available_cores()
    # Threads that wait busily cost twice the CPU time, and half the speed when the machine has other work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":
        # Without TF32, so that float32 means float32. Without the check after it, the CPU would quietly stand in.
        number = device.partition(":")[2] or "0"
        providers = [("CUDAExecutionProvider", {"device_id": number, "use_tf32": "0"})]
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ModelError(f"{source}: this ONNX Runtime has no CUDA; install onnxruntime-gpu or use --device cpu")
    try:
        session = onnxruntime.InferenceSession(network, options, providers=providers)
    except Exception as error:  # it raises a dozen kinds without a common root of its own
        raise ModelError(f"{source}: ONNX Runtime refuses the network: {error}") from error
    if device != "cpu" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise ModelError(
            f"{source}: ONNX Runtime could not start CUDA on {device}; check the driver or use --device cpu"
        )
    return session


def run_with(session: Session, batch: int | None) -> Network:
    """Return the network of a session that takes `batch` crops at a time, no more and no fewer; None: any number."""
    input_name = session.get_inputs()[0].name
    output_name = session.get_outputs()[0].name

    def run_once(crops: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            embeddings = session.run([output_name], {input_name: crops})[0]
        except Exception as error:  # its kinds have no root but this
            raise RuntimeError(str(error)) from error
        return np.asarray(embeddings, dtype=np.float32)

    def run(crops: NDArray[np.float32]) -> NDArray[np.float32]:
        if batch is None:
            return run_once(crops)
        rows = [run_once(filled(crops[start : start + batch], batch)) for start in range(0, len(crops), batch)]
        return np.concatenate(rows)[: len(crops)]

    return run


def filled(crops: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """Return the crops, repeated up to a whole batch."""
    return crops if len(crops) == batch else np.resize(crops, (batch, *crops.shape[1:]))
