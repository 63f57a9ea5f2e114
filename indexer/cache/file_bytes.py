"""The bytes of a cache file, found to be those that were written: hashed by the manifest, or sealed under a key.

A plain file's SHA-256 of each mebibyte is in the manifest, which is written last. A sealed one (of an encrypted
gallery) carries a tag for each 64 KiB, so that the manifest needs no hash of it, and whatever is read of it is checked.
"""

import hashlib
import os
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexer.crypto import sealed
from indexer.crypto.sealed import SealBroken, SealedContent, new_seal, sealed_size
from indexer.regular_file import open_regular

CHUNK = 1 << 20
"""Bytes under one SHA-256."""

_MANY = 8  # chunks from which two threads hash: hashlib lets go of the interpreter's lock

Bytes = NDArray[np.uint8]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class SegmentDamaged(Exception):
    """A cache file is not what its manifest says; the gallery answers from the database instead."""


@dataclass(frozen=True)
class FileRecord:
    """What the manifest says about a file: its name, its bytes on the disk, the SHA-256 (hex) of each chunk.

    There is no SHA-256 of a sealed file.
    """

    file: str
    bytes: int
    sha256: tuple[str, ...]


class FileBytes(Protocol):
    """The content of a file that never changes, `size` bytes. Everything raises SegmentDamaged."""

    size: int

    def verified(self, start: int, end: int) -> Bytes:
        """Return a copy of a part, found to be as it was written."""
        ...

    def read_into(self, content: Bytes, start: int) -> None:
        """Fill an array from a place on; unchecked where the file is plain."""
        ...

    def rows_into(self, rows: Bytes, starts: NDArray[np.int64]) -> None:
        """Fill rows [m, n] from a place each, as `read_into`."""
        ...

    def damaged_places(self) -> list[int]:
        """Read everything; where the pieces begin that are not as they were written."""
        ...


def open_bytes_of(folder: Path, record: FileRecord, sealing: bytes | None) -> FileBytes:
    """Open a file that a manifest names; raises SegmentDamaged if it is not there, or of another size."""
    try:
        with open_regular(folder / record.file, follow=False) as opened:
            file = os.dup(opened.fileno())
    except OSError as error:
        raise SegmentDamaged(f"{record.file} cannot be read: {error.strerror}") from error
    try:
        size = os.fstat(file).st_size
        if size != record.bytes:
            raise SegmentDamaged(f"{record.file} has {size} bytes, not {record.bytes}")
        return _HashedBytes(file, record) if sealing is None else _SealedBytes(file, record, sealing)
    except BaseException:
        os.close(file)
        raise


