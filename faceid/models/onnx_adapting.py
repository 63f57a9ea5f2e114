"""Makes somebody's ONNX network one of our kind: normalised float32 crops [B, 3, H, W] in, float32 [B, D] out.

Networks differ at their ends: half precision or bytes, channels last, several outputs, [B, D, 1, 1]. The operators that
bridge that are put into the network once, when it is taken in, so that whatever runs it later needs to know nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import onnx
from onnx import AttributeProto, TensorProto, helper

CROPS, EMBEDDINGS = "faceid_crops", "faceid_embeddings"
# Operators that read a file of their own when they run.
READING_OPERATORS = {"EPContext"}

Network = Any  # an onnx.ModelProto; the package has no types


def other_files(model: Network) -> Iterator[str]:
    """Yield what in the network lies in other files: tensors anywhere in it, and operators that read some."""
    graphs = [model.graph, *(info.algorithm for info in model.training_info)]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        while nodes:
            node = nodes.pop()
            if node.op_type in READING_OPERATORS:
                yield f"the operator {node.op_type}"
            for attribute in node.attribute:
                yield from filter(None, map(_elsewhere, _tensors(attribute)))
                graphs += [*attribute.graphs, *([attribute.g] if attribute.type == AttributeProto.GRAPH else [])]
        if graphs:
            graph = graphs.pop()
            sparse = [part for each in graph.sparse_initializer for part in (each.values, each.indices)]
            yield from filter(None, map(_elsewhere, [*graph.initializer, *sparse]))
            nodes += graph.node


def _tensors(attribute: AttributeProto) -> list[TensorProto]:
    sparse = [attribute.sparse_tensor, *attribute.sparse_tensors]
    return [attribute.t, *attribute.tensors, *(part for each in sparse for part in (each.values, each.indices))]


def _elsewhere(tensor: TensorProto) -> str | None:
    external = tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data) > 0
    return f"the tensor {tensor.name or 'of a constant'!r}" if external else None


def adapted(
    model: Network, *, output: str, output_rank: int, channels_last: bool, size: tuple[int, int], batch: int | None
) -> bytes:
    """Return the network with our ends, as bytes; `output` is which of its outputs gives the embeddings.

    `output_rank` is how many axes that has ([B, D, 1, 1] and the like become [B, D]); `size` is the height and width
    of a crop, `batch` how many the network takes at a time (None: any). Bytes as input take the pixels 0 to 255.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    (given,) = (value for value in graph.input if value.name not in constants)
    (wanted,) = (value for value in graph.output if value.name == output)
    nodes = list(graph.node)
    before = _input_nodes(given.name, given.type.tensor_type.elem_type, channels_last)
    after = _output_nodes(wanted.name, wanted.type.tensor_type.elem_type, output_rank)
    del graph.node[:]
    graph.node.extend([*before, *nodes, *after])
    kept = [value for value in graph.input if value.name != given.name]
    del graph.input[:]
    shape = [batch or "batch", 3, *size]
    graph.input.extend([helper.make_tensor_value_info(CROPS, TensorProto.FLOAT, shape), *kept])
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(EMBEDDINGS, TensorProto.FLOAT, [batch or "batch", None]))
    if not any(each.domain in ("", "ai.onnx") for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", 13))
    adapted_bytes: bytes = model.SerializeToString()
    return adapted_bytes


def _input_nodes(name: str, kind: int, channels_last: bool) -> list[onnx.NodeProto]:
    steps: list[tuple[str, dict[str, Any]]] = []
    if channels_last:
        steps.append(("Transpose", {"perm": [0, 2, 3, 1]}))
    steps.append(("Cast", {"to": kind}))
    return _chain(CROPS, name, steps)


def _output_nodes(name: str, kind: int, rank: int) -> list[onnx.NodeProto]:
    steps: list[tuple[str, dict[str, Any]]] = [("Flatten", {"axis": 1})] if rank != 2 else []
    return _chain(name, EMBEDDINGS, [*steps, ("Cast", {"to": TensorProto.FLOAT})])


def _chain(first: str, last: str, steps: list[tuple[str, dict[str, Any]]]) -> list[onnx.NodeProto]:
    names = [first, *(f"faceid_{last}_{number}" for number in range(len(steps) - 1)), last]
    return [
        helper.make_node(operator, [source], [target], **attributes)
        for (operator, attributes), (source, target) in zip(steps, pairwise(names), strict=True)
    ]
