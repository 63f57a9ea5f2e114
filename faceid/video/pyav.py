"""PyAV, with errors in words that never show a password, and no way from a video to other files."""

import platform
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit

from faceid.video.frames import VideoError, WrongPassword
from indexer.text import printable

if TYPE_CHECKING:
    import av
    from av.codec.context import CodecContext
    from av.container import InputContainer
    from av.video.stream import VideoStream

# What a file may be. Not among them: playlists, which name other files, and single images.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpegtsraw,mpeg,mpegvideo,flv,live_flv,asf,ogg,wtv,mxf,gxf,nut,"
    "ivf,rm,dv,h264,hevc,m4v,av1,obu,mjpeg,mpjpeg,gif,apng,y4m,yuv4mpegpipe,wav,mp3,flac,aac"
)
# FFmpeg opens no decoder for larger frames, and a decoder that meets one gives an error: 8K video has 35 million.
MAX_FRAME_PIXELS = 64_000_000
_BOUNDED = {"max_pixels": str(MAX_FRAME_PIXELS)}
_FILE_OPTIONS = {"protocol_whitelist": "file,crypto,data", "format_whitelist": CONTAINERS, **_BOUNDED}
_RTSP_OPTIONS = {
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto",
    "rtsp_transport": "tcp",
    # Half a second instead of five to find out what a camera sends.
    "analyzeduration": "500000",
    "probesize": "200000",
    **_BOUNDED,
}
_HTTP_OPTIONS = {"protocol_whitelist": "http,https,tcp,tls,crypto,httpproxy,hls", **_BOUNDED}
# Titles and the like may be in any encoding; nobody reads them here.
_ODD_TITLES: Final = "replace"
# Some cameras take user and password in the path: `/user=ann&password=x&channel=1`, `/user=ann_password=x_channel=1`.
_SECRETS = re.compile(r"((?:user|pass|pwd)[a-z]*=).*?(?=[&/;]|_[a-z]+=|$)", re.IGNORECASE)
# What tells the cameras of one recorder apart; all else of a query may be a secret.
_CHANNEL = re.compile(r"(?:cam|camera|ch|channel|profile|stream|subtype)=[0-9]{1,4}", re.IGNORECASE)
_CAMERAS = {"Linux": ("v4l2", "/dev/video{}"), "Darwin": ("avfoundation", "{}"), "Windows": ("dshow", "video={}")}


def require_av() -> None:
    """Raise VideoError where PyAV is not installed."""
    _av()


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise VideoError("videos need PyAV: pip install 'faceid-engine[video]'") from error
    if av.logging.get_level() is None:
        # FFmpeg's remarks on damaged frames, which are counted. Not by `set_level`: it would bring each remark to
        # Python, and closing a file then waits for threads of FFmpeg's that wait for Python's lock.
        av.logging.set_libav_level(av.logging.PANIC)
    return av


def open_file(path: Path) -> "InputContainer":
    """Open a video file; raises VideoError."""
    av = _av()
    name = printable(path)
    try:
        status = path.stat()
    except OSError as error:
        raise VideoError(f"{name}: {error.strerror or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{name}: it is no file; what a pipe brings goes into a file first, and a camera is camera:0")
    if not status.st_size:
        raise VideoError(f"{name}: the file is empty")
    with in_words(name):
        container: InputContainer = av.open(f"file:{path}", options=_FILE_OPTIONS, metadata_errors=_ODD_TITLES)
    return container


def open_stream(url: str, seconds: float) -> "InputContainer":
    """Open an RTSP or HTTP stream; what takes longer than so many seconds has failed. Raises VideoError."""
    av = _av()
    scheme = parts_of(url).scheme.lower()
    options = _RTSP_OPTIONS if scheme in ("rtsp", "rtsps") else _HTTP_OPTIONS
    with in_words(safe_name(url)):
        container: InputContainer = av.open(
            url, options=options, metadata_errors=_ODD_TITLES, timeout=(seconds, seconds)
        )
    return container


def open_camera(number: str) -> "InputContainer":
    """Open a camera of this machine by its number (Windows: its name); raises VideoError."""
    av = _av()
    if platform.system() not in _CAMERAS or (platform.system() != "Windows" and not number.isdecimal()):
        raise VideoError(f"camera:{number}: cameras are numbered, as camera:0")
    kind, device = _CAMERAS[platform.system()]
    with in_words(f"camera:{number}"):
        container: InputContainer = av.open(device.format(number), format=kind)
    return container


def bound_frames(stream: "VideoStream") -> bool:
    """Let a stream's decoder, too, refuse frames beyond the limit, before it takes the memory; False without one."""
    decoder: CodecContext | None = stream.codec_context
    if decoder is None:
        return False
    decoder.options = _BOUNDED
    return True


@contextmanager
def in_words(name: str) -> Iterator[None]:
    """Turn PyAV's errors, whose texts hold the whole address, into a VideoError about `name`."""
    av = _av()
    try:
        yield
    except av.error.FFmpegError as error:
        kind = WrongPassword if isinstance(error, av.error.HTTPUnauthorizedError) else VideoError
        raise kind(f"{name}: {reason(error)}") from None


def reason(error: "av.error.FFmpegError") -> str:
    """Say what an error of PyAV means."""
    e = _av().error
    for kinds, words in (
        (e.HTTPUnauthorizedError, "the user or the password is wrong (or one is needed)"),
        (e.HTTPForbiddenError, "the server forbids it"),
        (e.HTTPNotFoundError, "the server is there, but has no such stream"),
        ((e.HTTPClientError, e.HTTPServerError), "the server refuses it"),
        ((e.ConnectionRefusedError, e.ConnectionResetError), "nobody answers at this address"),
        ((e.ExitError, e.TimeoutError), "no answer in time"),
        (e.FileNotFoundError, "there is no such file or device"),
        (e.PermissionError, "it may not be read"),
        (e.IsADirectoryError, "it is a folder"),
        (e.DecoderNotFoundError, "its codec is not known here"),
        ((e.InvalidDataError, e.ArgumentError, e.EOFError), "not a video, or its beginning is damaged"),
        (e.OSError, "it cannot be reached"),
    ):
        if isinstance(error, kinds):
            return words
    return f"it cannot be read ({type(error).__name__})"


def parts_of(address: str) -> SplitResult:
    """Part an address; raises VideoError for what is none. It is not shown: nobody knows where its password ends."""
    try:
        return urlsplit(address)
    except ValueError:
        raise VideoError(
            f"{printable(address.partition(':')[0])}://...: this is no address; what is odd in a user or a password"
            " is written as %5B, say, for ["
        ) from None


def safe_name(address: str) -> str:
    """Return a source's name without what must not be shown: user, password, query, but for a channel's number.

    Raises VideoError for what is no address.
    """
    if "://" not in address:
        return printable(address)
    parts = parts_of(address)
    place = parts.netloc.rpartition("@")[2]
    channel = "&".join(one for one in parts.query.split("&") if _CHANNEL.fullmatch(one))
    path = _SECRETS.sub(r"\1***", parts.path) + (f"?{channel}" if channel else "")
    return printable(re.sub(r"[\x00-\x20]", "", f"{parts.scheme}://{place}{path}"))
