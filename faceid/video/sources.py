"""Where frames come from: video files, folders of numbered frames, cameras, RTSP and HTTP streams."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import numpy as np

from faceid.video import pyav
from faceid.video.decoded import sketch, some_of, upright_pixels
from faceid.video.frames import Counts, SourceLost, VideoError
from faceid.vision.images import ImageError, UInt8Image, is_folder
from faceid.vision.opencv import cv2
from faceid.vision.picture import Picture
from indexer.text import printable

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

USUAL_RATE = 25.0  # frames a second where a source does not say
SECONDS_TO_ANSWER = 5.0
VIDEO_SUFFIXES = {
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv", ".asf",
    ".ogv", ".3gp", ".mxf", ".mjpeg", ".h264", ".hevc",
}  # fmt: skip
_FAR_SUFFIXES = VIDEO_SUFFIXES - {".mjpeg", ".ts", ".h264", ".hevc"}  # those are names of streams, too
FRAME_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
CREDENTIALS = "FACEID_STREAM_CREDENTIALS"
"""Environment variable with `user:password` for streams whose address has none: a command line is seen by others."""

_ODDEST_ASPECT = 4  # of a pixel; half a picture side by side needs 2
_MOST_FAILURES = 200  # of the container in a row; then the rest of the file is given up
_LATE = 0.001  # seconds: a first frame after a seek that is later was not sought
_EARLY_SECONDS, _EARLY_SHARE = 1.0, 0.02  # an end this much before the announced one is told


@dataclass(frozen=True, eq=False)
class Decoded:
    """A frame that was decoded: when it is, and ways to its pixels, taken only of those that are looked at."""

    seconds: float | None
    sketch: Callable[[], UInt8Image]
    pixels: Callable[[], UInt8Image]


class Source(Protocol):
    """Something that gives frames. `name` is safe to show; of a `live` source frames are timed by when they come."""

    @property
    def name(self) -> str:
        """What names it: the path, or the address without user, password and query, but for a channel's number."""
        ...

    @property
    def live(self) -> bool:
        """Whether its frames come when they come."""
        ...

    @property
    def counts(self) -> Counts:
        """What became of its frames so far."""
        ...

    def frames(self, start: float = 0.0) -> Iterator[Decoded]:
        """Yield the frames from `start` seconds on.

        Raises VideoError where there is none to be had; SourceLost when a live source ends, however it ends: calling
        again connects again.
        """
        ...


def open_source(what: str | os.PathLike[str], *, frame_rate: float = USUAL_RATE) -> Source:
    """Return the source of a file, a folder of numbered frames, `camera:0`, or an rtsp or http address.

    `frame_rate` is that of a folder's frames. Raises VideoError; a stream is opened when its frames are asked for.
    """
    address = os.fspath(what)
    scheme = pyav.parts_of(address).scheme.lower() if "://" in address else ""
    if scheme in ("rtsp", "rtsps", "http", "https"):
        return LiveStream(address) if is_live(address) else RemoteFile(address)
    if scheme:
        raise VideoError(f"{pyav.safe_name(address)}: sources are files, folders, camera:0, rtsp:// and http://")
    if address.startswith("camera:"):
        return LiveStream(address)
    path = Path(address)
    if is_folder(path):
        return FrameFolder(path, frame_rate)
    return VideoFile(path)


def is_live(what: str) -> bool:
    """Say whether an address is a camera's or a stream's; an HTTP one that ends as a file's name is a file far away."""
    if what.startswith("camera:"):
        return True
    if "://" not in what:
        return False
    try:
        address = pyav.parts_of(what)
    except VideoError:  # who opens it is told
        return False
    return not (address.scheme.lower() in ("http", "https") and Path(address.path).suffix.lower() in _FAR_SUFFIXES)


