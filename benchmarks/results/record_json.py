"""Dataclasses to JSON-able data and back, to the bit; on the way back every value is checked against its annotation.

It knows what the results of the benchmarks are made of: nested dataclasses, tuples, `X | None`, Literal, dict[str, T],
float64 and int64 vectors, str, int, float, bool.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

Record = TypeVar("Record")

NOT_FINITE = ("inf", "-inf", "nan")  # JSON has no such numbers; they are kept as text


class UnexpectedValue(Exception):
    """A value that is missing or not of its kind; the text says where, for an error that names the file."""


def encode(value: Any) -> Any:
    """Return a dataclass (or what it is made of) as JSON-able data; a mapping's keys are sorted."""
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(value[key]) for key in sorted(value)}
    if isinstance(value, np.ndarray):
        return [encode(one) for one in value.tolist()]
    if isinstance(value, tuple | list):
        return [encode(one) for one in value]
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def decode(data: Any, kind: type[Record]) -> Record:
    """Return JSON data as a dataclass of that kind.

    Names that it does not know are passed over; a field that is not there takes its default, where it has one.
    Raises UnexpectedValue.
    """
    record: Record = _decode(data, kind, "")
    return record


def _decode(value: Any, kind: Any, place: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _decode(value, next(part for part in parts if part is not NoneType), place)
    if is_dataclass(kind):
        return _record(value, kind, place)
    if origin is dict:
        _expect(isinstance(value, dict), value, place)
        return {key: _decode(one, parts[1], f"{place}.{key}") for key, one in value.items()}
    if origin is tuple:
        _expect(isinstance(value, list) and (parts[-1] is ... or len(value) == len(parts)), value, place)
        return tuple(_decode(one, parts[0], f"{place}[{number}]") for number, one in enumerate(value))
    if origin is np.ndarray:
        if np.float64 in get_args(parts[1]):
            return np.array(_decode(value, tuple[float, ...], place), np.float64)
        return np.array(_decode(value, tuple[int, ...], place), np.int64)
    if kind is float and value in NOT_FINITE:
        return float(value)
    if kind is float:
        _expect(type(value) in (int, float), value, place)
        return float(value)
    _expect(value in parts if origin is Literal else type(value) is kind, value, place)
    return value


def _record(value: Any, kind: Any, place: str) -> Any:
    _expect(isinstance(value, dict), value, place)
    hints = get_type_hints(kind)
    for field in fields(kind):
        if field.name not in value and field.default is MISSING:
            raise UnexpectedValue(f"{place}.{field.name} is missing".lstrip("."))
    return kind(
        **{name: _decode(value[name], hint, f"{place}.{name}") for name, hint in hints.items() if name in value}
    )


def _expect(holds: bool, value: Any, place: str) -> None:
    if not holds:
        raise UnexpectedValue(f"{place.lstrip('.') or 'the whole'} is {repr(value)[:60]}")
