"""MATLAB files: what they hold, and one clear error whatever becomes of their reader."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from benchmarks.formats import matlab_file
from benchmarks.formats.matlab_file import MatlabFileError, read_variables


def test_the_variables_that_are_there_are_read_as_they_were_written(tmp_path: Path) -> None:
    cell = np.empty((1, 2), object)
    cell[0] = "a.jpg", np.array([[1, 2]])
    savemat(tmp_path / "file.mat", {"cell": cell, "labels": np.arange(3.0)[:, None], "other": 1})
    found = read_variables(tmp_path / "file.mat", ("cell", "labels", "missing"))
    assert sorted(found) == ["cell", "labels"]
    assert (found["cell"][0, 0].item(), found["cell"][0, 1].tolist()) == ("a.jpg", [[1, 2]])
    assert found["labels"].tolist() == [[0], [1], [2]]


def test_what_is_no_such_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "text.mat").write_text("text" * 100)
    with pytest.raises(MatlabFileError, match=r"text\.mat: not a MATLAB file"):
        read_variables(tmp_path / "text.mat", ("labels",))
    with pytest.raises(MatlabFileError, match=r"none\.mat: cannot be read \(No such file"):
        read_variables(tmp_path / "none.mat", ("labels",))


def crash(*_: object) -> None:
    os.abort()


def never_ends(*_: object) -> None:
    time.sleep(600)


def test_a_file_that_crashes_its_reader_is_an_error_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matlab_file, "_read", crash)
    with pytest.raises(MatlabFileError, match=r"x\.mat: damaged, it crashed the MATLAB reader"):
        read_variables(tmp_path / "x.mat", ("labels",))


def test_a_reader_that_does_not_come_to_an_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab_file, "_read", never_ends)
    monkeypatch.setattr(matlab_file, "SECONDS", 0.1)
    with pytest.raises(MatlabFileError, match=r"x\.mat: not read after 0\.1 seconds"):
        read_variables(tmp_path / "x.mat", ("labels",))


def test_a_small_file_that_unfolds_beyond_its_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("resource", reason="the system has no limits on a process")
    savemat(tmp_path / "x.mat", {"labels": np.zeros(200_000_000, np.uint8)}, do_compression=True)
    assert (tmp_path / "x.mat").stat().st_size < 1_000_000
    monkeypatch.setattr(matlab_file, "MEMORY", 100_000_000)
    with pytest.raises(MatlabFileError, match=r"x\.mat: it does not fit in the 100,000,000 bytes"):
        read_variables(tmp_path / "x.mat", ("labels",))
