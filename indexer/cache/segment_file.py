"""Arrays in a file that never changes: safetensors, read as checked copies.

The hashes are not in the file but in the manifest (`indexer.cache.index_cache`), which is written last; an encrypted
gallery's file is sealed and needs none (`indexer.cache.file_bytes`). Nothing is mapped: a file that somebody cuts or
overwrites while it is open costs an error that is caught, not the process (SIGBUS) and not a wrong answer. A whole
array is verified as it is copied; single rows of a large one carry a sum each.
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.cache.file_bytes import FileRecord, HashedSink, SealedSink, SegmentDamaged, open_bytes_of
from indexer.records import FloatMatrix

_ALIGNED = 64  # bytes: a cache line, and the widest register
_HEADER = 1 << 16  # bytes; headers of ours are far shorter
_BLOCK = 16 << 20  # bytes copied at a time while a file is written

# safetensors' words for types
_NAMES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "I8": np.dtype("i1")}
_WORDS = {dtype: word for word, dtype in _NAMES.items()}


@dataclass(frozen=True)
class ArraySpec:
    """Shape and type of an array before its content is known."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Its bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class SegmentWriter:
    """A safetensors file whose arrays are filled block by block; the caller puts the finished file in its place."""

    def __init__(self, temporary: Path, name: str, specs: Mapping[str, ArraySpec], sealing: bytes | None) -> None:
        """Begin the file that is going to be called `name`, sealed with the key `sealing` or plain."""
        # Rows that are a multiple of a cache line come first, so that every array starts aligned without gaps.
        names = sorted(specs, key=lambda name: -_alignment(specs[name]))
        header: dict[str, dict[str, Any]] = {}
        offset = 0
        for array in names:
            end = offset + specs[array].size
            header[array] = {
                "dtype": _WORDS[specs[array].dtype],
                "shape": specs[array].shape,
                "data_offsets": [offset, end],
            }
            offset = end
        text = json.dumps(header).encode()
        text += b" " * (-(8 + len(text)) % _ALIGNED)
        self._starts = {array: 8 + len(text) + header[array]["data_offsets"][0] for array in names}
        self._specs = specs
        self._name = name
        file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        size = 8 + len(text) + offset
        self._sink = HashedSink(file, size) if sealing is None else SealedSink(file, size, sealing, name)
        try:
            self._sink.put(0, struct.pack("<Q", len(text)) + text)
        except BaseException:
            self._sink.abandon()
            raise

    def write(self, name: str, first_row: int, rows: NDArray[Any]) -> None:
        """Put rows [m, ...] of an array in their place; each row once."""
        spec = self._specs[name]
        row_bytes = spec.size // max(1, spec.shape[0])
        data = np.ascontiguousarray(rows, spec.dtype).reshape(-1).view(np.uint8)
        for start in range(0, len(data), _BLOCK):
            self._sink.put(self._starts[name] + first_row * row_bytes + start, data[start : start + _BLOCK].data)

    def abandon(self) -> None:
        """Close the file unfinished, after an error."""
        self._sink.abandon()

    def finish(self) -> FileRecord:
        """Finish the file; what a manifest says about it."""
        size, hashes = self._sink.finish()
        return FileRecord(self._name, size, hashes)


