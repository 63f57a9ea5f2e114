"""Dataclasses to JSON-able data and back, to the bit; on the way back every value is checked against its annotation.

msgspec reads; this adds what it does not know: vectors of NumPy, and floats that JSON has no numbers for.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin

import msgspec
import numpy as np

Record = TypeVar("Record")


class UnexpectedValue(Exception):
    """A value that is missing or not of its kind; the text says where, for an error that names the file."""


def encode(value: Any) -> Any:
    """Return a dataclass (or what it is made of) as JSON-able data; a mapping's keys are sorted.

    Floats that are not finite become text: "inf", "-inf", "nan".
    """
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(value[key]) for key in sorted(value)}
    if isinstance(value, np.ndarray | np.generic):
        return encode(value.tolist())
    if isinstance(value, tuple | list):
        return [encode(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def decode(data: Any, kind: type[Record]) -> Record:
    """Return JSON data as a dataclass of that kind.

    Names that it does not know are passed over; a field that is not there takes its default, where it has one.
    Raises UnexpectedValue.
    """
    try:
        # Not strict, which would refuse the text "inf" for a float.
        return msgspec.convert(data, kind, strict=False, dec_hook=_vector)
    except msgspec.ValidationError as error:
        raise UnexpectedValue(str(error)) from error


def _vector(kind: Any, value: Any) -> Any:
    """Return a list of numbers as the vector float64 or int64 that is wanted."""
    if get_origin(kind) is not np.ndarray:
        raise TypeError(f"results hold no {kind}")
    (scalar,) = get_args(get_args(kind)[1])
    numbers = list[float] if scalar is np.float64 else list[int]
    try:
        return np.array(msgspec.convert(value, numbers, strict=False), scalar)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error  # msgspec adds where in the record that is
