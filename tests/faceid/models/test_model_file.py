"""A model file says all about a model, or is refused with a reason that names the file."""

import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save

from faceid.models.model_file import (
    DESCRIPTION_KEY,
    HEADER_KEY,
    WEIGHTS_KEY,
    Accuracy,
    ModelError,
    ModelSpec,
    read_model,
    verify_weights,
    write_model,
)
from faceid.vision.alignment import reference_points

WEIGHTS = {"layer": np.arange(6, dtype=np.float32).reshape(2, 3)}


def spec(**changes: Any) -> ModelSpec:
    values: dict[str, Any] = {
        "name": "tiny",
        "architecture": "sphereface4",
        "arguments": {"width": 0.25, "input_size": [112, 96]},
        "input_size": (112, 96),
        "colour": "rgb",
        "mean": 127.5,
        "std": 128.0,
        "reference_points": reference_points(112, 96),
        "flip": "concat",
        "dimension": 512,
        "head": "SphereFace, m = 4",
        "training_data": "a made-up set",
        "accuracies": (Accuracy("10-fold", 0.5, "made-up pairs", "2026-11-22", 6000, (0.4, 0.6)),),
        "calibrations": ({"target": "far"},),
        "licence": "Apache-2.0",
    }
    return ModelSpec(**(values | changes))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiny.safetensors"


def write_record(path: Path, record: object, tensors: dict[str, Any] | None = None) -> Path:
    text = record if isinstance(record, str) else json.dumps(record)
    path.write_bytes(save(WEIGHTS if tensors is None else tensors, metadata={HEADER_KEY: text}))
    return path


def test_what_was_written_is_read_back(path: Path) -> None:
    written = spec()

    model = write_model(path, written, WEIGHTS)

    assert model.spec.to_record() == written.to_record()
    assert model.spec.accuracies == written.accuracies
    np.testing.assert_array_equal(model.tensors()["layer"], WEIGHTS["layer"])
    assert model.spec.to_record()["reference_points"][0] == [30.2946, 51.6963]


def test_the_digest_is_the_sha256_of_the_file(path: Path) -> None:
    import hashlib

    model = write_model(path, spec(), WEIGHTS)

    assert model.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_model_always_has_the_same_digest(tmp_path: Path) -> None:
    tensors = {f"layer{i}": np.full((3, 2), i, np.float32) for i in range(20)}
    backwards = dict(reversed(tensors.items()))

    first = write_model(tmp_path / "a.safetensors", spec(), tensors)
    second = write_model(tmp_path / "b.safetensors", spec(), backwards)

    assert first.digest == second.digest
    assert write_model(tmp_path / "c.safetensors", spec(mean=127.0), tensors).digest != first.digest


def test_half_precision_weights_are_loaded_as_float32(path: Path) -> None:
    model = write_model(path, spec(), {"layer": np.array([0.1], np.float16)})

    assert model.tensors()["layer"].dtype == np.float32
    assert model.tensors()["layer"][0] == np.float32(np.float16(0.1))


def test_a_strided_array_is_written_as_it_looks(path: Path) -> None:
    model = write_model(path, spec(), {"layer": WEIGHTS["layer"].T})

    np.testing.assert_array_equal(model.tensors()["layer"], WEIGHTS["layer"].T)


def test_weights_of_a_file_that_changed_since_it_was_hashed_are_refused(path: Path) -> None:
    model = write_model(path, spec(), WEIGHTS)
    write_model(path, spec(), {"layer": WEIGHTS["layer"] + 1})

    with pytest.raises(ModelError, match="changed"):
        model.tensors()


def test_infinite_weights_are_found(path: Path) -> None:
    model = write_model(path, spec(), {"layer": np.array([1, np.inf], np.float32)})

    with pytest.raises(ModelError, match="layer are not finite"):
        verify_weights(model)


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_flipped_bit_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "tiny.safetensors"
    write_model(path, spec(), WEIGHTS)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)

    with pytest.raises(ModelError, match=r"tiny\.safetensors"):
        read_model(path)


def test_a_changed_description_is_refused_even_where_it_makes_sense(path: Path) -> None:
    write_model(path, spec(), WEIGHTS)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"mean\\": 127.5', b'\\"mean\\": 117.5'))
    assert path.read_bytes() != content

    with pytest.raises(ModelError, match="description is not the one that was written"):
        read_model(path)


