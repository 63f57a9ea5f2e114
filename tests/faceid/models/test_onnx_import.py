"""ONNX networks as people have them: half precision, bytes, channels last, several outputs; and no file beside them."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
import onnx
from onnx import TensorProto, helper, numpy_helper

from faceid.inference import onnx_reading
from faceid.inference.onnx_graph import nested, text
from faceid.inference.onnx_reading import WrongNetwork, check_network
from faceid.inference.onnx_session import SessionError, open_session
from faceid.models.embedding import Embedder
from faceid.models.model_file import ONNX, Model, ModelError, write_model
from faceid.models.model_zoo import verify_model
from faceid.models.onnx_import import read_onnx
from faceid.models.trial_crops import trial_crops
from tests.faceid.hand_made_network import SIDE, corner_crop

FLOAT, HALF, BYTES = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8
CROPS = np.stack([corner_crop((175, 0, 200)), corner_crop((200, 0, 175))])


@pytest.fixture(autouse=True)
def models_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEID_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def network(
    path: Path,
    *,
    kind: int = FLOAT,
    out: int = FLOAT,
    shape: tuple[int | str, ...] = ("n", 3, SIDE, SIDE),
    further: tuple[str, ...] = (),
    axes: tuple[int, ...] = (),
) -> Path:
    """Write a network that gives channels 0 and 2 of the upper left pixel (less 100, by 25 if given bytes)."""
    channels_last = shape[3] == 3
    weights = np.zeros((3 * SIDE * SIDE, 2), np.float32)
    weights[0, 0] = weights[2 if channels_last else 2 * SIDE * SIDE, 1] = 1
    nodes = [
        helper.make_node("Cast", ["crops"], ["values"], to=FLOAT),
        helper.make_node("Reshape", ["values", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["picked"]),
        helper.make_node("Sub", ["picked", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "out_shape"], ["shaped"]),
        helper.make_node("Cast", ["shaped"], ["feature"], to=out),
    ]
    outputs = [helper.make_tensor_value_info("feature", out, ["n", 2, *axes])]
    for name in further:
        nodes.append(helper.make_node("ReduceL2", ["flat"], [name], axes=[1], keepdims=1))
        outputs.append(helper.make_tensor_value_info(name, FLOAT, ["n", 1]))
    constants = {
        "shape": np.array([-1, 3 * SIDE * SIDE], np.int64),
        "out_shape": np.array([-1, 2, *axes], np.int64),
        "weights": weights,
        "mean": np.float32(100 if kind == BYTES else 0),
        "std": np.float32(25 if kind == BYTES else 1),
    }
    graph = helper.make_graph(
        nodes,
        "hand-made",
        [helper.make_tensor_value_info("crops", kind, list(shape))],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def taken_in(source: Path, **settings: Any) -> Model:
    """Read a network in this process and write it as a model."""
    spec, content = read_onnx(source, "mine", **settings)
    return write_model(source.with_suffix(".safetensors"), spec, {ONNX: content})


def check(model: Model, tolerance: float = 1e-6) -> None:
    """The model gives channels 0 and 2 of the corner as a unit vector, and passes its own check."""
    np.testing.assert_allclose(Embedder(model).embed(CROPS), [[0.6, 0.8], [0.8, 0.6]], atol=tolerance)
    assert verify_model(model.path).spec.dimension == 2


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({}, 1e-6),
        ({"kind": HALF, "out": HALF}, 1e-3),
        ({"kind": HALF}, 1e-3),
        ({"out": HALF}, 1e-3),
        ({"kind": BYTES}, 1e-6),
        ({"kind": BYTES, "out": HALF, "shape": (1, SIDE, SIDE, 3)}, 1e-3),
        ({"shape": ("n", SIDE, SIDE, 3)}, 1e-6),
        ({"shape": ("n", "h", "w", 3)}, 1e-6),
        ({"shape": ("n", "c", "h", "w")}, 1e-6),
        ({"shape": (1, 3, SIDE, SIDE)}, 1e-6),
        ({"axes": (1, 1)}, 1e-6),
        ({"axes": (1,)}, 1e-6),
    ],
    ids=str,
)
def test_a_face_network_of_any_kind_gives_the_same_embeddings(
    tmp_path: Path, settings: dict[str, object], tolerance: float
) -> None:
    source = network(tmp_path / "mine.onnx", **settings)  # type: ignore[arg-type]
    check(taken_in(source, input_size=(SIDE, SIDE), mean=100, std=25), tolerance)


def test_what_is_subtracted_and_divided_is_of_pixels_from_0_to_255(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"a std of 0\.5 is that of pixels from 0 to 1.* a mean of 127\.5 and a std of 127"
    ):
        taken_in(network(tmp_path / "mine.onnx"), mean=0.5, std=0.5)


def test_of_several_outputs_one_must_be_named(tmp_path: Path) -> None:
    source = network(tmp_path / "adaface.onnx", further=("norm",))
    with pytest.raises(ModelError, match=r"--output: feature .*; norm "):
        taken_in(source)
    with pytest.raises(ModelError, match=r"no output 'features'.*feature "):
        taken_in(source, output="features")
    check(taken_in(source, output="feature", mean=100, std=25))


def test_a_network_that_needs_no_bridge_is_kept_byte_for_byte(tmp_path: Path) -> None:
    source = network(tmp_path / "mine.onnx")
    assert taken_in(source).onnx_bytes() == source.read_bytes()


def test_a_network_that_gives_zero_for_a_black_image_is_taken_in(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = taken_in(network(tmp_path / "mine.onnx"), mean=0, std=1)
    verify_model(model.path)
    assert capfd.readouterr().err == ""


def test_a_network_whose_batch_is_fixed_inside_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = network(tmp_path / "mine.onnx")
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.name == "shape":
            tensor.CopyFrom(numpy_helper.from_array(np.array([1, 3 * SIDE * SIDE], np.int64), "shape"))
    onnx.save(model, source)
    assert taken_in(source).spec.arguments == {"batch": 1}
    assert capfd.readouterr().err == ""


def _external(tensor: TensorProto) -> TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    tensor.ClearField("raw_data")
    return tensor


def _in_initializer(model: onnx.ModelProto) -> None:
    _external(next(tensor for tensor in model.graph.initializer if tensor.name == "weights"))


def _in_name_alone(model: onnx.ModelProto) -> None:
    _in_initializer(model)
    next(tensor for tensor in model.graph.initializer if tensor.external_data).ClearField("data_location")


def _in_kind_alone(model: onnx.ModelProto) -> None:
    _in_initializer(model)
    next(tensor for tensor in model.graph.initializer if tensor.external_data).ClearField("external_data")


def _in_constant(model: onnx.ModelProto) -> None:
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["weights"], value=_external(weights)))
    model.graph.initializer.remove(weights)


def _in_subgraph(model: onnx.ModelProto) -> None:
    tensor = _external(numpy_helper.from_array(np.ones((1, 2), np.float32), "inner"))
    inner = helper.make_node("Constant", [], ["inner"], value=tensor)
    graph = helper.make_graph([inner], "branch", [], [helper.make_tensor_value_info("inner", FLOAT, [1, 2])])
    model.graph.node.append(helper.make_node("If", ["condition"], ["more"], then_branch=graph, else_branch=graph))


def _in_function(model: onnx.ModelProto) -> None:
    tensor = _external(numpy_helper.from_array(np.ones((1, 2), np.float32), "inner"))
    node = helper.make_node("Constant", [], ["inner"], value=tensor)
    model.functions.append(helper.make_function("own", "F", [], ["inner"], [node], [helper.make_opsetid("", 13)]))


def _sparse(model: onnx.ModelProto) -> None:
    values = _external(numpy_helper.from_array(np.ones(1, np.float32), "values"))
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))


def _context(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("EPContext", [], ["x"], domain="com.microsoft", ep_cache_context="file"))


@pytest.mark.parametrize("operator", ["Loop", "Scan"])
def test_a_network_that_repeats_what_it_likes_is_refused(tmp_path: Path, operator: str) -> None:
    """With 2**62 rounds its trial would never end; nor would a model file's that somebody else wrote."""
    model = onnx.load(network(tmp_path / "mine.onnx"))
    inner = helper.make_graph([helper.make_node(operator, [], ["x"])], "rounds", [], [])
    model.graph.node.append(helper.make_node("If", ["condition"], ["more"], then_branch=inner, else_branch=inner))
    (tmp_path / "mine.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=f"the operator {operator}"):
        taken_in(tmp_path / "mine.onnx")
    spec, _ = read_onnx(network(tmp_path / "sound.onnx"), "mine")
    content = np.frombuffer((tmp_path / "mine.onnx").read_bytes(), np.uint8)
    from_elsewhere = write_model(tmp_path / "mine.safetensors", spec, {ONNX: content})
    with pytest.raises(ModelError, match=rf"mine\.safetensors: .*the operator {operator}"):
        Embedder(from_elsewhere)


def test_a_field_is_the_one_that_protobuf_takes_it_for() -> None:
    """ONNX Runtime drops the upper bits of a tag: an operator, or a file beside the model, that the check passed by."""
    plain, long = b"\x22", b"\xa2\x80\x80\x80\x10"  # field 4 of a node, and the same plus 2**32
    for tag in (plain, long):
        node = nested(1, [*text(2, "x"), tag, b"\x04Loop"])
        with pytest.raises(WrongNetwork, match="Loop" if tag == plain else "a field of an unknown number"):
            check_network(b"".join(nested(7, node)))


@pytest.mark.parametrize(
    "place",
    [_in_initializer, _in_name_alone, _in_kind_alone, _in_constant, _in_subgraph, _in_function, _sparse, _context],
)
def test_no_file_beside_the_model_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx.load(network(tmp_path / "mine.onnx"))
    place(model)
    (tmp_path / "mine.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "weights.bin").write_bytes(bytes(4096))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="separate file"):
        taken_in(tmp_path / "mine.onnx")


def test_the_case_that_was_found_is_refused(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="separate file"):
        taken_in(shared / "cases" / "onnx_external_constant.onnx")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x0a\x05abc", "it ends too soon"),
        (b"\x00\x01", "it ends too soon"),
        (b"\x08\xff", "a number does not end"),
        (b"\x08" + b"\xff" * 10, "a number does not end"),
        (b"\x0b", "a field of an unknown kind"),
    ],
)
def test_what_is_torn_is_told_before_anybody_reads_it(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "torn.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=says):
        taken_in(tmp_path / "torn.onnx")


def test_more_parts_than_any_network_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_reading, "MAX_FIELDS", 10)
    with pytest.raises(ModelError, match="more than 10 parts"):
        taken_in(network(tmp_path / "mine.onnx"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_no_network(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match="not a regular"):
        taken_in(tmp_path / "pipe.onnx")


def test_trial_crops_are_faces_all_different_and_always_the_same() -> None:
    crops = trial_crops(112, 96)
    assert crops.shape == (3, 112, 96, 3)
    assert len({crop.tobytes() for crop in crops}) == 3
    np.testing.assert_array_equal(crops, trial_crops(112, 96))


def test_ordinary_and_odd_networks_are_taken_in_without_the_package_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, odd = network(tmp_path / "plain.onnx"), network(tmp_path / "odd.onnx", kind=HALF, axes=(1, 1))
    monkeypatch.setitem(sys.modules, "onnx", None)
    for source in (plain, odd):
        check(taken_in(source, mean=100, std=25), 1e-3)


def test_a_network_whose_names_are_no_text_is_refused(tmp_path: Path) -> None:
    source = network(tmp_path / "mine.onnx", shape=("batches", 3, SIDE, SIDE))
    for name in (b"batches", b"feature", b"Reshape"):
        (tmp_path / "odd.onnx").write_bytes(source.read_bytes().replace(name, b"\x9e" + name[1:]))
        with pytest.raises(ModelError, match="is no UTF-8"):
            taken_in(tmp_path / "odd.onnx")


def test_a_network_that_does_not_start_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of a name that is no text ONNX Runtime says on standard output that it tries again."""
    content = network(tmp_path / "mine.onnx").read_bytes()
    for operator in (b"MatLul", b"\x9eatMul"):
        with pytest.raises(SessionError, match="refuses the network"):
            open_session(content.replace(b"MatMul", operator))
    assert capfd.readouterr() == ("", "")
