"""Runs any model with OpenVINO on the processor, in float32 or bfloat16; the fastest way there is."""

from __future__ import annotations

import sys
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from faceid.models.backends import Network
from faceid.models.backends.onnxruntime_backend import filled, fixed_batch
from faceid.models.cpu_features import available_cores
from faceid.models.model_file import ONNX, Model, ModelError

Untyped = Any  # the package has no types

CHUNK = 8  # crops in one request of a network that takes any number; measured with sphereface20, 2 cores


def load(model: Model, precision: Literal["float32", "bfloat16"]) -> Network:
    """Load the model's network.

    Raises ModelError when OpenVINO is missing, refuses the network, or has no such precision on this processor.
    """
    openvino = _import_openvino(model)
    imported = model.spec.architecture == ONNX
    # Without the precision hint OpenVINO takes bfloat16 by itself where the processor has it. Several requests
    # at once, a core each, are half again to twice as fast as one after the other on all cores.
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_NUM_THREADS": available_cores(),
    }
    try:
        core = openvino.Core()
        converted = core.read_model(model.onnx_bytes()) if imported else _from_torch(model)
        compiled = core.compile_model(converted, "CPU", options)
    except RuntimeError as error:
        raise ModelError(f"{model.path}: OpenVINO refuses the network: {error}") from error
    chosen = compiled.get_property("INFERENCE_PRECISION_HINT")
    if chosen != (openvino.Type.bf16 if precision == "bfloat16" else openvino.Type.f32):
        raise ModelError(f"OpenVINO has no {precision} on this processor (it would use {chosen}); use float32")
    batch = fixed_batch(model) if imported else None

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
    """Import OpenVINO without its telemetry, which reports each import to a server unless one opted out."""
    if "openvino" not in sys.modules:
        # None reads as "not installed", for which OpenVINO has a stub.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ModelError(
            f"{model.spec.name} was to run on OpenVINO, which is not installed; pip install 'faceid-engine[openvino]'"
        ) from error
    return openvino


def _from_torch(model: Model) -> Untyped:
    """Convert our own network into an OpenVINO model that takes any number of crops."""
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from faceid.models.backends.torch_backend import load_module

    height, width = model.spec.input_size
    crops = torch.zeros(2, 3, height, width)
    traced: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
        load_module(model), (crops,), check_trace=False
    )
    decoder = TorchScriptPythonDecoder(torch.jit.freeze(traced))  # must outlive the conversion
    frontend = FrontEndManager().load_by_framework("pytorch")
    converted = frontend.convert(frontend.load(decoder))
    converted.reshape([-1, 3, height, width])
    return converted
