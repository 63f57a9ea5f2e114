"""A video with boxes and names drawn on it: the frames that were looked at, at their own times."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from faceid.annotate import draw
from faceid.results import Answer
from faceid.video.frames import VideoError
from faceid.video.watcher import Look, TrackedFace
from faceid.vision.picture import Picture
from indexer.decision.decision import user_threshold
from indexer.durable_file import PRIVATE, writing
from indexer.errors import FileNotWritten
from indexer.text import printable

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_TICKS = 1000  # a second
_ANY = user_threshold(1.0)


def annotated_video(looks: Iterable[Look], file: Path) -> Iterator[Look]:
    """Pass looks on and write their frames to an MP4 file, which is there when the last look was taken.

    H.264 where PyAV has it, else MPEG-4. Frames of another size are fitted to the first one's. Raises FileNotWritten,
    and VideoError where no frame was looked at.
    """
    import av

    with writing(file, PRIVATE) as temporary, _told(file):
        container = av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"})
        with container:
            stream: VideoStream | None = None
            last = -1
            for look in looks:
                if look.frame is not None:
                    picture = draw(look.frame.pixels, [_answer(face) for face in look.faces])
                    stream = stream or _stream(container, picture)
                    last = max(last + 1, round(look.frame.seconds * _TICKS))
                    _encode(container, stream, picture, last)
                yield look
            if stream is None:
                raise VideoError(f"{printable(file)} was not written: no frame was looked at")
            container.mux(stream.encode())


@contextmanager
def _told(file: Path) -> Iterator[None]:
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:  # of a full disk, say
        raise FileNotWritten(f"{printable(file)} could not be written: {error.strerror or error}") from error


def _stream(container: "OutputContainer", picture: Image.Image) -> "VideoStream":
    stream = container.add_stream("libx264" if _has_h264() else "mpeg4", rate=_TICKS)
    # The encoder wants even sides.
    stream.width, stream.height = (max(2, side // 2 * 2) for side in picture.size)
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, _TICKS)
    return stream


def _has_h264() -> bool:
    import av

    return "libx264" in av.codecs_available


def _encode(container: "OutputContainer", stream: "VideoStream", picture: Image.Image, ticks: int) -> None:
    import av

    if picture.size != (stream.width, stream.height):
        if abs(picture.width - stream.width) <= 1 and abs(picture.height - stream.height) <= 1:
            picture = picture.crop((0, 0, stream.width, stream.height))
        else:
            picture = picture.resize((stream.width, stream.height))
    frame = av.VideoFrame.from_ndarray(np.asarray(picture, np.uint8), format="rgb24")
    frame.pts, frame.time_base = ticks, Fraction(1, _TICKS)
    container.mux(stream.encode(frame))


def _answer(face: TrackedFace) -> Answer:
    """Return what the drawing of photos takes; a track that nothing is known of yet is drawn as its number."""
    answer = face.answer
    return Answer(
        Picture(b"frame", f"track {face.track}"),
        answer.decision if answer else "unknown",
        "",
        0,
        _ANY,
        box=face.box,
        candidates=answer.candidates if answer else (),
    )
