"""Opens ONNX networks in ONNX Runtime, so that they are good guests: no threads of their own, no memory kept back.

A session computes in the thread that calls it, and any number of threads may call it at once: whoever has much to
compute shares it out (`in_parts`). That is as fast as ONNX Runtime's own threads where there is a batch to share; it
costs a busy machine nothing, and a forked process finds no pool whose threads stayed behind.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from faceid.inference.cpu_features import available_cores
from indexer.errors import FaceIdError

_here = threading.local()
_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
Session = Any  # an onnxruntime.InferenceSession; the package has no types
Part = TypeVar("Part")
Result = TypeVar("Result")


class SessionError(FaceIdError):
    """ONNX Runtime is missing, lacks the device, or refuses the network."""


def onnx_runtime() -> Any:
    """Import ONNX Runtime, without its telemetry; raises SessionError where it is missing.

    Wheels from 1.31 on note a device in the user's cache folder, send reports, and start threads for that; a process
    that is forked afterwards waits for those threads for ever when it ends. They ask once, when they are imported.
    """
    before = os.environ.get(_NO_TELEMETRY)
    os.environ[_NO_TELEMETRY] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise SessionError(
            f"ONNX Runtime cannot be imported ({error}); install it with `pip install onnxruntime`"
        ) from error
    finally:
        if before is None:
            del os.environ[_NO_TELEMETRY]
        else:
            os.environ[_NO_TELEMETRY] = before
    return onnxruntime


def open_session(network: bytes, device: str = "cpu") -> Session:
    """Open a session for these ONNX bytes on `cpu`, `cuda` or `cuda:N`; raises SessionError."""
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised; it need not be on stderr, too
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # An arena never gives memory back, and each session would keep its largest moment for each thread.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False  # plans for one shape, and photos have all shapes
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":
        # Without TF32, so that float32 means float32. Without the check after it, the CPU would quietly stand in.
        number = device.partition(":")[2] or "0"
        providers = [("CUDAExecutionProvider", {"device_id": number, "use_tf32": "0"})]
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise SessionError("this ONNX Runtime has no CUDA; install onnxruntime-gpu or use --device cpu")
    try:
        session = onnxruntime.InferenceSession(network, options, providers=providers, enable_fallback=0)
    except Exception as error:  # it raises a dozen kinds without a common root of its own
        raise SessionError(f"ONNX Runtime refuses the network: {error}") from error
    if device != "cpu" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise SessionError(f"ONNX Runtime could not start CUDA on {device}; check the driver or use --device cpu")
    return session


def compute_here_with(threads: int) -> None:
    """Let what this thread computes from now on be shared among so many threads: its share of the cores.

    1 is for one of a pool that has a thread for each core: others could only wait for those of the pool.
    """
    _here.threads = threads


def threads_for(parts: int) -> int:
    """Return how many threads to share so many parts among, from here: at least one."""
    return max(1, min(parts, getattr(_here, "threads", None) or available_cores()))


def in_parts(function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Apply a function to the parts, in order, on all cores that this process may use."""
    threads = threads_for(len(parts))
    if threads < 2:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, parts))
