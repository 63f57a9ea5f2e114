"""The weights of the detector: the shipped file and no other, and nothing in it is the work of a pickle."""

import pytest

from faceid.vision import mtcnn_weights
from faceid.vision.detection import DetectorError
from faceid.vision.mtcnn_weights import FILE, load_weights


def test_one_changed_bit_is_refused_and_the_file_is_named(tmp_path, monkeypatch):
    content = bytearray(FILE.read_bytes())
    content[100_000] ^= 1
    (tmp_path / "mtcnn.safetensors").write_bytes(content)
    monkeypatch.setattr(mtcnn_weights, "FILE", tmp_path / "mtcnn.safetensors")
    with pytest.raises(DetectorError, match=r"mtcnn\.safetensors: SHA-256 .* is not that of .*pip install"):
        load_weights()


def test_a_missing_file_is_named_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(mtcnn_weights, "FILE", tmp_path / "mtcnn.safetensors")
    with pytest.raises(DetectorError, match=r"mtcnn\.safetensors: cannot be read .*pip install"):
        load_weights()
