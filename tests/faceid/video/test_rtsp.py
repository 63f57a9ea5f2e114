"""A camera on the loopback, with all that cameras do: break, come back, fall silent, ask for a password."""

import gc
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceid.video.frames import Frame, SourceLost, SourceNotice, VideoError
from faceid.video.reader import FrameReader, Sampling
from faceid.video.sources import CREDENTIALS, LiveStream, open_source
from tests.faceid.video.clips import grey
from tests.faceid.video.rtsp_server import RtspServer


@pytest.fixture
def camera() -> Iterator[RtspServer]:
    with RtspServer(grey(25)) as server:
        yield server


def until(reader: FrameReader, wanted: str) -> list[Frame | SourceNotice]:
    """Take until a frame or a notice of this kind has come."""
    taken: list[Frame | SourceNotice] = []
    while True:
        for item in reader.take(1):
            taken.append(item)
            if wanted == (item.kind if isinstance(item, SourceNotice) else "frame"):
                return taken


def test_a_stream_gives_frames_with_the_time_of_their_arrival(camera: RtspServer) -> None:
    with FrameReader(open_source(camera.url), Sampling(fps=25)) as reader:
        frames = [until(reader, "frame")[-1] for _ in range(5)]
    seconds = [frame.seconds for frame in frames]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    assert all(isinstance(frame, Frame) and frame.at is not None for frame in frames)
    assert all(isinstance(frame, Frame) and frame.pixels.shape == (240, 320, 3) for frame in frames)


@pytest.mark.slow
def test_a_connection_that_breaks_is_made_again(camera: RtspServer) -> None:
    with FrameReader(open_source(camera.url), Sampling(fps=25), first_wait=0.05) as reader:
        until(reader, "frame")
        camera.drop()
        until(reader, "source_lost")
        until(reader, "source_back")
        until(reader, "frame")
    assert camera.connections >= 2


@pytest.mark.slow
def test_a_camera_that_goes_away_and_comes_back_later_is_waited_for(camera: RtspServer) -> None:
    with FrameReader(open_source(camera.url), Sampling(fps=25), first_wait=0.05) as reader:
        until(reader, "frame")
        camera.stop()
        until(reader, "source_lost")
        time.sleep(0.3)
        camera.again()
        until(reader, "source_back")


@pytest.mark.slow
def test_a_camera_that_falls_silent_is_lost(camera: RtspServer) -> None:
    source = LiveStream(camera.url, seconds_to_answer=1.0)
    frames = source.frames()
    for _ in range(5):
        next(frames)
    camera.frozen.set()
    with pytest.raises(SourceLost, match=r"no answer in time|the stream ended"):
        list(frames)


def test_a_camera_that_never_says_a_word_is_given_up() -> None:
    with RtspServer(grey(3), mute=True) as camera:
        began = time.monotonic()
        with pytest.raises(VideoError, match=r"127\.0\.0\.1"):
            next(LiveStream(camera.url, seconds_to_answer=1.0).frames())
        assert time.monotonic() - began < 30  # not for ever


def test_a_password_is_taken_from_the_environment_and_a_wrong_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with RtspServer(grey(25), password="p@ss/w0rd") as camera:
        monkeypatch.setenv(CREDENTIALS, "camera:p@ss/w0rd")
        with FrameReader(open_source(camera.url), Sampling()) as reader:
            until(reader, "frame")
        monkeypatch.setenv(CREDENTIALS, "camera:another")
        with pytest.raises(VideoError) as caught:
            next(open_source(camera.url).frames())
    assert str(caught.value) == f"{camera.url}: the user or the password is wrong (or one is needed)"


def test_a_path_that_is_not_there_is_named(camera: RtspServer) -> None:
    with pytest.raises(VideoError, match="the server is there, but has no such stream"):
        next(open_source(camera.url.replace("live", "other")).frames())


@pytest.mark.slow
def test_who_falls_behind_sees_the_newest_frame(camera: RtspServer) -> None:
    source = open_source(camera.url)
    with FrameReader(source, Sampling(fps=25)) as reader:
        until(reader, "frame")
        for _ in range(3):
            time.sleep(0.4)
            (frame,) = until(reader, "frame")
            assert isinstance(frame, Frame)
            assert time.monotonic() - reader._began - frame.seconds < 0.3
    assert source.counts.dropped > 5


@pytest.mark.slow
def test_memory_stays_flat_while_a_stream_runs(camera: RtspServer) -> None:
    """Some seconds here; benchmarks/measurements/video_memory.py watches for half an hour."""
    with FrameReader(open_source(camera.url), Sampling(fps=25)) as reader:
        for _ in range(25):
            until(reader, "frame")
        gc.collect()
        before, threads = _resident(), threading.active_count()
        for _ in range(150):
            until(reader, "frame")
        assert _resident() - before < 16 * 2**20
        assert threading.active_count() <= threads


def _resident() -> int:
    sizes = Path("/proc/self/statm")
    if not sizes.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(sizes.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
