"""Makes somebody's ONNX network one of our kind: normalised float32 crops [B, 3, H, W] in, float32 [B, D] out.

Networks differ at their ends: half precision or bytes, channels last, several outputs, [B, D, 1, 1]. The operators that
bridge that are put into the network once, when it is taken in, so that whatever runs it later needs to know nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from faceid.inference.onnx_graph import Attribute, Message, joined, nested, number, written_node, written_value
from faceid.inference.onnx_reading import fields

CROPS, EMBEDDINGS = "faceid_crops", "faceid_embeddings"
FLOAT, HALF, BYTES = "tensor(float)", "tensor(float16)", "tensor(uint8)"
"""The element types of a network's ends, in ONNX Runtime's words."""

_NUMBERS = {FLOAT: 1, HALF: 10, BYTES: 2}  # of the element types, and below of the fields, in onnx.proto
_GRAPH, _OPSET = 7, 8
_NODE, _INPUT, _OUTPUT = 1, 11, 12

Steps = Sequence[tuple[str, dict[str, Attribute]]]


def adapted(
    network: bytes,
    *,
    given: tuple[str, str],
    wanted: tuple[str, int],
    channels_last: bool,
    size: tuple[int, int],
    batch: int | None,
) -> bytes:
    """Return the network (one that `check_network` passed) with our ends.

    `given` is the name and element type of its input, `wanted` the name of the output that gives the embeddings and how
    many axes that has ([B, D, 1, 1] and the like become [B, D]); `size` is the height and width of a crop, `batch` how
    many the network takes at a time (None: any). Bytes as input take the pixels 0 to 255.
    """
    name, kind = given
    parts = list(fields(memoryview(network)))
    # Of several graphs protobuf makes one.
    graph = b"".join(part.value for part in parts if part.number == _GRAPH and isinstance(part.value, memoryview))
    nodes: Message = []
    kept: Message = []
    for part in fields(memoryview(graph)):
        if part.number == _NODE:
            nodes.append(bytes(part.whole))
        elif part.number != _OUTPUT and not (part.number == _INPUT and _name(part.value) == name):
            kept.append(bytes(part.whole))
    turned: Steps = [("Transpose", {"perm": [0, 2, 3, 1]})] if channels_last else []
    before = _chain(CROPS, name, [*turned, ("Cast", {"to": _NUMBERS[kind]})])
    flat: Steps = [("Flatten", {"axis": 1})] if wanted[1] != 2 else []
    after = _chain(wanted[0], EMBEDDINGS, [*flat, ("Cast", {"to": _NUMBERS[FLOAT]})])
    ends = nested(_INPUT, written_value(CROPS, [batch or "batch", 3, *size]))
    ends += nested(_OUTPUT, written_value(EMBEDDINGS, [batch or "batch", "dimension"]))
    rest = [bytes(part.whole) for part in parts if part.number != _GRAPH]
    if not any(part.number == _OPSET and _name(part.value) in ("", "ai.onnx") for part in parts):
        rest += nested(_OPSET, number(2, 13))
    return b"".join([*rest, *nested(_GRAPH, [*before, *nodes, *after, *kept, *ends])])


def _name(message: int | memoryview) -> str | None:
    """Return the first field of a message, where it is a text: what names a value or an operator set."""
    if not isinstance(message, memoryview):
        return None
    texts = [one.value for one in fields(message) if one.number == 1 and isinstance(one.value, memoryview)]
    return bytes(texts[-1]).decode() if texts else ""


def _chain(first: str, last: str, steps: Steps) -> Message:
    """Write operators that lead from one value to another."""
    names = [first, *(f"faceid_{last}_{place}" for place in range(len(steps) - 1)), last]
    return joined(
        nested(_NODE, written_node((operator, (source,), target, attributes), {}))
        for (operator, attributes), (source, target) in zip(steps, pairwise(names), strict=True)
    )
