"""Decodes a photo in a child process with bounded time and memory, for formats and sizes that can cost without end."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from faceid.process_limits import OUT_OF_CPU_TIME, python_running

# One photo may take so long, and so much memory beyond that of a bare interpreter: the largest honest ones take 6 s on
# an idle core (docs/results/photos.md).
SECONDS = 30
MEMORY = 1_200_000_000

_DTYPES: dict[str, type[np.generic]] = {"RGB": np.uint8, "I": np.int32, "U": np.uint32, "F": np.float32}


class DecodeFailed(Exception):
    """The photo was given up; `reason_code` as in `faceid.vision.images.ImageError`."""

    def __init__(self, reason_code: str, reason: str) -> None:
        super().__init__(reason)
        self.reason_code = reason_code


@dataclass(frozen=True)
class Header:
    """What a file announces: width and height in pixels, whether it has 16 bits a colour, whether it moves."""

    width: int
    height: int
    deep: bool
    moving: bool


@dataclass(frozen=True)
class Decoded:
    """Pixels [H, W, 3] uint8 RGB, or [H, W] int32, uint32 or float32 (deep greys); and EXIF data still to be obeyed.

    `white_is_zero` says that a deep grey is a negative.
    """

    pixels: NDArray[Any]
    exif: bytes = b""
    white_is_zero: bool = False


class Child:
    """A process for one photo: ask for its header, then for its pixels; leaving the context ends it.

    Raises DecodeFailed: `unreadable` (damaged, or the decoder fell over), `too_slow`, `too_large`.
    """

    def __init__(self, name: str, data: bytes) -> None:
        """Name the file's format (`openers.FORMATS`) and give its bytes."""
        self._name = name
        self._data = data
        self._late = False

    def __enter__(self) -> Self:
        """Start the process."""
        if not sys.executable:
            raise DecodeFailed(
                "unreadable", f"{self._name} is decoded by a Python process, and no Python is known here"
            )
        try:
            self._process = subprocess.Popen(
                python_running("faceid.vision.decode_child"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:  # as many processes, or open files, as there may be
            raise DecodeFailed(
                "unreadable", f"{self._name} is decoded by a process, which cannot be started ({error.strerror})"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()

    def header(self) -> Header:
        """Send the file and return what its header says."""
        request = {"format": self._name, "bytes": len(self._data), "memory": MEMORY, "seconds": SECONDS}
        with self._in_time():
            self._send(json.dumps(request).encode() + b"\n" + self._data)
            said = self._receive()
        return Header(said["width"], said["height"], said["deep"], said["moving"])

    def decode(self, reduction: int, most: int) -> Decoded:
        """Return the pixels, `reduction` pixels a side made one; `most` is how many there may be after that."""
        with self._in_time():
            self._send(json.dumps({"reduction": reduction}).encode() + b"\n")
            said = self._receive()
            if said["width"] * said["height"] > most:
                raise DecodeFailed("too_large", "it has more pixels than its header announces")
            shape = (said["height"], said["width"], 3) if said["mode"] == "RGB" else (said["height"], said["width"])
            pixels: NDArray[Any] = np.empty(shape, _DTYPES[said["mode"]])
            if cast(BufferedReader, self._process.stdout).readinto(pixels.data.cast("B")) < pixels.nbytes:
                raise self._failure()
        return Decoded(pixels, bytes.fromhex(said["exif"]), said["white_is_zero"])

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        clock = threading.Timer(SECONDS, self._give_up)
        clock.daemon = True
        clock.start()
        try:
            yield
        finally:
            clock.cancel()

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()

    def _send(self, message: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failure() from error

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._failure()
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise DecodeFailed(said["error"], said["reason"])
        return said

    def _failure(self) -> DecodeFailed:
        status = self._process.wait()
        if self._late or status == OUT_OF_CPU_TIME:
            return DecodeFailed("too_slow", f"given up after {SECONDS} seconds of decoding")
        return DecodeFailed("unreadable", f"damaged: its decoder fell over (status {status})")