class _HashedBytes:
    """A plain file whose hashes are in the manifest."""

    def __init__(self, file: int, record: FileRecord) -> None:
        self._file = file
        self._record = record
        self.size = record.bytes
        if len(record.sha256) != -(-record.bytes // CHUNK):
            raise SegmentDamaged(f"the manifest has {len(record.sha256)} hashes of {record.file}")
        self._close = weakref.finalize(self, os.close, file)

    def verified(self, start: int, end: int) -> Bytes:
        content = np.empty(end - start, np.uint8)

        def copy(number: int) -> None:
            first = number * CHUNK
            begin, stop = max(start, first), min(end, first + CHUNK)
            content[begin - start : stop - start] = self._sound(number)[begin - first : stop - first]

        _each(copy, range(start // CHUNK, -(-end // CHUNK)))
        return content

    def read_into(self, content: Bytes, start: int) -> None:
        _read_into(self._file, content, start, self._record.file)

    def rows_into(self, rows: Bytes, starts: NDArray[np.int64]) -> None:
        flat = rows.reshape(-1).data
        row = rows.shape[1] if len(rows) else 0
        preadv, file, read = os.preadv, self._file, 0
        for place, at in enumerate(starts.tolist()):
            read += preadv(file, (flat[place * row : (place + 1) * row],), at)
        if read != len(flat):
            raise SegmentDamaged(f"{self._record.file} was cut")

    def damaged_places(self) -> list[int]:
        numbers = range(len(self._record.sha256))
        return [
            number * CHUNK for number, sound in zip(numbers, _each(self._is_sound, numbers), strict=True) if not sound
        ]

    def _sound(self, number: int) -> Bytes:
        """Return a chunk that is as it was written."""
        data = self._chunk(number)
        if _sha256(data) != self._record.sha256[number]:
            raise SegmentDamaged(
                f"{self._record.file} is damaged between bytes {number * CHUNK} and {(number + 1) * CHUNK}"
            )
        return data

    def _is_sound(self, number: int) -> bool:
        return _sha256(self._chunk(number)) == self._record.sha256[number]

    def _chunk(self, number: int) -> Bytes:
        content = np.empty(min(CHUNK, self._record.bytes - number * CHUNK), np.uint8)
        self.read_into(content, number * CHUNK)
        return content


class _SealedBytes:
    """A sealed file: what is read of it is checked."""

    def __init__(self, file: int, record: FileRecord, sealing: bytes) -> None:
        self._name = record.file
        self._content = self._told(lambda: SealedContent(sealing, record.file, partial_read(file), record.bytes))
        self.size = self._content.size
        self._close = weakref.finalize(self, os.close, file)

    def verified(self, start: int, end: int) -> Bytes:
        content = np.empty(end - start, np.uint8)
        self.read_into(content, start)
        return content

    def read_into(self, content: Bytes, start: int) -> None:
        if start + len(content) > self.size:
            raise SegmentDamaged(f"{self._name} was cut")
        self._told(lambda: self._content.read_into(content, start))

    def rows_into(self, rows: Bytes, starts: NDArray[np.int64]) -> None:
        """Open each chunk once: rows are taken in the file's order."""
        number, chunk = -1, np.empty(0, np.uint8)
        width = rows.shape[1] if len(rows) else 0
        for place in np.argsort(starts, kind="stable").tolist():
            first = int(starts[place])
            wanted, within = divmod(first, sealed.CHUNK)
            if within + width > sealed.CHUNK or first + width > self.size:
                self.read_into(rows[place], first)
                continue
            if wanted != number:
                number, chunk = wanted, self._chunk(wanted)
            rows[place] = chunk[within : within + width]

    def damaged_places(self) -> list[int]:
        return [number * sealed.CHUNK for number in range(self._content.chunks) if not self._is_sound(number)]

    def _is_sound(self, number: int) -> bool:
        try:
            self._content.chunk(number)
        except (SealBroken, OSError):
            return False
        return True

    def _chunk(self, number: int) -> Bytes:
        return self._told(lambda: self._content.chunk(number))

    def _told(self, act: Callable[[], _Result]) -> _Result:
        try:
            return act()
        except (SealBroken, OSError) as error:
            raise SegmentDamaged(f"{self._name}: {error}") from error


def partial_read(file: int) -> sealed.Read:
    """Return what reads an open file for `SealedContent`."""
    return lambda place, size: os.pread(file, size, place)


class HashedSink:
    """A new plain file of `size` bytes, filled in any order."""

    def __init__(self, file: int, size: int) -> None:
        self._file = file
        self._size = size

    def put(self, place: int, data: Any) -> None:
        """Write bytes at a place."""
        _write_all(self._file, data, place)

    def finish(self) -> tuple[int, tuple[str, ...]]:
        """Close the file; its bytes on the disk, and the SHA-256 of its chunks as they are read back."""
        try:
            starts = range(0, self._size, CHUNK)
            return self._size, tuple(_each(lambda start: _sha256(os.pread(self._file, CHUNK, start)), starts))
        finally:
            os.close(self._file)

    def abandon(self) -> None:
        """Close the file unfinished."""
        os.close(self._file)


class SealedSink:
    """A new sealed file of `size` bytes of content, every byte of which is put once, in any order.

    A chunk is sealed when it is full, and never twice; what is put in order needs one chunk of memory.
    """

    def __init__(self, file: int, size: int, sealing: bytes, name: str) -> None:
        self._file = file
        self._size = size
        self._seal = new_seal(sealing, name)
        self._last = sealed.chunks_of(size) - 1
        self._waiting: dict[int, tuple[Bytes, int]] = {}  # by chunk: its content so far, and how many bytes lack
        self._begun = False

    def put(self, place: int, data: Any) -> None:
        """Take bytes for a place."""
        if not self._begun:
            _write_all(self._file, self._seal.header, 0)
            self._begun = True
        content = np.frombuffer(data, np.uint8) if len(data) else np.empty(0, np.uint8)
        end = place + len(content)
        for number in range(place // sealed.CHUNK, -(-end // sealed.CHUNK)):
            first = number * sealed.CHUNK
            begin, stop = max(place, first), min(end, first + sealed.CHUNK)
            self._take(number, begin - first, content[begin - place : stop - place])

    def finish(self) -> tuple[int, tuple[str, ...]]:
        """Close the file; its bytes on the disk, and no hash: every chunk has its tag."""
        try:
            if self._waiting:
                raise AssertionError("a sealed file was not filled")
            return sealed_size(self._size), ()
        finally:
            os.close(self._file)

    def abandon(self) -> None:
        """Close the file unfinished."""
        os.close(self._file)

    def _take(self, number: int, start: int, content: Bytes) -> None:
        whole = min(sealed.CHUNK, self._size - number * sealed.CHUNK)
        if len(content) == whole:
            self._write(number, content)
            return
        chunk, lacking = self._waiting.pop(number, (np.empty(whole, np.uint8), whole))
        chunk[start : start + len(content)] = content
        lacking -= len(content)
        if lacking:
            self._waiting[number] = (chunk, lacking)
        else:
            self._write(number, chunk)

    def _write(self, number: int, content: Bytes) -> None:
        data = self._seal.close(number, content.data, last=number == self._last)
        _write_all(self._file, data, sealed.place_of(number))


def _read_into(file: int, content: Bytes, place: int, name: str) -> None:
    view = content.data
    try:
        while len(view):
            read = os.preadv(file, (view,), place)
            if not read:
                raise SegmentDamaged(f"{name} was cut")
            view, place = view[read:], place + read
    except OSError as error:
        raise SegmentDamaged(f"{name} cannot be read: {error}") from error


def _each(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Map on one thread, or on two where there is much to hash."""
    if len(items) < _MANY:
        return [function(item) for item in items]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, items))


def _sha256(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()


def _write_all(file: int, data: Any, place: int) -> None:
    view = memoryview(data)
    while len(view):
        written = os.pwrite(file, view, place)
        view, place = view[written:], place + written
