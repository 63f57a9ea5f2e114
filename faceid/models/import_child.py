"""Reads and tries one ONNX network in a process of its own, which `import_apart` starts.

Asked with a line of JSON, it answers with a line about the network, the model's description or what is wrong, and with
the network's bytes. When nobody waits for the answer any more it ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from faceid.inference.onnx_session import compute_here_with, onnx_runtime
from faceid.models.onnx_import import read_onnx
from faceid.process_limits import limit_this_process
from indexer.errors import FaceIdError


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_when_alone, daemon=True).start()
    source, arguments = Path(request["source"]), request["arguments"]
    if arguments["input_size"] is not None:
        arguments["input_size"] = tuple(arguments["input_size"])
    answer: dict[str, Any]
    network = np.zeros(0, np.uint8)
    try:
        onnx_runtime()  # so that what it takes for itself is not counted
        limit_this_process(request["memory"] + request["memory_a_byte"] * _size(source), request["seconds"])
        compute_here_with(threads=1)
        spec, network = read_onnx(source, request["name"], **arguments)
        answer = {"spec": spec.to_record()}
    except MemoryError:
        answer = {"error": f"{source}: the network does not fit in the memory that a network may take"}
    except FaceIdError as error:
        answer = {"error": str(error)}
    except Exception as error:  # of what neither we nor ONNX Runtime have thought of
        answer = {"error": f"{source}: the network cannot be tried ({type(error).__name__}: {error})"}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + network.tobytes())


def _end_when_alone() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing comes but the end: whoever asked is gone
    os._exit(1)


def _size(source: Path) -> int:
    """Return the bytes of the file; what cannot be asked is told when it is read."""
    try:
        return source.stat().st_size
    except (OSError, ValueError):
        return 0
