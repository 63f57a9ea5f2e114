"""The weights of the detector: taken only from the published files, and nothing in them may run."""

import io
import os
import pickle
import subprocess
import sys

import joblib
import lz4.frame
import numpy as np
import pytest

from faceid.vision import mtcnn_weights
from faceid.vision.detection import DetectorError
from faceid.vision.mtcnn_weights import WEIGHTS_SHA256, load_weights, read_arrays, weights_folder


@pytest.mark.parametrize("network", WEIGHTS_SHA256)
def test_published_weights_open_as_joblib_would_open_them(network):
    ours = load_weights(network)
    theirs = joblib.load(weights_folder() / f"{network}.lz4")
    assert len(ours) == len(theirs) == {"pnet": 13, "rnet": 16, "onet": 21}[network]
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.dtype == np.float32
        np.testing.assert_array_equal(mine, reference)


def test_weights_are_found_without_importing_the_package_or_tensorflow():
    program = (
        "import sys; from faceid.vision.mtcnn_weights import load_weights; load_weights('pnet'); "
        "print(sorted({'mtcnn', 'tensorflow', 'joblib'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_one_changed_bit_is_refused_and_the_file_is_named(tmp_path, monkeypatch):
    content = bytearray((weights_folder() / "pnet.lz4").read_bytes())
    content[1000] ^= 1
    (tmp_path / "pnet.lz4").write_bytes(content)
    monkeypatch.setattr(mtcnn_weights, "weights_folder", lambda: tmp_path)
    with pytest.raises(DetectorError, match=r"pnet\.lz4: SHA-256 .* is not that of mtcnn 1\.0\.0"):
        load_weights("pnet")


def test_a_missing_file_is_named_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(mtcnn_weights, "weights_folder", lambda: tmp_path)
    with pytest.raises(DetectorError, match=r"onet\.lz4: cannot be read .*pip install"):
        load_weights("onet")


def test_a_missing_package_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr(mtcnn_weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DetectorError, match=r"`mtcnn`.*absent.*pip install"):
        load_weights("pnet")


class Malicious:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, exec], ids=["os.system", "eval", "exec"])
def test_a_pickle_that_would_run_code_is_refused_before_it_runs(tmp_path, function):
    trace = tmp_path / "ran"
    code = f"touch {trace}" if function is os.system else f"open({str(trace)!r}, 'w')"
    stream = pickle.dumps([Malicious(function, code)])
    with pytest.raises(DetectorError, match="is no part of an array"):
        read_arrays(stream)
    assert not trace.exists()
    pickle.loads(stream)  # the same bytes do run where nothing restricts them
    assert trace.exists()


def test_arrays_of_any_other_type_are_refused():
    file = io.BytesIO()
    joblib.dump([np.zeros(3, np.float64)], file)
    with pytest.raises(DetectorError, match="array of float64"):
        read_arrays(file.getvalue())


def test_anything_but_a_list_is_refused():
    with pytest.raises(DetectorError, match="dict, not a list"):
        read_arrays(pickle.dumps({"weights": 1}))


def test_fortran_order_is_kept():
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    file = io.BytesIO()
    joblib.dump([array], file)
    (read,) = read_arrays(file.getvalue())
    np.testing.assert_array_equal(read, array)
    assert lz4.frame.decompress(lz4.frame.compress(file.getvalue())) == file.getvalue()
