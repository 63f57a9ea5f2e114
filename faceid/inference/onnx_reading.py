"""Reads ONNX's bytes as far as it takes to judge somebody's network, and to put operators before and after it.

The package `onnx` would read all of it; this needs only protobuf's wire format (`faceid.inference.onnx_graph` writes
it) and the numbers of onnx.proto's fields. Nothing is decoded that is not asked for, no depth and no length is
believed, and no file is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from faceid.inference.onnx_graph import FIXED32, LENGTH, VARINT

FIXED64 = 1
MAX_FIELDS = 5_000_000
"""Of networks people use, the largest have some hundred thousand."""

# The messages that may hold a tensor, an operator or a name: for each of their fields the message in it.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 9: "opset", 11: "attribute", 12: "value"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "value": {2: "type"},
    "type": {1: "tensor type"},
    "tensor type": {2: "shape"},
    "shape": {1: "dimension"},
}
_NAMES: dict[str, tuple[int, ...]] = {
    "opset": (1,),
    "function": (1, 4, 5, 6, 10),
    "graph": (2,),
    "node": (1, 2, 3, 4, 7),
    "attribute": (1, 21),
    "tensor": (8,),
    "value": (1,),
    "dimension": (2,),
}
_OPERATOR = ("node", 4)
_DATA_LOCATION, _EXTERNAL_DATA = ("tensor", 14), ("tensor", 13)
# Operators that read a file of their own when they run.
READING_OPERATORS = (b"EPContext",)
# Operators that run for as many rounds as the network says: nobody could say beforehand whether it ends.
REPEATING_OPERATORS = (b"Loop", b"Scan")


class WrongNetwork(ValueError):
    """Bytes that are no network that can be taken in, and why."""


@dataclass(frozen=True)
class Field:
    """One field of a message: its number, its value, and all of its bytes."""

    number: int
    value: int | memoryview
    whole: memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message; raises WrongNetwork where it ends too soon or is none."""
    place = 0
    while place < len(message):
        start = place
        tag, place = _varint(message, place)
        if tag >= 2**32:  # protobuf drops these bits, and would take it for a field that nobody has looked at
            raise WrongNetwork("torn or no ONNX file (a field of an unknown number)")
        number, kind = tag >> 3, tag & 7
        value: int | memoryview
        if kind == VARINT:
            value, place = _varint(message, place)
        elif kind in (FIXED32, FIXED64, LENGTH):
            length, place = _varint(message, place) if kind == LENGTH else (4 if kind == FIXED32 else 8, place)
            value = message[place : place + length]
            place += length
        else:
            raise WrongNetwork("torn or no ONNX file (a field of an unknown kind)")
        if place > len(message) or not number:
            raise WrongNetwork("torn or no ONNX file (it ends too soon)")
        yield Field(number, value, message[start:place])


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        digit = message[place]
        place += 1
        value |= (digit & 0x7F) << shift
        if digit < 0x80:
            return value, place
    raise WrongNetwork("torn or no ONNX file (a number does not end)")


def check_network(network: bytes) -> None:
    """Raise WrongNetwork unless the bytes are one ONNX network, all of it in here, with names that are text.

    One digest must cover all of it: no tensor anywhere lies in another file, and no operator reads one.
    """
    waiting = [("model", memoryview(network))]
    count = 0
    while waiting:
        kind, message = waiting.pop()
        for field in fields(message):
            count += 1
            if count > MAX_FIELDS:
                raise WrongNetwork(f"more than {MAX_FIELDS:,} parts; no face network has so many")
            _check_field(kind, field)
            inner = _MESSAGES.get(kind, {}).get(field.number)
            if inner is not None and isinstance(field.value, memoryview):
                waiting.append((inner, field.value))


def _check_field(kind: str, field: Field) -> None:
    where = (kind, field.number)
    if field.number in _NAMES.get(kind, ()) and isinstance(field.value, memoryview):
        name = bytes(field.value)
        if where == _OPERATOR and name in READING_OPERATORS:
            raise _elsewhere(f"what the operator {name.decode()} runs")
        if where == _OPERATOR and name in REPEATING_OPERATORS:
            raise WrongNetwork(f"the operator {name.decode()} repeats what it likes; export the network without loops")
        try:
            name.decode()
        except UnicodeDecodeError:
            raise WrongNetwork(f"torn or no ONNX file (the name {name!r:.60} is no UTF-8)") from None
    if where == _EXTERNAL_DATA or (where == _DATA_LOCATION and field.value != 0):
        raise _elsewhere("a tensor")


def _elsewhere(what: str) -> WrongNetwork:
    return WrongNetwork(
        f"{what} is in a separate file (external data); save it as one file first: "
        "onnx.save(onnx.load(PATH), ONE_FILE, save_as_external_data=False)"
    )
