"""A small RTSP server for tests: one stream of H.264 over TCP, with every fault that a camera has.

RTSP 1.0 (RFC 2326) with RTP interleaved in its connection, H.264 as RFC 6184 has it, basic authentication.
"""

import base64
import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from fractions import Fraction
from types import TracebackType

import av
import numpy as np

from faceid.vision.images import UInt8Image

_CLOCK = 90_000
_LARGEST = 1200  # bytes of a packet


class RtspServer:
    """Serves frames in a loop on 127.0.0.1, path /live; a context manager.

    `password` of the user `camera`; `frozen` lets it fall silent in mid-stream, `drop` closes all connections, `mute`
    takes connections and never says a word.
    """

    def __init__(
        self, frames: Iterable[UInt8Image], *, rate: int = 25, password: str | None = None, mute: bool = False
    ) -> None:
        self._units = encoded(frames, rate)
        self._rate = rate
        self._password = password
        self._mute = mute
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.frozen = threading.Event()
        self.connections = 0
        self._clients: list[socket.socket] = []
        self._accepting = True
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def __enter__(self) -> "RtspServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away: nobody answers at the port any more."""
        self._accepting = False
        self._socket.close()
        self.drop()

    def again(self) -> None:
        """Answer at the same port again."""
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self._accepting = True
        threading.Thread(target=self._accept, daemon=True).start()

    def drop(self) -> None:
        """Break every connection."""
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()
        self._clients.clear()

    def _accept(self) -> None:
        listening = self._socket
        while self._accepting:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            self.connections += 1
            self._clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._mute:
                client.recv(1)
                time.sleep(60)
                return
            reader = client.makefile("rb")
            while request := _request(reader.readline):
                method, path, headers = request
                reply = self._answer(method, path, headers)
                client.sendall(reply)
                if method == "PLAY" and reply.startswith(b"RTSP/1.0 200"):
                    threading.Thread(target=self._play, args=(client,), daemon=True).start()
        except OSError:
            pass

    def _answer(self, method: str, path: str, headers: dict[str, str]) -> bytes:
        number = headers.get("cseq", "0")
        if self._password is not None and method != "OPTIONS":
            expected = base64.b64encode(f"camera:{self._password}".encode()).decode()
            if headers.get("authorization") != f"Basic {expected}":
                return _reply(number, "401 Unauthorized", {"WWW-Authenticate": 'Basic realm="test"'})
        if "/live" not in path:
            return _reply(number, "404 Not Found", {})
        if method == "OPTIONS":
            return _reply(number, "200 OK", {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"})
        if method == "DESCRIBE":
            return _reply(number, "200 OK", {"Content-Type": "application/sdp", "Content-Base": path}, self._sdp())
        if method == "SETUP":
            return _reply(number, "200 OK", {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1", "Session": "1"})
        return _reply(number, "200 OK", {"Session": "1"})

    def _sdp(self) -> str:
        sets = [unit for unit in self._units[0] if unit[0] & 31 in (7, 8)]
        parameters = ",".join(base64.b64encode(unit).decode() for unit in sets)
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\n"
            f"a=rtpmap:96 H264/{_CLOCK}\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={parameters}\r\n"
            "a=control:track1\r\n"
        )

    def _play(self, client: socket.socket) -> None:
        numbers = itertools.count()
        begin = time.monotonic()
        try:
            for place, units in enumerate(itertools.cycle(self._units)):
                wait = begin + place / self._rate - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                while self.frozen.is_set():
                    time.sleep(0.05)
                stamp = place * _CLOCK // self._rate & 0xFFFFFFFF
                payloads = [payload for unit in units for payload in _payloads(unit)]
                for index, payload in enumerate(payloads):
                    last = 0x80 if index == len(payloads) - 1 else 0
                    header = struct.pack(">BBHII", 0x80, 96 | last, next(numbers) & 0xFFFF, stamp, 7)
                    client.sendall(struct.pack(">BBH", 0x24, 0, len(header) + len(payload)) + header + payload)
        except OSError:
            pass


def encoded(frames: Iterable[UInt8Image], rate: int) -> list[list[bytes]]:
    """Encode as H.264 without frames that wait for later ones; return each frame's units."""
    context = av.CodecContext.create("libx264", "w")
    context.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "12", "x264-params": "repeat-headers=1"}
    context.pix_fmt, context.framerate, context.time_base = "yuv420p", Fraction(rate), Fraction(1, rate)
    packets = []
    for pixels in frames:
        if not context.is_open:
            context.height, context.width = pixels.shape[:2]
        packets += context.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"))
    packets += context.encode()
    return [[unit for unit in re.split(rb"\x00\x00\x00?\x01", bytes(packet)) if unit] for packet in packets]


def _payloads(unit: bytes) -> list[bytes]:
    """Return a unit as it is, or in fragments (FU-A)."""
    if len(unit) <= _LARGEST:
        return [unit]
    indicator, kind, rest = unit[0] & 0xE0 | 28, unit[0] & 31, unit[1:]
    pieces = [rest[start : start + _LARGEST] for start in range(0, len(rest), _LARGEST)]
    return [
        bytes([indicator, kind | (0x80 if place == 0 else 0) | (0x40 if place == len(pieces) - 1 else 0)]) + piece
        for place, piece in enumerate(pieces)
    ]


def _request(readline: Callable[[], bytes]) -> tuple[str, str, dict[str, str]] | None:
    while True:
        line = readline()
        if not line:
            return None
        if line[:1] == b"$" or b"RTSP/1.0" not in line:
            continue  # reports of the receiver
        method, path, _ = line.decode("ascii", "replace").split(" ", 2)
        headers = {}
        while (header := readline().strip()) != b"":
            name, _, value = header.decode("ascii", "replace").partition(":")
            headers[name.strip().lower()] = value.strip()
        return method, path, headers


def _reply(number: str, status: str, headers: dict[str, str], body: str = "") -> bytes:
    lines = [f"RTSP/1.0 {status}", f"CSeq: {number}", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