def test_a_file_of_an_older_program_has_no_checksum_of_its_description(path: Path) -> None:
    write_model(path, spec(), WEIGHTS)
    with safe_open(path, framework="numpy") as file:
        record = json.loads(file.metadata()[HEADER_KEY])
    del record[DESCRIPTION_KEY]
    path.write_bytes(save(WEIGHTS, metadata={HEADER_KEY: json.dumps(record)}))

    assert read_model(path).spec.mean == 127.5


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_torn_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "torn.safetensors"
    content = save(WEIGHTS, metadata={HEADER_KEY: json.dumps(spec().to_record() | {WEIGHTS_KEY: ""})})
    path.write_bytes(content[: int(share * len(content))])

    with pytest.raises(ModelError, match="torn"):
        read_model(path)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused_with_the_name_of_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "noise.safetensors"
    path.write_bytes(content)

    with pytest.raises(ModelError, match=r"noise\.safetensors"):
        read_model(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "too short"),
        (struct.pack("<Q", 2**63) + b"{}", "claims"),
        (struct.pack("<Q", 17 * 2**20) + bytes(18 * 2**20), "claims"),
        (struct.pack("<Q", 100) + b"{}", "claims"),
        (b"\x80\x04\x95 a pickle", "claims"),
        (save(WEIGHTS), "without a model's description"),
    ],
    ids=["empty", "huge header", "header over the limit", "header past the end", "pickle", "someone else's"],
)
def test_a_file_that_is_no_model_is_refused(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)

    with pytest.raises(ModelError, match=reason) as refusal:
        read_model(path)

    assert str(path) in str(refusal.value)


def test_a_folder_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_model(tmp_path)
    with pytest.raises(ModelError, match="faceid models list"):
        read_model(tmp_path / "nobody.safetensors")


def test_a_pipe_is_not_waited_for_and_a_huge_or_empty_header_is_not_hashed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(ModelError, match=r"pipe\.safetensors.*not a regular file"):
        read_model(tmp_path / "pipe.safetensors")
    (tmp_path / "zeros.safetensors").write_bytes(bytes(100))
    with pytest.raises(ModelError, match="its header claims 0 bytes"):
        read_model(tmp_path / "zeros.safetensors")
    os.truncate(tmp_path / "zeros.safetensors", 20 << 30)
    with pytest.raises(ModelError, match=r"at most .* are read"):
        read_model(tmp_path / "zeros.safetensors")


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"mean": NaN}', "[]", "null", "3"], ids=lambda text: text[:20]
)
def test_a_description_that_is_no_json_object_is_refused(path: Path, text: str) -> None:
    with pytest.raises(ModelError, match=r"tiny\.safetensors"):
        read_model(write_record(path, text))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format_version": 2}, "update faceid"),
        ({"format_version": "1"}, "format version"),
        ({"surprise": 1}, "unknown entries: surprise"),
        ({"name": "../../etc/passwd"}, "no name for a model"),
        ({"name": "a" * 65}, "no name for a model"),
        ({"name": None}, "name must be text"),
        ({"arguments": []}, "arguments"),
        ({"input_size": [112]}, "input_size"),
        ({"input_size": [112, 10**9]}, "input_size"),
        ({"input_size": [112.0, 96]}, "input_size"),
        ({"input_size": [True, True]}, "input_size"),
        ({"colour": "gbr"}, "colour"),
        ({"colour": ["rgb"]}, "colour"),
        ({"flip": "twice"}, "flip"),
        ({"mean": "127.5"}, "mean"),
        ({"std": 0}, "std"),
        ({"std": -1.0}, "std"),
        ({"std": 1e-320}, "std"),
        ({"std": 10**400}, "std"),
        ({"mean": 10**400}, "mean"),
        ({"reference_points": [[10**400, 1]] * 5}, "reference_points"),
        ({"dimension": 10**9}, "dimension"),
        ({"dimension": 0}, "dimension"),
        ({"dimension": 511}, "even"),
        ({"reference_points": None}, "reference_points"),
        ({"reference_points": [[1, 2]]}, "reference_points"),
        ({"reference_points": [[1, 2], [3]]}, "reference_points"),
        ({"reference_points": (reference_points(112, 96) + np.float32(60)).tolist()}, "inside"),
        ({"reference_points": reference_points(112, 96)[::-1].tolist()}, "as seen"),
        ({"accuracies": {}}, "accuracies"),
        ({"accuracies": [{"value": 1}]}, "accuracies"),
        ({"calibrations": [1]}, "calibrations"),
        ({WEIGHTS_KEY: None}, WEIGHTS_KEY),
    ],
    ids=str,
)
def test_a_description_that_makes_no_sense_is_refused(path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as refusal:
        read_model(write_record(path, spec().to_record() | {WEIGHTS_KEY: ""} | changes))

    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("missing", sorted(spec().to_record()))
def test_a_description_with_an_entry_missing_is_refused(path: Path, missing: str) -> None:
    record = spec().to_record() | {WEIGHTS_KEY: ""}
    del record[missing]

    with pytest.raises(ModelError, match=r"missing|version"):
        read_model(write_record(path, record))


def test_reference_points_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        spec().reference_points[0, 0] = 1


def test_a_spec_can_be_copied_with_a_change() -> None:
    assert replace(spec(), flip="none", dimension=511).network_dimension == 511
    assert spec().network_dimension == 256
