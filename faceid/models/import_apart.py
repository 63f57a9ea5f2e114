"""Takes somebody's ONNX network in by a process of bounded time and memory: a small file can ask for terabytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceid.models.model_file import ModelError, ModelSpec
from faceid.process_limits import OUT_OF_CPU_TIME

SECONDS = 300
"""Of CPU time, for opening a network and nine crops: the largest that people use take a second a crop."""
MEMORY, MEMORY_A_BYTE = 4_000_000_000, 6
"""Bytes a network may take, and beside them so many for each byte of its file, of which several copies are made."""

_PROGRAM = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from faceid.models.import_child import main; main()"
)


def read_onnx_apart(source: Path, name: str, **arguments: Any) -> tuple[ModelSpec, NDArray[np.uint8]]:
    """Do what `faceid.models.onnx_import.read_onnx` does, of the same arguments, in a process of its own.

    Raises ModelError where that does, and where the network takes more than `SECONDS` or `MEMORY`.
    """
    if not sys.executable:
        raise ModelError(f"{source}: a network is tried by a Python process, and no Python is known here")
    points = arguments.pop("points")
    request = {
        "source": str(source),
        "name": name,
        "arguments": arguments | {"points": None if points is None else np.asarray(points).tolist()},
        "seconds": SECONDS,
        "memory": MEMORY,
        "memory_a_byte": MEMORY_A_BYTE,
    }
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PROGRAM, json.dumps(sys.path)],
        input=json.dumps(request).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    line, ended, network = done.stdout.partition(b"\n")
    if not ended:
        raise ModelError(f"{source}: {_how_it_ended(done.returncode)}")
    said: dict[str, Any] = json.loads(line)
    if "error" in said:
        raise ModelError(said["error"])
    return ModelSpec.from_record(said["spec"]), np.frombuffer(network, dtype=np.uint8)


def _how_it_ended(status: int) -> str:
    if status == OUT_OF_CPU_TIME:
        return f"given up: the network takes more than {SECONDS} seconds for a few crops"
    return (
        f"the network brings down the process that tries it (status {status}); it may need more than the "
        f"{MEMORY / 1e9:.0f} GB of memory that a network may take"
    )