class SegmentFile:
    """Arrays of one file; what is handed out is a copy that was found to be what was written."""

    def __init__(self, folder: Path, record: FileRecord, sealing: bytes | None) -> None:
        """Open the file; raises SegmentDamaged if it is missing, no regular file, of another size or has no header."""
        self.record = record
        self._bytes = open_bytes_of(folder, record, sealing)
        self.specs, self._starts = self._header()

    def whole(self, name: str) -> NDArray[Any]:
        """Return an array, verified as it was copied. Raises SegmentDamaged."""
        spec, start = self._placed(name)
        return self._bytes.verified(start, start + spec.size).view(spec.dtype).reshape(spec.shape)

    def slice(self, name: str, first: int, end: int) -> NDArray[Any]:
        """Return a copy of neighbouring rows, of a plain file unchecked. Raises SegmentDamaged if it ends before."""
        spec, start = self._placed(name)
        row = spec.size // max(1, spec.shape[0])
        rows = np.empty((end - first, *spec.shape[1:]), spec.dtype)
        if rows.size:
            self._bytes.read_into(rows.reshape(-1).view(np.uint8), start + first * row)
        return rows

    def rows(self, name: str, places: NDArray[np.int64]) -> NDArray[Any]:
        """Return a copy of some rows [m, ...], as `slice`."""
        spec, start = self._placed(name)
        row = spec.size // max(1, spec.shape[0])
        rows = np.empty((len(places), *spec.shape[1:]), spec.dtype)
        self._bytes.rows_into(rows.reshape(-1).view(np.uint8).reshape(len(places), row), start + places * row)
        return rows

    def damaged_places(self) -> list[int]:
        """Read the whole file; where the pieces begin that are not what was written."""
        return self._bytes.damaged_places()

    def _header(self) -> tuple[dict[str, ArraySpec], dict[str, int]]:
        """Return each array's shape and type, and where it begins."""
        specs: dict[str, ArraySpec] = {}
        starts: dict[str, int] = {}
        try:
            begin = self._bytes.verified(0, min(self._bytes.size, 8 + _HEADER)).tobytes()
            (length,) = struct.unpack("<Q", begin[:8])
            for name, one in json.loads(begin[8 : 8 + length]).items():
                spec = ArraySpec(tuple(_count(side) for side in one["shape"]), _NAMES[one["dtype"]])
                start, end = (_count(place) for place in one["data_offsets"])
                if end - start != spec.size or 8 + length + end > self._bytes.size:
                    raise ValueError(name)
                specs[name], starts[name] = spec, 8 + length + start
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IndexError, struct.error) as error:
            raise SegmentDamaged(f"{self.record.file} has no sound header") from error
        return specs, starts

    def _placed(self, name: str) -> tuple[ArraySpec, int]:
        if name not in self.specs:
            raise SegmentDamaged(f"{self.record.file} holds no {name}")
        return self.specs[name], self._starts[name]


class FileVectors:
    """Vectors float32 [n, D] that stay in their file; each that is read is compared with its sum."""

    def __init__(self, file: SegmentFile) -> None:
        """Read the sums; raises SegmentDamaged."""
        self._file = file
        self._sums: NDArray[np.int64] = file.whole("sums")
        self.shape: tuple[int, ...] = file.specs["vectors"].shape
        self.dtype = file.specs["vectors"].dtype
        if len(self.shape) != 2 or self._sums.shape != self.shape[:1]:
            raise SegmentDamaged(f"{file.record.file} has sums of other vectors")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> FloatMatrix:
        """Return a copy of vectors [m, D]; raises SegmentDamaged."""
        if isinstance(rows, slice) and rows == slice(None):
            return self._file.whole("vectors")
        if isinstance(rows, slice):
            first, end, _ = rows.indices(len(self))
            vectors = self._file.slice("vectors", first, max(first, end))
        else:
            vectors = self._file.rows("vectors", rows)
        if (row_sums(vectors) != self._sums[rows]).any():
            raise SegmentDamaged(f"{self._file.record.file} was changed")
        return vectors


def row_sums(vectors: FloatMatrix) -> NDArray[np.int64]:
    """Return a sum of each vector's bits [n]: of its words, each times an odd number of its own, mod 2^64.

    Every change of one word changes it; of other changes one in billions goes unnoticed. A word has two numbers, or one
    where there is an odd number of them.
    """
    bits = np.ascontiguousarray(vectors, "<f4")
    words = bits.view(np.uint32).astype(np.uint64) if vectors.shape[1] % 2 else bits.view(np.uint64)
    first, second = _weights(words.shape[1])
    # A product modulo 2^64 drops the high bits: they count a second time, from where they are low ones.
    return (words @ first + (words >> np.uint64(32)) @ second).view(np.int64)


@cache
def _weights(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    numbers = np.frombuffer(hashlib.shake_128(b"faceid row sums").digest(16 * count), "<u8") | np.uint64(1)
    return numbers[:count], numbers[count:]


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


def _alignment(spec: ArraySpec) -> int:
    row = spec.dtype.itemsize * int(np.prod(spec.shape[1:]))
    return row & -row  # the largest power of two that divides a row's bytes
