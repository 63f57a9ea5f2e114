"""One thread that decodes ahead: it picks the frames that are due, and never holds more than a few.

A file waits when nobody takes its frames; a live source goes on, and its older frames are dropped and counted.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType

from faceid.video.frames import Frame, SourceLost, SourceNotice, VideoError, WrongPassword
from faceid.video.shots import ShotCounter
from faceid.video.sources import Decoded, Source

QUEUE = 8  # frames of a file that wait to be looked at: a batch of the detector
QUEUED_BYTES = 2**28  # of their pixels, about: 8 frames of 4K
LONGEST_WAIT = 30.0  # seconds between two tries to reach a source that was lost


@dataclass(frozen=True)
class Sampling:
    """Which frames are looked at: `fps` a second at most, from `start` to `end` seconds.

    A frame is due when it is the first of its slot of 1 / fps seconds, wherever reading began.
    """

    fps: float = 5.0
    start: float = 0.0
    end: float | None = None


class FrameReader:
    """The frames of a source that are due, decoded in a thread of its own; use it as a context manager."""

    def __init__(self, source: Source, sampling: Sampling, *, first_wait: float = 1.0) -> None:
        self.source = source
        self._sampling = sampling
        self._first_wait = first_wait
        self._items: deque[Frame | SourceNotice] = deque()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._ended = False
        self._error: BaseException | None = None
        self._began = time.monotonic()
        self._slot = -1
        self._shots = ShotCounter()
        self._shape: tuple[int, ...] | None = None
        self._changes = 0
        self._thread = threading.Thread(target=self._run, name="faceid-decoder", daemon=True)

    def __enter__(self) -> "FrameReader":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the thread; one that waits for a silent camera ends with the camera's time to answer."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def take(self, most: int) -> list[Frame | SourceNotice]:
        """Wait for something and return what is there, up to so many; an empty list at the end.

        Raises VideoError after everything before it was taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended or self._stopped.is_set())
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._changed.notify_all()
            if not taken and self._error is not None and not self._stopped.is_set():
                raise self._error
            return taken

    def _run(self) -> None:
        try:
            if self.source.live:
                self._follow()
            else:
                self._read(self.source.frames(self._sampling.start))
        except BaseException as error:
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _follow(self) -> None:
        """Read a live source, and connect again whenever it is lost; only the first try may fail for good."""
        wait, lost = self._first_wait, False
        while not self._stopped.is_set():
            before = self.source.counts.decoded
            try:
                self._read(self.source.frames(), back_after=lost)
                return
            except SourceLost as error:
                message = str(error)
            except VideoError as error:
                if not before or isinstance(error, WrongPassword):
                    raise
                message = str(error)
            came = self.source.counts.decoded > before
            if came or not lost:
                wait = self._first_wait
                self._put(self._notice("source_lost", message))
            lost = True
            # Spread, so that many watchers of one camera do not all come back at the same moment.
            self._stopped.wait(wait * random.uniform(0.8, 1.2))
            wait = min(2 * wait, LONGEST_WAIT)

    def _read(self, frames: Iterator[Decoded], *, back_after: bool = False) -> None:
        for decoded in frames:
            if self._stopped.is_set():
                return
            if back_after:
                back_after = False
                self._put(self._notice("source_back", f"{self.source.name}: it is back"))
                self._changes += 1  # who was there before it was lost may be elsewhere now
            seconds = self._elapsed() if decoded.seconds is None else decoded.seconds
            if self._sampling.end is not None and seconds > self._sampling.end:
                return
            shot = self._shots.see(decoded.sketch())
            slot = int(seconds * self._sampling.fps + 1e-6)
            if slot > self._slot:
                self._slot = slot
                self._put(self._frame(decoded, seconds, shot))

    def _frame(self, decoded: Decoded, seconds: float, shot: int) -> Frame:
        pixels = decoded.pixels()
        if self._shape not in (None, pixels.shape):
            self._changes += 1  # boxes of another size of picture mean nothing here
        self._shape = pixels.shape
        return Frame(seconds, shot + self._changes, pixels, datetime.now(UTC) if self.source.live else None)

    def _put(self, item: Frame | SourceNotice) -> None:
        with self._changed:
            if isinstance(item, Frame) and self.source.live:
                old = [one for one in self._items if isinstance(one, Frame)]
                self.source.counts.dropped += len(old)
                for one in old:
                    self._items.remove(one)
            else:
                self._changed.wait_for(lambda: self._has_room() or self._stopped.is_set())
            self._items.append(item)
            self._changed.notify_all()

    def _has_room(self) -> bool:
        waiting = sum(one.pixels.nbytes for one in self._items if isinstance(one, Frame))
        return len(self._items) < QUEUE and waiting < QUEUED_BYTES

    def _notice(self, kind: str, message: str) -> SourceNotice:
        return SourceNotice(kind, self._elapsed(), datetime.now(UTC), message)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began
