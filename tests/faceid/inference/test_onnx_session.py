"""A session is a good guest: no threads of its own, right answers from many threads, and no network that is none."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from faceid.inference.onnx_graph import OnnxGraph
from faceid.inference.onnx_session import SessionError, in_parts, open_session


def square() -> bytes:
    graph = OnnxGraph({})
    return graph.to_bytes({"x": ("n",)}, {"y": (graph.node("Mul", "x", "x"), ("n",))})


def test_a_session_starts_no_threads():
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("only Linux lists a process's threads so")
    first = open_session(square())  # importing ONNX Runtime may bring some along
    before = len(list(tasks.iterdir()))
    others = [open_session(square()) for _ in range(5)]
    assert len(list(tasks.iterdir())) == before
    assert len([first, *others]) == 6


def test_forty_threads_share_a_session():
    session = open_session(square())
    wrong = []

    def ask(number: int) -> None:
        for size in range(1, 50):
            x = np.full(size, number, np.float32)
            if (session.run(None, {"x": x})[0] != number**2).any():
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_parts_come_back_in_order_and_an_error_comes_through():
    assert in_parts(lambda part: part * 2, range(5)) == [0, 2, 4, 6, 8]
    assert in_parts(str, []) == []
    with pytest.raises(ZeroDivisionError):
        in_parts(lambda part: 1 // part, [1, 0, 2])


@pytest.mark.parametrize("content", [b"", b"no network", square()[:-9]], ids=["empty", "text", "torn"])
def test_bytes_that_are_no_network_are_refused(content):
    with pytest.raises(SessionError, match="refuses the network"):
        open_session(content)


IMPORTING = """
import os, sys, time
before = dict(os.environ)
from faceid.inference.onnx_session import onnx_runtime
onnx_runtime()
assert dict(os.environ) == before
child = os.fork()
if child == 0:
    sys.exit(3)  # through everything that C registered for the end
for _ in range(200):
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        break
    time.sleep(0.1)
else:
    os.kill(child, 9)
print(ended == child and os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_onnx_runtime_reports_nothing_and_lets_forked_processes_end(tmp_path: Path) -> None:
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTING],
        env={**usual, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == "3"
    assert list(tmp_path.rglob("*onnxruntime*")) == []
