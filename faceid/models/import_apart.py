"""Takes somebody's ONNX network in by a process of bounded time and memory: a small file can ask for terabytes."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceid.models.model_file import ModelError, ModelSpec
from faceid.process_limits import OUT_OF_CPU_TIME, OUT_OF_TIME, python_running

SECONDS = 300
"""Of CPU time, for opening a network and nine crops: the largest that people use take a second a crop."""
MEMORY, MEMORY_A_BYTE = 4_000_000_000, 6
"""Bytes a network may take, and beside them so many for each byte of its file, of which several copies are made."""


def read_onnx_apart(source: Path, name: str, **arguments: Any) -> tuple[ModelSpec, NDArray[np.uint8]]:
    """Do what `faceid.models.onnx_import.read_onnx` does, of the same arguments, in a process of its own.

    Raises ModelError where that does, and where the network takes more than `SECONDS` or `MEMORY`.
    """
    if not sys.executable:
        raise ModelError(f"{source}: a network is tried by a Python process, and no Python is known here")
    request = {
        "source": str(source),
        "name": name,
        "arguments": arguments,
        "seconds": SECONDS,
        "memory": MEMORY,
        "memory_a_byte": MEMORY_A_BYTE,
    }
    said, status = _asked(json.dumps(request, default=_as_list).encode() + b"\n")
    line, ended, network = said.partition(b"\n")
    if not ended:
        raise ModelError(f"{source}: {_how_it_ended(status)}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise ModelError(answer["error"])
    return ModelSpec.from_record(answer["spec"]), np.frombuffer(network, dtype=np.uint8)


def _as_list(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise ModelError(f"{value!r} says nothing of a model: texts, numbers and lists of them do")


def _asked(request: bytes) -> tuple[bytes, int]:
    """Return what the process answers, and how it ended."""
    with subprocess.Popen(
        python_running("faceid.models.import_child"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # Its input stays open as long as somebody waits for the answer.
            with suppress(BrokenPipeError):
                process.stdin.write(request)
                process.stdin.flush()
            return process.stdout.read(), process.wait()
        finally:
            process.kill()


def _how_it_ended(status: int) -> str:
    if status in (OUT_OF_CPU_TIME, OUT_OF_TIME):
        return f"given up: the network takes more than {SECONDS} seconds for a few crops"
    return (
        f"the network brings down the process that tries it (status {status}); it may need more than the "
        f"{MEMORY / 1e9:.0f} GB of memory that a network may take"
    )
