"""A frame of a video, and what can be wrong with a source of frames."""

from dataclasses import dataclass
from datetime import datetime

from faceid.vision.images import UInt8Image
from indexer.errors import FaceIdError


class VideoError(FaceIdError):
    """A source that gives no frames: not a video, without pictures, refused by its server, or PyAV is not there.

    Its text names the source without user, password and query.
    """

    exit_code = 3


class WrongPassword(VideoError):
    """A source whose server takes another user or password: trying again would only lock the account."""


class SourceLost(FaceIdError):
    """A live source that was there and has gone: its connection broke, it fell silent, or it ended."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video, upright: `pixels` uint8 RGB [H, W, 3].

    `seconds` is its place in the file by the stream's own timestamps; of a live source, since watching began. Frames of
    one `shot` (from 0) show one scene without a cut. `at` is when a live source's frame came, in UTC.
    """

    seconds: float
    shot: int
    pixels: UInt8Image
    at: datetime | None = None


@dataclass(frozen=True)
class SourceNotice:
    """A live source was lost (`source_lost`) or is back (`source_back`), `seconds` after watching began."""

    kind: str
    seconds: float
    at: datetime
    message: str


@dataclass
class Counts:
    """What became of a source's frames: decoded, damaged (passed over), and dropped because they came too fast.

    `remark` says in words what was wrong with the source as a whole, such as an end before the announced one.
    """

    decoded: int = 0
    damaged: int = 0
    dropped: int = 0
    remark: str | None = None
