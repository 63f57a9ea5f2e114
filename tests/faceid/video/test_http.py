"""Videos by HTTP: a file far away, a camera that sends one JPEG after the other."""

import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from faceid.video.frames import Frame, VideoError
from faceid.video.reader import FrameReader, Sampling
from faceid.video.sources import is_live, open_source
from tests.faceid.video.clips import grey, write_video


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class Camera(BaseHTTPRequestHandler):
    """Sends a picture after the other, for ever; /secret takes a password."""

    def do_GET(self) -> None:
        if self.path == "/secret":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        encoded = io.BytesIO()
        Image.fromarray(grey(3)[2]).save(encoded, "JPEG")
        picture = encoded.getvalue()
        try:
            while True:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture + b"\r\n")
        except OSError:
            pass  # the watcher has gone

    def log_message(self, format: str, *args: object) -> None:
        pass


def serving(handler: type[BaseHTTPRequestHandler] | partial[SimpleHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[str]:
    yield from serving(partial(Quiet, directory=str(tmp_path)))


@pytest.fixture
def camera() -> Iterator[str]:
    yield from serving(Camera)


def test_a_file_far_away_is_a_file(files: str, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", grey(20), container_options={"movflags": "faststart"})
    source = open_source(f"{files}/a.mp4?token=s3cret")
    assert not source.live
    assert source.name == f"{files}/a.mp4"
    assert [round(frame.seconds or 0, 2) for frame in source.frames()] == [step / 25 for step in range(20)]
    assert [round(frame.seconds or 0, 2) for frame in source.frames(start=0.6)] == [step / 25 for step in range(15, 20)]
    with pytest.raises(VideoError, match="has no such stream"):
        next(open_source(f"{files}/b.mp4").frames())


def test_a_camera_of_jpegs_is_live(camera: str) -> None:
    source = open_source(f"{camera}/video")
    assert source.live
    with FrameReader(source, Sampling(fps=25)) as reader:
        (frame,) = reader.take(1)
    assert isinstance(frame, Frame)
    assert frame.pixels.shape == (240, 320, 3)
    with pytest.raises(VideoError, match="the user or the password is wrong"):
        next(open_source(f"{camera}/secret").frames())


def test_what_is_live() -> None:
    live = ["camera:0", "rtsp://h/a.mp4", "http://h/stream", "https://h/a.m3u8", "http://h/a.mjpeg"]
    assert all(is_live(one) for one in live)
    assert not any(is_live(one) for one in ["a.mp4", "camera.mp4", "http://h/a.mp4", "https://h/A.MKV?x=1", "frames/"])