class VideoFile:
    """A file of any common container and codec."""

    live = False

    def __init__(self, path: Path) -> None:
        pyav.require_av()
        self.name = printable(path)
        self.counts = Counts()
        self._path = path
        try:
            path.stat()
        except FileNotFoundError:
            raise VideoError(f"{self.name}: there is no such file") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise VideoError(f"{self.name}: {getattr(error, 'strerror', None) or error}") from error

    def _open(self) -> "InputContainer":
        return pyav.open_file(self._path)

    def frames(self, start: float = 0.0) -> Iterator[Decoded]:
        """Yield the frames: from `start` on, sought where that can be done."""
        begun = False
        if start > 0:
            for frame in self._frames(start, seek=True):
                begun = True
                yield frame
        if not begun:  # no container of this kind, or no key frame before: read from the beginning
            yield from self._frames(start, seek=False)

    def _frames(self, start: float, *, seek: bool) -> Iterator[Decoded]:
        self.counts.decoded = self.counts.damaged = 0
        self.counts.remark = None
        with self._open() as container:
            stream = _video_stream(container, self.name)
            stream.thread_type = "AUTO"
            yield from _timed(container, stream, self, start, seek=seek)


class RemoteFile(VideoFile):
    """A file at an HTTP address: all of it is looked at, as fast as it comes."""

    def __init__(self, address: str) -> None:
        pyav.require_av()
        self.name = pyav.safe_name(address)
        self.counts = Counts()
        self._address = _with_credentials(address)

    def _open(self) -> "InputContainer":
        return pyav.open_stream(self._address, SECONDS_TO_ANSWER)


class LiveStream:
    """A camera of this machine (`camera:0`), or an RTSP or HTTP stream."""

    live = True

    def __init__(self, address: str, seconds_to_answer: float = SECONDS_TO_ANSWER) -> None:
        pyav.require_av()
        self.name = pyav.safe_name(address)
        self.counts = Counts()
        self._address = _with_credentials(address)
        self._seconds = seconds_to_answer

    def frames(self, start: float = 0.0) -> Iterator[Decoded]:
        """Connect, and yield the frames as they come; their timestamps are not used."""
        from av.error import FFmpegError

        with self._open() as container:
            stream = _video_stream(container, self.name)
            stream.codec_context.thread_count = 1  # a second thread would hold a frame back
            try:
                for frame in _decode(container, stream, self.counts):
                    yield _decoded(frame, None, stream)
            except FFmpegError as error:
                raise SourceLost(f"{self.name}: {pyav.reason(error)}") from None
        # FFmpeg ends a stream that broke as it ends a file.
        raise SourceLost(f"{self.name}: the stream ended")

    def _open(self) -> "InputContainer":
        if self._address.startswith("camera:"):
            return pyav.open_camera(self._address.removeprefix("camera:"))
        return pyav.open_stream(self._address, self._seconds)


class FrameFolder:
    """A folder of numbered frames, as data sets have them: `0.1.jpg`, `frame_0012.png`.

    The last number in a file's name is the frame's, so that a gap is a gap in time.
    """

    live = False

    def __init__(self, folder: Path, frame_rate: float = USUAL_RATE) -> None:
        self.name = printable(folder)
        self.counts = Counts()
        self._rate = frame_rate
        try:
            self._numbered = sorted(
                (number, path)
                for path in folder.iterdir()
                if path.suffix.lower() in FRAME_SUFFIXES and (number := frame_number(path)) is not None
            )
        except OSError as error:
            raise VideoError(f"{self.name}: {error.strerror or error}") from error
        if not self._numbered:
            raise VideoError(f"{self.name}: the folder has no numbered frames, such as 0001.jpg")

    def number_at(self, seconds: float) -> int:
        """Return the number of the frame that is at so many seconds."""
        return self._numbered[0][0] + round(seconds * self._rate)

    def frames(self, start: float = 0.0) -> Iterator[Decoded]:
        """Yield the frames in the order of their numbers; one that cannot be read is counted as damaged."""
        first = self._numbered[0][0]
        for number, path in self._numbered:
            seconds = (number - first) / self._rate
            if seconds < start:
                continue
            try:
                pixels = Picture(path).pixels()
            except ImageError:
                self.counts.damaged += 1
                continue
            self.counts.decoded += 1
            yield _in_memory(seconds, pixels)
        last = (self._numbered[-1][0] - first) / self._rate
        if last < start:
            self.counts.remark = _ends_before(last, start)
        if not self.counts.decoded and start == 0:
            raise VideoError(f"{self.name}: none of its {self.counts.damaged} frames can be read")


def frame_number(path: Path) -> int | None:
    """Return the number of a frame's file: the last in its name; None without one."""
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1][:18]) if numbers else None


def _in_memory(seconds: float, pixels: UInt8Image) -> Decoded:
    def grey_sketch() -> UInt8Image:
        return some_of(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8))

    return Decoded(seconds, grey_sketch, lambda: pixels)


