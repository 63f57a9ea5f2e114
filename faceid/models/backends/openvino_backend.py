"""Runs any model with OpenVINO on the processor, in float32 or bfloat16; the fastest way there is."""

from __future__ import annotations

import sys
import threading
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from faceid.inference.cpu_features import available_cores
from faceid.inference.onnx_session import threads_for
from faceid.models.backends import Network
from faceid.models.backends.onnxruntime_backend import filled, fixed_batch
from faceid.models.model_file import Model, ModelError

Untyped = Any  # the package has no types

TELEMETRY = "openvino_telemetry"
_IMPORTING = threading.Lock()

CHUNK = 8  # crops in one request of a network that takes any number; measured with sphereface20, 2 cores


def load(model: Model, precision: Literal["float32", "bfloat16"]) -> Network:
    """Load the model's network.

    Raises ModelError when OpenVINO is missing, refuses the network, or has no such precision on this processor.
    """
    openvino = _import_openvino(model)
    # Without the precision hint OpenVINO takes bfloat16 by itself where the processor has it. Several requests
    # at once, a core each, are half again to twice as fast as one after the other on all cores.
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_NUM_THREADS": threads_for(available_cores()),
    }
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(model.onnx_bytes()), "CPU", options)
    except RuntimeError as error:
        raise ModelError(f"{model.path}: OpenVINO refuses the network: {error}") from error
    chosen = compiled.get_property("INFERENCE_PRECISION_HINT")
    if chosen != (openvino.Type.bf16 if precision == "bfloat16" else openvino.Type.f32):
        raise ModelError(f"OpenVINO has no {precision} on this processor (it would use {chosen}); use float32")
    batch = fixed_batch(model)

    def run(crops: NDArray[np.float32]) -> NDArray[np.float32]:
        chunk = CHUNK if batch is None else batch
        starts = range(0, len(crops), chunk)
        # In turns, and without Python callbacks (as AsyncInferQueue has): their threads may still wait for the
        # interpreter when a network is thrown away, and that is a deadlock.
        at_once = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        requests = [compiled.create_infer_request() for _ in starts[:at_once]]
        rows: list[NDArray[np.float32]] = []
        for position, start in enumerate(starts):
            request = requests[position % at_once]
            if position >= at_once:
                rows.append(_finished(request))
            part = crops[start : start + chunk]
            request.start_async([part if batch is None else filled(part, batch)])
        for position in range(len(rows), len(starts)):
            rows.append(_finished(requests[position % at_once]))
        return np.concatenate(rows)[: len(crops)]

    return run


def _finished(request: Untyped) -> NDArray[np.float32]:
    """Wait for a request and copy what it gave."""
    request.wait()
    return np.array(request.get_output_tensor(0).data, dtype=np.float32)


def _import_openvino(model: Model) -> Untyped:
    """Import OpenVINO without its telemetry, which reports each import to a server unless one opted out.

    There is no other way to import it quietly than to hide the package for that moment: None reads as "not installed",
    for which OpenVINO has a stub.
    """
    with _IMPORTING:
        hidden = TELEMETRY not in sys.modules and "openvino" not in sys.modules
        if hidden:
            sys.modules[TELEMETRY] = None  # type: ignore[assignment]
        try:
            import openvino
        except ImportError as error:
            raise ModelError(
                f"{model.spec.name} was to run on OpenVINO, which is not installed; "
                "pip install 'faceid-engine[openvino]'"
            ) from error
        finally:
            if hidden:
                del sys.modules[TELEMETRY]
    return openvino
