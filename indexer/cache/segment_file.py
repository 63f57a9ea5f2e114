"""Arrays in a file that never changes: safetensors, memory-mapped, each chunk hashed before its first use.

The hashes are not in the file but in the manifest (`indexer.cache.index_cache`), which is written last.
"""

import hashlib
import json
import os
import struct
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 20
"""Bytes under one SHA-256: the first look at one vector costs the hash of so many (0.7 ms)."""

_ALIGNED = 64  # bytes: a cache line, and the widest register
_MANY = 8  # chunks from which two threads hash: hashlib lets go of the interpreter's lock
_BLOCK = 16 << 20  # bytes copied at a time while a file is written

# safetensors' words for types
_NAMES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "I8": np.dtype("i1")}
_WORDS = {dtype: word for word, dtype in _NAMES.items()}


class SegmentDamaged(Exception):
    """A cache file is not what its manifest says; the gallery answers from the database instead."""


@dataclass(frozen=True)
class FileRecord:
    """What the manifest says about a file: its name, size in bytes, and the SHA-256 (hex) of each chunk."""

    file: str
    bytes: int
    sha256: tuple[str, ...]


@dataclass(frozen=True)
class ArraySpec:
    """Shape and type of an array before its content is known."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Its bytes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


class SegmentWriter:
    """A safetensors file whose arrays are filled block by block; the caller puts the finished file in its place."""

    def __init__(self, path: Path, specs: Mapping[str, ArraySpec]) -> None:
        # Rows that are a multiple of a cache line come first, so that every array starts aligned without gaps.
        names = sorted(specs, key=lambda name: -_alignment(specs[name]))
        header: dict[str, dict[str, Any]] = {}
        offset = 0
        for name in names:
            end = offset + specs[name].size
            header[name] = {
                "dtype": _WORDS[specs[name].dtype],
                "shape": specs[name].shape,
                "data_offsets": [offset, end],
            }
            offset = end
        text = json.dumps(header).encode()
        text += b" " * (-(8 + len(text)) % _ALIGNED)
        self._starts = {name: 8 + len(text) + header[name]["data_offsets"][0] for name in names}
        self._specs = specs
        self.bytes = 8 + len(text) + offset
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write_all(self._file, struct.pack("<Q", len(text)) + text, 0)
        except BaseException:
            os.close(self._file)
            raise

    def write(self, name: str, first_row: int, rows: NDArray[Any]) -> None:
        """Put rows [m, ...] of an array in their place."""
        spec = self._specs[name]
        row_bytes = spec.size // max(1, spec.shape[0])
        data = np.ascontiguousarray(rows, spec.dtype).reshape(-1).view(np.uint8)
        for start in range(0, len(data), _BLOCK):
            place = self._starts[name] + first_row * row_bytes + start
            _write_all(self._file, data[start : start + _BLOCK].data, place)

    def close(self) -> tuple[str, ...]:
        """Finish the file; the SHA-256 of its chunks as they are read back."""
        try:
            starts = range(0, self.bytes, CHUNK)
            return tuple(_each(lambda start: _sha256(os.pread(self._file, CHUNK, start)), starts))
        finally:
            os.close(self._file)


class SegmentFile:
    """Arrays of one file, mapped; what is handed out was hashed, chunk by chunk, when it was first asked for."""

    def __init__(self, folder: Path, record: FileRecord) -> None:
        """Map the file; raises SegmentDamaged if it is missing, of another size, or has no sound header."""
        self.record = record
        self._sound = np.zeros(len(record.sha256), np.bool_)
        self._lock = threading.Lock()
        try:
            self._data = np.memmap(folder / record.file, np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise SegmentDamaged(f"{record.file} cannot be read: {error}") from error
        if len(self._data) != record.bytes or len(record.sha256) != -(-record.bytes // CHUNK):
            raise SegmentDamaged(f"{record.file} has {len(self._data)} bytes, not {record.bytes}")
        self.specs: dict[str, ArraySpec] = {}
        self._starts: dict[str, int] = {}
        try:
            (length,) = struct.unpack("<Q", self._verified(0, 8))
            header = json.loads(self._verified(8, 8 + length))
            for name, one in header.items():
                start, end = one["data_offsets"]
                self.specs[name] = ArraySpec(tuple(one["shape"]), _NAMES[one["dtype"]])
                self._starts[name] = 8 + length + start
                if end - start != self.specs[name].size or 8 + length + end > record.bytes:
                    raise ValueError(name)
        except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            raise SegmentDamaged(f"{record.file} has no sound header") from error

    def whole(self, name: str) -> NDArray[Any]:
        """Return an array as it lies in the file, every chunk of it verified. Raises SegmentDamaged."""
        spec, start = self._placed(name)
        self._verify(range(start // CHUNK, -(-(start + spec.size) // CHUNK)))
        return self._mapped(name)

    def rows(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return a copy of some rows [m, ...], the chunks that hold them verified. Raises SegmentDamaged."""
        spec, start = self._placed(name)
        row_bytes = spec.size // max(1, spec.shape[0])
        first, last = (start + rows * row_bytes) // CHUNK, (start + (rows + 1) * row_bytes - 1) // CHUNK
        chunks = np.unique(
            np.concatenate([first, last, *(np.minimum(first + i, last) for i in range(1, row_bytes // CHUNK))])
        )
        self._verify(chunks[~self._sound[chunks]].tolist())
        return self._mapped(name)[rows]

    def damaged_chunks(self) -> list[int]:
        """Hash the whole file anew; the numbers of the chunks that are not what the manifest says."""
        numbers = range(len(self.record.sha256))
        return [number for number, sound in zip(numbers, _each(self._is_sound, numbers), strict=True) if not sound]

    def _placed(self, name: str) -> tuple[ArraySpec, int]:
        if name not in self.specs:
            raise SegmentDamaged(f"{self.record.file} holds no {name}")
        return self.specs[name], self._starts[name]

    def _mapped(self, name: str) -> NDArray[Any]:
        spec, start = self._placed(name)
        # A plain ndarray: every slice of a memmap object costs its Python constructor.
        return np.asarray(self._data[start : start + spec.size]).view(spec.dtype).reshape(spec.shape)

    def _verified(self, start: int, end: int) -> bytes:
        if end > self.record.bytes:
            raise ValueError(end)
        self._verify(range(start // CHUNK, -(-end // CHUNK)))
        return self._data[start:end].tobytes()

    def _verify(self, chunks: Iterable[int]) -> None:
        fresh = [chunk for chunk in chunks if not self._sound[chunk]]
        if not fresh:
            return
        with self._lock:  # eight readers that start at once hash a chunk once
            fresh = [chunk for chunk in fresh if not self._sound[chunk]]
            for chunk, sound in zip(fresh, _each(self._is_sound, fresh), strict=True):
                if not sound:
                    raise SegmentDamaged(
                        f"{self.record.file} is damaged between bytes {chunk * CHUNK} and {(chunk + 1) * CHUNK}"
                    )
                self._sound[chunk] = True

    def _is_sound(self, chunk: int) -> bool:
        return _sha256(self._data[chunk * CHUNK : (chunk + 1) * CHUNK].data) == self.record.sha256[chunk]


def _each(function: Any, items: Any) -> list[Any]:
    """Map on one thread, or on two where there is much to hash."""
    if len(items) < _MANY:
        return [function(item) for item in items]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, items))


def _sha256(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()


def _alignment(spec: ArraySpec) -> int:
    row = spec.dtype.itemsize * int(np.prod(spec.shape[1:]))
    return row & -row  # the largest power of two that divides a row's bytes


def _write_all(file: int, data: Any, place: int) -> None:
    view = memoryview(data)
    while len(view):
        written = os.pwrite(file, view, place)
        view, place = view[written:], place + written