def _with_credentials(address: str) -> str:
    credentials = os.environ.get(CREDENTIALS)
    scheme, separator, rest = address.partition("://")
    if not credentials or not separator or "@" in rest.partition("/")[0]:
        return address
    user, _, password = credentials.partition(":")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


def _video_stream(container: "InputContainer", name: str) -> "VideoStream":
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if not pyav.bound_frames(stream):
                raise VideoError(f"{name}: its codec is not known here")
            return stream
    if not len(container.streams):
        raise VideoError(f"{name}: not a video, or its beginning is damaged")
    sound = " (only sound)" if container.streams.audio else ""
    raise VideoError(f"{name}: there is no video in it{sound}")


def _timed(
    container: "InputContainer", stream: "VideoStream", source: VideoFile, start: float, *, seek: bool
) -> Iterator[Decoded]:
    """Yield a file's frames from `start` on with seconds that never go back, and note an end before the announced one.

    A seek lands on a key frame before `start`, and what lies between is passed over; nothing comes where it does not.
    """
    from av.error import FFmpegError

    base = float(stream.time_base or 0)
    begin = float(stream.start_time or 0) * base
    rate = float(stream.average_rate or USUAL_RATE) or USUAL_RATE
    if seek:
        with suppress(FFmpegError):
            container.seek(int((start + begin) / base), stream=stream)
    seconds: float | None = None
    try:
        for frame in _decode(container, stream, source.counts):
            told = None if frame.pts is None else float(frame.pts) * base - begin
            if seconds is None:
                seconds = told or 0.0
                if seek and seconds > start + _LATE:
                    return
            else:
                # Without a timestamp, or with one that goes back: as if it came one frame later.
                seconds = told if told is not None and told > seconds else seconds + 1 / rate
            if seconds >= start - 0.5 / rate:
                yield _decoded(frame, seconds, stream)
    except FFmpegError as error:
        if seconds is None and not seek:
            raise VideoError(f"{source.name}: {pyav.reason(error)}") from None
        source.counts.remark = f"reading it broke off after {clock(seconds or 0.0)}: {pyav.reason(error)}"
        return
    if seconds is None and not seek:
        raise VideoError(
            f"{source.name}: there is a video in it, but no frame that can be decoded (of more than "
            f"{pyav.MAX_FRAME_PIXELS:,} pixels none is)"
        )
    announced = (container.duration or 0) / 1_000_000
    end = (seconds or 0.0) + 1 / rate
    if end < start:
        source.counts.remark = _ends_before(end, start)
    elif seconds is not None and announced - end > max(_EARLY_SECONDS, _EARLY_SHARE * announced):
        source.counts.remark = f"it announces {clock(announced)} and ends after {clock(end)}: cut off, or damaged"


def _decode(container: "InputContainer", stream: "VideoStream", counts: Counts) -> Iterator["VideoFrame"]:
    """Yield the frames that can be decoded; packets and frames that are damaged are counted.

    Raises FFmpegError where nothing more can be read.
    """
    from av.error import EOFError as EndOfFile
    from av.error import FFmpegError, InvalidDataError, PatchWelcomeError

    packets = container.demux(stream)
    failures = 0
    while True:
        try:
            packet = next(packets)
        except (StopIteration, EndOfFile):
            return
        except (InvalidDataError, PatchWelcomeError):
            failures += 1
            counts.damaged += 1
            if failures > _MOST_FAILURES:
                return
            packets = container.demux(stream)
            continue
        try:
            frames = packet.decode()
        except EndOfFile:
            return
        except FFmpegError:  # decoders have many words for a damaged packet
            counts.damaged += 1
            continue
        failures = 0
        for frame in frames:
            if frame.is_corrupt:
                counts.damaged += 1
            else:
                counts.decoded += 1
                yield frame


def _decoded(frame: "VideoFrame", seconds: float | None, stream: "VideoStream") -> Decoded:
    aspect = float(stream.sample_aspect_ratio or 1)
    if not 1 / _ODDEST_ASPECT <= aspect <= _ODDEST_ASPECT:
        aspect = 1.0
    return Decoded(seconds, lambda: sketch(frame), lambda: upright_pixels(frame, aspect))


def _ends_before(end: float, start: float) -> str:
    return f"it ends after {clock(end)}, before it was to be watched from {clock(start)} on"


def clock(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
