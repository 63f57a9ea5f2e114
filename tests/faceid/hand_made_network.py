"""Small ONNX networks whose answers can be worked out by hand."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 8


def corner_network(path: Path, batch: int | str = "batch", *, weight: float = 1.0, shape_batch: int = -1) -> Path:
    """Write a network that gives channels 0 and 2 of the upper left pixel of an 8x8 crop."""
    weights = np.zeros((3 * SIDE * SIDE, 2), np.float32)
    weights[0, 0] = weight
    weights[2 * SIDE * SIDE, 1] = weight
    nodes = [
        helper.make_node("Reshape", ["crops", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embeddings"]),
    ]
    constants = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.array([shape_batch, 3 * SIDE * SIDE], np.int64), "shape"),
    ]
    return write_network(path, nodes, constants, [batch, 3, SIDE, SIDE], [batch, 2])


def write_network(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    input_shape: list[int | str],
    output_shape: list[int | str],
    kind: int = TensorProto.FLOAT,
) -> Path:
    """Write a network from `crops` to `embeddings`."""
    graph = helper.make_graph(
        nodes,
        "hand-made",
        [helper.make_tensor_value_info("crops", kind, input_shape)],
        [helper.make_tensor_value_info("embeddings", kind, output_shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def corner_crop(left: tuple[int, int, int], right: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    """Make an 8x8 crop, black but for the upper corners' RGB."""
    crop = np.zeros((SIDE, SIDE, 3), np.uint8)
    crop[0, 0] = left
    crop[0, -1] = right
    return crop
