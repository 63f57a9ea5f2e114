"""Arrays in a file that never changes: safetensors, read as checked copies.

The hashes are not in the file but in the manifest (`indexer.cache.index_cache`), which is written last. Nothing is
mapped: a file that somebody cuts or overwrites while it is open costs an error that is caught, not the process (SIGBUS)
and not a wrong answer. A whole array is hashed as it is copied; single rows of a large one carry a sum each.
"""

import hashlib
import json
import math
import os
import stat
import struct
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.records import FloatMatrix

CHUNK = 1 << 20
"""Bytes under one SHA-256."""

_ALIGNED = 64  # bytes: a cache line, and the widest register
_MANY = 8  # chunks from which two threads hash: hashlib lets go of the interpreter's lock
_HEADER = 1 << 16  # bytes; headers of ours are far shorter
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
        return math.prod(self.shape) * self.dtype.itemsize


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
    """Arrays of one file; what is handed out is a copy that was found to be what was written."""

    def __init__(self, folder: Path, record: FileRecord) -> None:
        """Open the file; raises SegmentDamaged if it is missing, no regular file, of another size or has no header."""
        self.record = record
        self._file = open_regular(folder / record.file)
        self._close = weakref.finalize(self, os.close, self._file)
        size = os.fstat(self._file).st_size
        if size != record.bytes or len(record.sha256) != -(-record.bytes // CHUNK):
            raise SegmentDamaged(f"{record.file} has {size} bytes, not {record.bytes}")
        self.specs, self._starts = self._header()

    def whole(self, name: str) -> NDArray[Any]:
        """Return an array, hashed as it was copied. Raises SegmentDamaged."""
        spec, start = self._placed(name)
        end = start + spec.size
        content = np.empty(spec.size, np.uint8)

        def copy(number: int) -> None:
            first = number * CHUNK
            begin, stop = max(start, first), min(end, first + CHUNK)
            piece = np.frombuffer(self._sound(number), np.uint8)
            content[begin - start : stop - start] = piece[begin - first : stop - first]

        _each(copy, range(start // CHUNK, -(-end // CHUNK)))
        return content.view(spec.dtype).reshape(spec.shape)

    def slice(self, name: str, first: int, end: int) -> NDArray[Any]:
        """Return a copy of neighbouring rows, unchecked. Raises SegmentDamaged if they are not there."""
        spec, start = self._placed(name)
        row = spec.size // max(1, spec.shape[0])
        rows = np.empty((end - first, *spec.shape[1:]), spec.dtype)
        if rows.size:
            self._read_into(rows.reshape(-1).view(np.uint8), start + first * row)
        return rows

    def rows(self, name: str, places: NDArray[np.int64]) -> NDArray[Any]:
        """Return a copy of some rows [m, ...], unchecked. Raises SegmentDamaged if they are not there."""
        spec, start = self._placed(name)
        row = spec.size // max(1, spec.shape[0])
        rows = np.empty((len(places), *spec.shape[1:]), spec.dtype)
        flat = rows.reshape(-1).view(np.uint8).data
        preadv, file, read = os.preadv, self._file, 0
        for place, at in enumerate((start + places * row).tolist()):
            read += preadv(file, (flat[place * row : (place + 1) * row],), at)
        if read != len(flat):
            raise SegmentDamaged(f"{self.record.file} was cut")
        return rows

    def damaged_chunks(self) -> list[int]:
        """Hash the whole file; the numbers of the chunks that are not what the manifest says."""
        numbers = range(len(self.record.sha256))
        return [number for number, sound in zip(numbers, _each(self._is_sound, numbers), strict=True) if not sound]

    def _header(self) -> tuple[dict[str, ArraySpec], dict[str, int]]:
        """Return each array's shape and type, and where it begins."""
        specs: dict[str, ArraySpec] = {}
        starts: dict[str, int] = {}
        try:
            begin = self._sound(0)[: 8 + _HEADER]
            (length,) = struct.unpack("<Q", begin[:8])
            for name, one in json.loads(begin[8 : 8 + length]).items():
                spec = ArraySpec(tuple(_count(side) for side in one["shape"]), _NAMES[one["dtype"]])
                start, end = (_count(place) for place in one["data_offsets"])
                if end - start != spec.size or 8 + length + end > self.record.bytes:
                    raise ValueError(name)
                specs[name], starts[name] = spec, 8 + length + start
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IndexError, struct.error) as error:
            raise SegmentDamaged(f"{self.record.file} has no sound header") from error
        return specs, starts

    def _placed(self, name: str) -> tuple[ArraySpec, int]:
        if name not in self.specs:
            raise SegmentDamaged(f"{self.record.file} holds no {name}")
        return self.specs[name], self._starts[name]

    def _sound(self, number: int) -> bytes:
        """Return a chunk that is as it was written."""
        data = self._chunk(number)
        if _sha256(data) != self.record.sha256[number]:
            raise SegmentDamaged(
                f"{self.record.file} is damaged between bytes {number * CHUNK} and {(number + 1) * CHUNK}"
            )
        return data

    def _is_sound(self, number: int) -> bool:
        return _sha256(self._chunk(number)) == self.record.sha256[number]

    def _chunk(self, number: int) -> bytes:
        content = np.empty(min(CHUNK, self.record.bytes - number * CHUNK), np.uint8)
        self._read_into(content, number * CHUNK)
        return content.tobytes()

    def _read_into(self, content: NDArray[np.uint8], place: int) -> None:
        view = content.data
        try:
            while len(view):
                read = os.preadv(self._file, (view,), place)
                if not read:
                    raise SegmentDamaged(f"{self.record.file} was cut")
                view, place = view[read:], place + read
        except OSError as error:
            raise SegmentDamaged(f"{self.record.file} cannot be read: {error}") from error


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


def open_regular(path: Path) -> int:
    """Open a regular file for reading, and nothing else: neither a link nor a pipe, which would wait for a writer.

    Raises SegmentDamaged.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SegmentDamaged(f"{path.name} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise SegmentDamaged(f"{path.name} is no regular file")
    return file


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


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
