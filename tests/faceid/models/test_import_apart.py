"""Somebody's network is tried in a process of its own, which it cannot keep for ever, nor fill the machine with."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("resource", reason="the system has no limits on a process")
from onnx import NodeProto, helper, numpy_helper

from faceid.models import import_apart
from faceid.models.import_apart import read_onnx_apart
from faceid.models.model_file import ModelError
from faceid.models.onnx_import import read_onnx
from faceid.process_limits import python_running
from tests.faceid.hand_made_network import SIDE, corner_network, write_network

SETTINGS = {
    "input_size": (SIDE, SIDE),
    "output": None,
    "colour": "bgr",
    "mean": 100.5,
    "std": 25.0,
    "flip": "concat",
    "points": np.array([[2, 2], [5, 2], [3.5, 4.1], [2, 6], [5, 6]], np.float32),
    "licence": "MIT, © somebody",
    "training_data": "faces",
}


def unfolding(path: Path, to: tuple[int, ...], products: int = 0) -> Path:
    """Write a network of a few kilobytes that makes one number so many, and multiplies them so often."""
    nodes: list[NodeProto] = [
        helper.make_node("Reshape", ["crops", "flat"], ["pixels"]),
        helper.make_node("MatMul", ["pixels", "weights"], ["picked"]),
        helper.make_node("Expand", ["one", "size"], ["large 0"]),
    ]
    for number in range(products):
        nodes.append(helper.make_node("MatMul", [f"large {number}", "large 0"], [f"large {number + 1}"]))
    nodes.append(helper.make_node("ReduceMax", [f"large {products}"], ["most"], keepdims=0))
    nodes.append(helper.make_node("Add", ["picked", "most"], ["embeddings"]))
    weights = np.random.default_rng(0).normal(size=(3 * SIDE * SIDE, 2)).astype(np.float32)
    constants = {
        "flat": np.array([-1, 3 * SIDE * SIDE], np.int64),
        "weights": weights,
        "one": np.float32(1e-4),
        "size": np.array(to, np.int64),
    }
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return write_network(path, nodes, tensors, ["n", 3, SIDE, SIDE], ["n", 2])


def test_it_is_what_reading_it_here_gives(tmp_path: Path) -> None:
    source = corner_network(tmp_path / "mine.onnx")
    here, content = read_onnx(source, "mine", **SETTINGS)  # type: ignore[arg-type]
    apart, same = read_onnx_apart(source, "mine", **SETTINGS)
    assert apart.to_record() == here.to_record()
    np.testing.assert_array_equal(same, content)


def test_what_is_wrong_is_told_as_it_is_here(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"\x08\x07 surely not a network")
    with pytest.raises(ModelError) as here:
        read_onnx(tmp_path / "mine.onnx", "mine")
    with pytest.raises(ModelError) as apart:
        read_onnx_apart(tmp_path / "mine.onnx", "mine", input_size=None, points=None)
    assert str(apart.value) == str(here.value)


@pytest.mark.parametrize(("numbers", "memory"), [(10**12, import_apart.MEMORY), (2 * 10**8, 2 * 10**8)])
def test_a_network_that_unfolds_to_terabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: int, memory: int
) -> None:
    monkeypatch.setattr(import_apart, "MEMORY", memory)  # gigabytes are there, if nobody bounds what may be taken
    source = unfolding(tmp_path / "mine.onnx", (numbers,))
    assert source.stat().st_size < 4096
    with pytest.raises(ModelError, match="more memory than a network may"):
        read_onnx_apart(source, "mine", input_size=None, points=None)


def test_a_network_that_computes_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_apart, "SECONDS", 2)
    source = unfolding(tmp_path / "mine.onnx", (2048, 2048), products=1000)
    with pytest.raises(ModelError, match="more than 2 seconds"):
        read_onnx_apart(source, "mine", input_size=None, points=None)


def test_a_process_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_apart, "python_running", lambda _: [sys.executable, "-c", "import os; os.abort()"])
    with pytest.raises(ModelError, match=r"mine\.onnx: the network brings down the process .*status -6"):
        read_onnx_apart(corner_network(tmp_path / "mine.onnx"), "mine", points=None)


def test_no_python_to_try_it_with_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(ModelError, match="no Python is known"):
        read_onnx_apart(corner_network(tmp_path / "mine.onnx"), "mine", points=None)


def test_it_ends_with_whoever_asked(tmp_path: Path) -> None:
    source = unfolding(tmp_path / "mine.onnx", (2048, 2048), products=1000)
    asking = subprocess.Popen([sys.executable, "-m", "faceid", "models", "import", str(source)])
    children = Path(f"/proc/{asking.pid}/task/{asking.pid}/children")
    if not children.exists():
        pytest.skip("the system does not list a process's children")
    try:
        child = int(_awaited(lambda: children.read_text(encoding="ascii").split())[0])
        assert _awaited(lambda: _cpu_seconds(child) > 2), "the network is being tried"
    finally:
        asking.kill()
        asking.wait()
    assert _awaited(lambda: not _is_running(child))


def _awaited(found: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (what := found()) and time.monotonic() < end:
        time.sleep(0.1)
    return what


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_without_limits_of_the_system_the_clock_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_apart, "SECONDS", 2)
    *python, program, path = python_running("faceid.models.import_child")
    without = f"import sys; sys.modules['resource'] = None; {program}"
    monkeypatch.setattr(import_apart, "python_running", lambda _: [*python, without, path])
    source = unfolding(tmp_path / "mine.onnx", (2048, 2048), products=1000)
    with pytest.raises(ModelError, match="more than 2 seconds"):
        read_onnx_apart(source, "mine", input_size=None, points=None)


def test_a_limit_that_the_process_has_already_leaves_the_others() -> None:
    program = (
        "import resource\n"
        "from faceid.process_limits import limit_this_process\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (9, 9))\n"
        "limit_this_process(10**9, 300)\n"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0] < 2 * 10**9, resource.getrlimit(resource.RLIMIT_FSIZE)[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True 0\n"


def test_settings_of_other_types_are_taken_or_refused_in_a_sentence(tmp_path: Path) -> None:
    source = corner_network(tmp_path / "mine.onnx")
    settings = SETTINGS | {"input_size": (np.int64(SIDE), np.int64(SIDE)), "mean": np.float32(100.5)}
    spec, _ = read_onnx_apart(source, "mine", **settings)
    assert spec.to_record() == read_onnx(source, "mine", **SETTINGS)[0].to_record()  # type: ignore[arg-type]
    for odd in (
        {"points": [["a", "b"]]},
        {"points": [[1, 2], [3]]},
        {"input_size": (SIDE, SIDE, 3)},
        {"licence": Path("LICENSE")},
        {"mean": "grey"},
    ):
        with pytest.raises(ModelError) as caught:
            read_onnx_apart(source, "mine", **SETTINGS | odd)
        assert "brings down" not in str(caught.value)


def test_a_path_that_cannot_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="null"):
        read_onnx_apart(tmp_path / "a\0b.onnx", "mine", input_size=None, points=None)
