"""Networks that we write as ONNX: the format's own checker takes them, and no weight is lost or misplaced."""

import numpy as np
import pytest

from faceid.inference.onnx_graph import OnnxGraph, WrongWeights
from faceid.inference.onnx_session import open_session

onnx = pytest.importorskip("onnx")


def doubled(**weights: np.ndarray) -> bytes:
    """A network that multiplies [batch, 3] by the weight `scale` [3]."""
    graph = OnnxGraph(weights)
    return graph.to_bytes(
        {"x": ("batch", 3)},
        {"y": (graph.node("Mul", "x", graph.weight("scale", 3)), ("batch", 3))},
        {"remark": "Grüße"},
    )


def test_a_network_is_sound_onnx_and_computes():
    network = doubled(scale=np.array([1, -2, 0.5], np.float32))

    model = onnx.load_model_from_string(network)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"remark": "Grüße"}
    (result,) = open_session(network).run(["y"], {"x": np.array([[1, 2, 4], [0, -1, 3]], np.float32)})
    assert result.tolist() == [[1, -4, 2], [0, 2, 1.5]]


def test_attributes_and_constants_are_read_back_as_they_were_written():
    graph = OnnxGraph({})
    whole = graph.constant("whole", np.array([-1, 2**40], np.int64))
    graph.node("Any", whole, zero=0, negative=-3, large=2**40, real=0.1, text="linear", several=(0, -1, 300))

    model = onnx.load_model_from_string(graph.to_bytes({}, {}))

    (node,) = model.graph.node
    read = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    assert read.pop("real") == pytest.approx(0.1)
    assert read == {"zero": 0, "negative": -3, "large": 2**40, "text": b"linear", "several": [0, -1, 300]}
    assert onnx.numpy_helper.to_array(model.graph.initializer[0]).tolist() == [-1, 2**40]


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({}, "scale is missing"),
        ({"scale": np.ones(4, np.float32)}, r"scale is float32 \[4\], not float32 \[3\]"),
        ({"scale": np.ones(3)}, r"scale is float64"),
        ({"scale": np.ones(3, np.float32), "more": np.ones(1, np.float32)}, "no place for more"),
    ],
    ids=["missing", "shape", "type", "left over"],
)
def test_weights_that_do_not_fit_are_refused(weights, reason):
    with pytest.raises(WrongWeights, match=reason):
        doubled(**weights)


def test_weights_that_lie_crosswise_in_memory_are_written_in_order():
    crosswise = np.arange(6, dtype=np.float32).reshape(3, 2).T
    graph = OnnxGraph({"matrix": crosswise})
    product = graph.node("MatMul", "x", graph.weight("matrix", 2, 3))

    (result,) = open_session(graph.to_bytes({"x": (1, 2)}, {"y": (product, (1, 3))})).run(
        None, {"x": np.array([[1, 10]], np.float32)}
    )

    assert result.tolist() == [[10, 32, 54]]
