"""Builds an ONNX network node by node and writes it as bytes, for ONNX Runtime, OpenVINO, or anybody else.

The package `onnx` could do it too, at 26 MB on the disk and an eighth of a second for every command. The messages and
their numbers are those of onnx.proto (ONNX 1.12, operator set 17); protobuf's wire format is all that it takes: a tag
(field number, kind) before each value, and a length before what is not a number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

IR_VERSION, OPSET = 8, 17
MAX_BYTES = 2**31 - 1  # of a protobuf message

# How protobuf writes a value, and ONNX's numbers for element and attribute types.
VARINT, LENGTH, FIXED32 = 0, 2, 5
ELEMENT_TYPES = {np.dtype(np.float32): 1, np.dtype(np.int64): 7}
FLOAT, INT, STRING, INTS = 1, 2, 3, 7

Message = list[bytes]  # in pieces, so that weights are copied once, when all is joined
Attribute = int | float | str | Sequence[int]
Node = tuple[str, tuple[str, ...], str, Mapping[str, Attribute]]  # operator, inputs, output, attributes
Side = int | str  # of a shape: fixed, or free and named


class WrongWeights(ValueError):
    """Weights that are not there, too many, or of another shape than the network has."""


class OnnxGraph:
    """A network being built; values are named by text, weights keep the names they have in `weights`."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self._weights = dict(weights)  # those that have no place yet
        self._constants: Message = []
        self._nodes: list[Node] = []

    def node(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """Add a node with one output, and return that value's name."""
        output = f"{operator}_{len(self._nodes)}"
        self._nodes.append((operator, inputs, output, attributes))
        return output

    def weight(self, name: str, *shape: int, broadcast: bool = False) -> str:
        """Take a float32 weight by its name, once; `broadcast` gives a vector the axes that make it one of channels.

        Raises WrongWeights unless it is there and has this shape.
        """
        array = self._weights.pop(name, None)
        if array is None:
            raise WrongWeights(f"{name} is missing")
        if array.shape != shape or array.dtype != np.float32:
            raise WrongWeights(f"{name} is {array.dtype} {list(array.shape)}, not float32 {list(shape)}")
        return self.constant(name, array.reshape(*shape, 1, 1) if broadcast else array)

    def without(self, name: str) -> None:
        """Say that a weight, if it is there, has no part in what the network computes."""
        self._weights.pop(name, None)

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add values that are part of the network, float32 or int64, and return their name."""
        self._constants += nested(5, _tensor(name, array))
        return name

    def to_bytes(
        self,
        inputs: Mapping[str, Sequence[Side]],
        outputs: Mapping[str, tuple[str, Sequence[Side]]],
        metadata: Mapping[str, str] | None = None,
    ) -> bytes:
        """Write the network: `inputs` by name with their shapes, `outputs` by name with their values and shapes.

        All are float32. Raises WrongWeights where some weights were not used, or are too many for one ONNX file.
        """
        if left := sorted(self._weights):
            raise WrongWeights(f"there is no place for {', '.join(left[:5])}" + (" ..." if len(left) > 5 else ""))
        public = {value: name for name, (value, _) in outputs.items()}
        graph = joined(nested(1, written_node(node, public)) for node in self._nodes)
        graph += [*text(2, "faceid"), *self._constants]
        for name, shape in inputs.items():
            graph += nested(11, written_value(name, shape))
        for name, (_, shape) in outputs.items():
            graph += nested(12, written_value(name, shape))
        model = [*number(1, IR_VERSION), *text(2, "faceid"), *nested(7, graph), *nested(8, number(2, OPSET))]
        for key, value in (metadata or {}).items():
            model += nested(14, [*text(1, key), *text(2, value)])
        if sum(map(len, model)) > MAX_BYTES:
            raise WrongWeights("the weights take more than the 2 GB of an ONNX file")
        return b"".join(model)


def written_node(node: Node, public: Mapping[str, str]) -> Message:
    """Write a NodeProto, with the public names of values that have one."""
    operator, inputs, output, attributes = node
    parts = joined(text(1, public.get(name, name)) for name in inputs)
    parts += [*text(2, public.get(output, output)), *text(4, operator)]
    for name, value in attributes.items():
        parts += nested(5, [*text(1, name), *_attribute(value)])
    return parts


def written_value(name: str, shape: Sequence[Side]) -> Message:
    """Write the ValueInfoProto of a float32 tensor."""
    sides = [nested(1, text(2, side) if isinstance(side, str) else number(1, side)) for side in shape]
    tensor = [*number(1, ELEMENT_TYPES[np.dtype(np.float32)]), *nested(2, joined(sides))]
    return [*text(1, name), *nested(2, nested(1, tensor))]


def _tensor(name: str, array: NDArray[Any]) -> Message:
    """Write a TensorProto; its numbers are little-endian."""
    values = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    sides = joined(number(1, side) for side in array.shape)
    return [*sides, *number(2, ELEMENT_TYPES[array.dtype]), *text(8, name), *nested(9, [values.tobytes()])]


def _attribute(value: Attribute) -> Message:
    """Write the value and the type of an AttributeProto."""
    if isinstance(value, int):
        return [*number(3, value), *number(20, INT)]
    if isinstance(value, float):
        return [_tag(2, FIXED32), struct.pack("<f", value), *number(20, FLOAT)]
    if isinstance(value, str):
        return [*text(4, value), *number(20, STRING)]
    return [*joined(number(8, each) for each in value), *number(20, INTS)]


def joined(messages: Iterable[Message]) -> Message:
    """Put messages one after the other."""
    return [piece for message in messages for piece in message]


def nested(field: int, message: Message) -> Message:
    """Write a field that is a message."""
    return [_tag(field, LENGTH), _varint(sum(map(len, message))), *message]


def text(field: int, value: str) -> Message:
    """Write a field that is a text."""
    return nested(field, [value.encode()])


def number(field: int, value: int) -> Message:
    """Write a field that is a number."""
    return [_tag(field, VARINT), _varint(value)]


def _tag(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; negative numbers as 64 bits."""
    value &= 2**64 - 1
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
