"""The thread that decodes ahead: which frames are due, bounded queues, dropped frames, sources that are lost."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from faceid.video.frames import Counts, Frame, SourceLost, SourceNotice, VideoError, WrongPassword
from faceid.video.heap import HeapKeeper
from faceid.video.reader import QUEUE, FrameReader, Sampling
from faceid.video.shots import ShotCounter
from faceid.video.sources import Decoded, Source, VideoFile
from faceid.vision.opencv import cv2
from tests.faceid.video.clips import grey, write_video

SKETCH = np.zeros((36, 64), np.uint8)


class FakeLive:
    """A live source that gives what it is told to: each run a list of frames and then an error, or a wait."""

    live = True
    name = "rtsp://camera/1"

    def __init__(self, *runs: tuple[int, Exception | None]) -> None:
        self.counts = Counts()
        self.runs = list(runs)
        self.go_on = threading.Event()
        self.came = threading.Semaphore(0)

    def frames(self, start: float = 0.0) -> Iterator[Decoded]:
        if not self.runs:
            self.go_on.wait(5)
            return
        count, error = self.runs.pop(0)
        for number in range(count):
            self.counts.decoded += 1
            yield Decoded(None, lambda: SKETCH, lambda number=number: np.full((4, 4, 3), number, np.uint8))
            self.came.release()
        if error:
            raise error
        self.go_on.wait(5)


def all_of(source: Source, sampling: Sampling) -> list[Frame]:
    with FrameReader(source, sampling) as reader:
        frames: list[Frame] = []
        while items := reader.take(QUEUE):
            frames += [item for item in items if isinstance(item, Frame)]
        return frames


def test_a_frame_is_due_a_slot_of_the_clock_wherever_reading_began(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", grey(50))
    seconds = [round(frame.seconds, 2) for frame in all_of(VideoFile(file), Sampling(fps=5))]
    assert seconds == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8]
    later = [round(frame.seconds, 2) for frame in all_of(VideoFile(file), Sampling(fps=5, start=0.8, end=1.3))]
    assert later == [0.8, 1.0, 1.2]


def test_more_frames_than_there_are_cannot_be_due(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", grey(10))
    assert len(all_of(VideoFile(file), Sampling(fps=1000))) == 10


def test_a_file_waits_for_those_who_take_its_frames(tmp_path: Path) -> None:
    source = VideoFile(write_video(tmp_path / "a.mp4", grey(100)))
    with FrameReader(source, Sampling(fps=25)) as reader:
        first = reader.take(1)
        assert len(first) == 1
        # Decoders have frames of their own under way; nothing beyond them and the queue is decoded.
        assert source.counts.decoded < 60
        taken = 1
        while items := reader.take(3):
            assert len(items) <= 3
            taken += len(items)
    assert taken == 100
    assert source.counts.dropped == 0


def test_large_frames_do_not_wait_eight_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceid.video.reader.QUEUED_BYTES", 320 * 240 * 3)
    with FrameReader(VideoFile(write_video(tmp_path / "a.mp4", grey(20))), Sampling(fps=25)) as frames:
        taken = []
        while items := frames.take(QUEUE):
            taken.append(len(items))
    assert taken == [1] * 20


def test_a_live_source_keeps_only_the_newest_frame_and_counts_the_others() -> None:
    source = FakeLive((50, None))
    with FrameReader(source, Sampling(fps=1e6)) as reader:
        for _ in range(49):
            assert source.came.acquire(timeout=5)
        items = reader.take(QUEUE)
        while items[-1].pixels[0, 0, 0] != 49:
            items = reader.take(QUEUE)
        assert len(items) == 1
        assert items[0].at is not None
        assert source.counts.dropped >= 40
        source.go_on.set()


def test_a_live_source_that_is_lost_is_connected_again_and_both_are_told() -> None:
    gone = SourceLost("rtsp://camera/1: the stream ended")
    source = FakeLive((1, gone), (0, VideoError("rtsp://camera/1: nobody answers at this address")), (1, None))
    with FrameReader(source, Sampling(fps=1e6), first_wait=0.01) as reader:
        taken: list[Frame | SourceNotice] = []
        while sum(isinstance(item, Frame) for item in taken) < 2:
            taken += reader.take(1)
        source.go_on.set()
    kinds = [item.kind if isinstance(item, SourceNotice) else "frame" for item in taken]
    assert kinds == ["frame", "source_lost", "source_back", "frame"]
    first, last = taken[0], taken[-1]
    assert isinstance(first, Frame)
    assert isinstance(last, Frame)
    assert last.shot > first.shot  # nothing is where it was


def test_a_first_connection_that_fails_is_an_error_and_so_is_a_password_at_any_time() -> None:
    source = FakeLive((0, VideoError("rtsp://camera/1: nobody answers at this address")))
    with FrameReader(source, Sampling()) as reader, pytest.raises(VideoError, match="nobody answers"):
        reader.take(1)
    source = FakeLive((1, SourceLost("lost")), (0, WrongPassword("rtsp://camera/1: the user or the password is wrong")))
    with FrameReader(source, Sampling(fps=1e6), first_wait=0.01) as reader, pytest.raises(VideoError, match="password"):
        list(iter(lambda: reader.take(1), []))


def test_a_camera_in_whose_address_the_word_password_stands_is_connected_again() -> None:
    away = VideoError("rtsp://camera/user=***&password=***&channel=1: nobody answers at this address")
    source = FakeLive((1, SourceLost("lost")), (0, away), (1, None))
    with FrameReader(source, Sampling(fps=1e6), first_wait=0.01) as reader:
        taken: list[Frame | SourceNotice] = []
        while sum(isinstance(item, Frame) for item in taken) < 2:
            taken += reader.take(1)
        source.go_on.set()


def test_stopping_ends_the_taking() -> None:
    reader = FrameReader(FakeLive((0, None)), Sampling())
    with reader:
        threading.Timer(0.1, reader.stop).start()
        assert reader.take(1) == []


def test_an_error_comes_after_the_frames_before_it(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", grey(3))
    file.write_bytes(b"no video")
    with FrameReader(VideoFile(file), Sampling()) as reader, pytest.raises(VideoError, match="not a video"):
        reader.take(1)


def test_another_size_of_picture_is_another_shot() -> None:
    class Growing(FakeLive):
        live = False

        def frames(self, start: float = 0.0) -> Iterator[Decoded]:
            for number in range(4):
                side = 4 if number < 2 else 8
                yield Decoded(number, lambda: SKETCH, lambda side=side: np.zeros((side, side, 3), np.uint8))

    assert [frame.shot for frame in all_of(Growing(), Sampling())] == [0, 0, 1, 1]


def test_a_cut_is_seen_and_a_moving_or_shaken_picture_is_none() -> None:
    random = np.random.default_rng(3)
    one, other = (cv2.resize(random.integers(0, 255, (3, 5)).astype(np.uint8), (64, 36)) for _ in range(2))
    shots = ShotCounter()
    seen = [shots.see(np.roll(one, (step % 2, step % 3), (0, 1))) for step in range(30)]
    seen += [shots.see(np.roll(other, step, 1)) for step in range(3)]
    assert seen == [0] * 30 + [1] * 3


def test_a_picture_that_grows_dark_by_and_by_is_one_shot() -> None:
    shots = ShotCounter()
    assert {shots.see(np.full((36, 64), 250 - 5 * step, np.uint8)) for step in range(50)} == {0}


def test_freed_memory_is_given_back_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    trims: list[int] = []
    keeper = HeapKeeper(every=0.0)
    monkeypatch.setattr(keeper, "_trim", trims.append)
    keeper.look()
    rare = HeapKeeper(every=3600)
    monkeypatch.setattr(rare, "_trim", trims.append)
    rare.look()
    assert trims == [0]
    monkeypatch.setattr(keeper, "_trim", None)  # a system without
    keeper.look()
