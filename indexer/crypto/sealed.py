"""Sealed bytes: AES-256-GCM in chunks, so that a part of a large file can be read, and none can be moved or cut off.

A sealed file is the magic word, a random salt of 16 bytes, and for each 64 KiB of content its ciphertext and tag. Every
file has a key of its own, from the gallery's, the salt and what the file is called (HKDF): a chunk's number is its
nonce, and none is ever used twice. Authenticated with each chunk are its number and whether it is the last one.
"""

import io
import os
import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.crypto.envelope import derived

CHUNK = 1 << 16
"""Bytes of content under one tag: at 40 rows of a search each in another one, 0.3 ms; larger ones read no faster."""

_MAGIC = b"FCIDSEAL"
_SALT, _TAG = 16, 16
_HEADER = len(_MAGIC) + _SALT

Data = bytes | bytearray | memoryview

Read = Callable[[int, int], bytes]
"""Return `size` bytes from a place of a file on; fewer at its end."""


class SealBroken(Exception):
    """Sealed bytes are not what was written: damaged, cut, another file's, or under another key."""


class Seal:
    """What seals one file, or opens it: its key, and how its chunks are numbered."""

    def __init__(self, key: bytes, label: str, salt: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.header = _MAGIC + salt
        self._cipher = AESGCM(derived(key, b"faceid file " + label.encode(), salt))

    def close(self, number: int, content: Data, *, last: bool) -> bytes:
        """Return the sealed chunk of a number; to be called once for each."""
        return self._cipher.encrypt(number.to_bytes(12, "big"), content, b"last" if last else b"more")

    def open_into(self, number: int, sealed: Data, content: Data, *, last: bool) -> None:
        """Put a chunk's content into a buffer of its size; raises SealBroken."""
        from cryptography.exceptions import InvalidTag

        try:
            self._cipher.decrypt_into(number.to_bytes(12, "big"), sealed, b"last" if last else b"more", content)
        except (InvalidTag, ValueError) as error:
            raise SealBroken(f"chunk {number} is not as it was written") from error


def new_seal(key: bytes, label: str) -> Seal:
    """Return what seals a new file; its header is the file's beginning."""
    return Seal(key, label, secrets.token_bytes(_SALT))


def chunks_of(size: int) -> int:
    """Return the number of chunks that `size` bytes of content take: one at least."""
    return max(1, -(-size // CHUNK))


def sealed_size(size: int) -> int:
    """Return the bytes on the disk of `size` bytes of content."""
    return _HEADER + size + _TAG * chunks_of(size)


def place_of(number: int) -> int:
    """Return where in a file a chunk begins."""
    return _HEADER + number * (CHUNK + _TAG)


class SealedContent:
    """The content of a sealed file, read in parts."""

    def __init__(self, key: bytes, label: str, read: Read, on_disk: int) -> None:
        """Look at the header; raises SealBroken for what is no sealed file."""
        header = read(0, _HEADER)
        chunks, rest = divmod(on_disk - _HEADER, CHUNK + _TAG)
        if len(header) < _HEADER or header[: len(_MAGIC)] != _MAGIC or 0 < rest < _TAG or on_disk <= _HEADER:
            raise SealBroken("this is no sealed file")
        self.chunks = chunks + (rest > 0)
        self.size = on_disk - _HEADER - _TAG * self.chunks
        self._read = read
        self._seal = Seal(key, label, header[len(_MAGIC) :])

    def read_into(self, content: NDArray[np.uint8], start: int) -> None:
        """Fill an array with the content from `start` on; raises SealBroken."""
        end = start + len(content)
        for number in range(start // CHUNK, -(-end // CHUNK)):
            first = number * CHUNK
            begin, stop = max(start, first), min(end, first + CHUNK)
            target = content[begin - start : stop - start]
            if (begin, stop) == (first, first + self._length(number)):
                self._open(number, target)
            else:
                target[:] = self.chunk(number)[begin - first : stop - first]

    def chunk(self, number: int) -> NDArray[np.uint8]:
        """Return the content of one chunk; raises SealBroken."""
        content = np.empty(self._length(number), np.uint8)
        self._open(number, content)
        return content

    def whole(self) -> bytes:
        """Return all of it; raises SealBroken."""
        content = np.empty(self.size, np.uint8)
        for number in range(self.chunks):
            self._open(number, content[number * CHUNK : (number + 1) * CHUNK])
        return content.tobytes()

    def _length(self, number: int) -> int:
        return min(CHUNK, self.size - number * CHUNK)

    def _open(self, number: int, content: NDArray[np.uint8]) -> None:
        sealed = self._read(place_of(number), len(content) + _TAG)
        self._seal.open_into(number, sealed, content.data, last=number == self.chunks - 1)


def seal_bytes(key: bytes, label: str, content: bytes) -> bytes:
    """Return content as a sealed file of that name."""
    seal, count = new_seal(key, label), chunks_of(len(content))
    parts = (content[number * CHUNK : (number + 1) * CHUNK] for number in range(count))
    return seal.header + b"".join(seal.close(i, part, last=i == count - 1) for i, part in enumerate(parts))


def open_bytes(key: bytes, label: str, sealed: bytes) -> bytes:
    """Return the content of a sealed file; raises SealBroken."""
    return SealedContent(key, label, lambda place, size: sealed[place : place + size], len(sealed)).whole()


class SealingWriter(io.RawIOBase):
    """A file that seals what is written to it, one piece after the other."""

    def __init__(self, file: io.BufferedIOBase, key: bytes, label: str) -> None:
        self._file = file
        self._seal = new_seal(key, label)
        self._waiting = bytearray()
        self._number = 0
        self._file.write(self._seal.header)

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, content: Any, /) -> int:
        """Take some bytes; they go to the file as soon as a chunk is full and not the last one."""
        piece = memoryview(content).cast("B")
        self._waiting += piece
        while len(self._waiting) > CHUNK:
            self._flush_chunk(CHUNK, last=False)
        return len(piece)

    def close(self) -> None:
        """Write the last chunk; the file beneath stays open."""
        if not self.closed:
            self._flush_chunk(len(self._waiting), last=True)
        super().close()

    def _flush_chunk(self, size: int, *, last: bool) -> None:
        self._file.write(self._seal.close(self._number, bytes(self._waiting[:size]), last=last))
        del self._waiting[:size]
        self._number += 1


class SealedReader(io.RawIOBase):
    """A sealed file as one that can be read anywhere; raises OSError where it is not as it was written."""

    def __init__(self, file: io.BufferedReader, key: bytes, label: str, begin: int = 0) -> None:
        """Read the sealed file that begins at a place of another one. Raises SealBroken."""
        handle = file.fileno()
        size = os.fstat(handle).st_size - begin
        self._content = SealedContent(key, label, lambda place, count: os.pread(handle, count, begin + place), size)
        self._place = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._content.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer, or as much as there is."""
        view = np.frombuffer(buffer, np.uint8)
        count = max(0, min(len(view), self._content.size - self._place))
        try:
            self._content.read_into(view[:count], self._place)
        except SealBroken as error:
            raise OSError(str(error)) from error
        self._place += count
        return count
