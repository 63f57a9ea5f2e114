"""The page of cameras: started and stopped by who may, events with faces, nothing of who is erased."""

import re
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from faceid.service.database import ServiceDatabase
from faceid.service.keys import make_key
from faceid.video.events import Event
from indexer.decision.decision import Threshold, user_threshold
from indexer.errors import FileNotWritten, GalleryBusy, GalleryError, GalleryUnreachable, ModelMismatch
from tests.faceid.service.conftest import Serve
from tests.faceid.service.page.conftest import token_of
from tests.faceid.video.clips import scene
from tests.faceid.video.rtsp_server import RtspServer

CAMERAS = "/galleries/default/cameras"

pytestmark = pytest.mark.slow


def log_in(serve: Serve, tmp_path: Path, role: str, cameras: dict[str, str]) -> TestClient:
    with ServiceDatabase(tmp_path / "data") as database:
        _, key = make_key(database, "front desk", {"default": role})  # type: ignore[dict-item]
    client = serve(cameras=cameras, fpir=0.1)
    client.headers.update({"Sec-Fetch-Site": "same-origin", "Accept-Language": "en"})
    client.post("/login", data={"key": key})
    return client


def until(client: TestClient, words: str) -> str:
    """Load the page until it says so; some seconds at most."""
    for _ in range(300):
        text = client.get(CAMERAS).text
        if words in text:
            return text
        time.sleep(0.1)
    raise AssertionError(f"{words!r} did not come:\n{text}")


def test_a_camera_is_watched_and_its_events_have_faces(serve: Serve, drawn_people: Path, tmp_path: Path) -> None:
    with Image.open(drawn_people / "person-0002" / "3.jpg") as photo:
        pixels = np.asarray(photo.convert("RGB"), np.uint8)
    with RtspServer(scene([([pixels], lambda _: (60, 20))], 25)) as server:
        client = log_in(serve, tmp_path, "admin", {"door": server.url.replace("://", "://u:s3cret@")})
        assert "Not watched" in client.get(CAMERAS).text
        token = token_of(client)
        assert client.post(f"{CAMERAS}/door/start", data={"token": token}).status_code == 200
        page = until(client, "person-0002")
        assert "Being watched" in page
        assert "s3cret" not in page
        address = re.search(rf'src="({CAMERAS}/door/faces/\w+)"', page)
        assert address is not None
        picture = client.get(address[1])
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
        client.post(f"{CAMERAS}/door/start", data={"token": token})  # a second time changes nothing
        assert client.post(f"{CAMERAS}/door/stop", data={"token": token}).status_code == 200
        assert "Not watched" in until(client, "left")
        # Who is erased is not on the page any more, and neither is the face.
        service = client.app.state.service  # type: ignore[attr-defined]
        with service.galleries.get("default").writing() as gallery:
            gallery.erase(gallery.find("person-0002")[0].id)
        assert "person-0002" not in client.get(CAMERAS).text
        assert client.get(address[1]).status_code == 404


def test_a_camera_that_is_not_there_says_so_and_others_cannot_be_named(serve: Serve, tmp_path: Path) -> None:
    client = log_in(serve, tmp_path, "admin", {"gone": "rtsp://127.0.0.1:9/x"})
    token = token_of(client)
    client.post(f"{CAMERAS}/gone/start", data={"token": token})
    assert "nobody answers at this address" in until(client, "rtsp://127.0.0.1:9/x")
    assert client.post(f"{CAMERAS}/other/start", data={"token": token}).status_code == 404


def test_a_camera_that_is_stopped_while_it_begins_is_not_watched(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monitors = serve(cameras={"door": "rtsp://127.0.0.1:9/x"}).app.state.service.monitors  # type: ignore[attr-defined]
    going_on = threading.Event()

    def slow(*_: object) -> Threshold:
        going_on.wait(10)
        return user_threshold(0.5)

    monkeypatch.setattr("faceid.video.track_thresholds.track_threshold", slow)
    monkeypatch.setattr("faceid.service.monitors._TO_END", 0.1)
    monitors.start("default", "door")
    monitors.stop("default", "door")
    going_on.set()
    monitor = monitors.find("default", "door")
    monitor.thread.join(10)
    assert (monitor.running, monitor.problem) == (False, None)  # nobody has tried to reach it


@pytest.mark.parametrize("error", [GalleryUnreachable, GalleryBusy, ModelMismatch, GalleryError])
def test_a_gallery_that_cannot_be_asked_for_a_while_ends_no_watching(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, error: type[GalleryError]
) -> None:
    monitors = serve(cameras={"door": "rtsp://127.0.0.1:9/x"}).app.state.service.monitors  # type: ignore[attr-defined]
    asked: list[str | None] = []

    def away_at_first(*_: object) -> Threshold:
        asked.append(monitors.find("default", "door").problem)
        if len(asked) < 3:
            raise error("the server is away")
        return user_threshold(0.5)

    monkeypatch.setattr("faceid.video.track_thresholds.track_threshold", away_at_first)
    monkeypatch.setattr("faceid.service.monitors._AGAIN", 0.05)
    monitors.start("default", "door")
    monitor = monitors.find("default", "door")
    monitor.thread.join(20)
    assert asked == [None, "the server is away", "the server is away"]
    assert "nobody answers at this address" in monitor.problem


@pytest.mark.parametrize("strict", [False, True])
def test_a_decision_that_cannot_be_noted_is_told_and_ends_the_watching_where_each_must_be(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, strict: bool
) -> None:
    service = serve(strict_audit=strict).app.state.service  # type: ignore[attr-defined]
    failed: Future[None] = Future()
    failed.set_exception(FileNotWritten("the disk is full"))
    monkeypatch.setattr(service.audit, "write", lambda _: failed)
    seen = Event("door", "unknown", 1.0, datetime.now(UTC))
    ending: AbstractContextManager[object] = pytest.raises(FileNotWritten) if strict else nullcontext()
    with ending:
        service.monitors._note(seen, "door", "default")
    assert "the audit log cannot be written" in caplog.text


def test_without_the_extra_for_videos_the_page_says_what_to_install(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(cameras={"door": "rtsp://127.0.0.1:9/x"})
    monkeypatch.setitem(sys.modules, "av", None)
    assert client.post(f"{CAMERAS}/door/start", headers={"Accept-Language": "en"}).status_code == 200
    assert "faceid-engine[video]" in client.get(CAMERAS).text


def test_who_may_identify_sees_and_does_not_start(serve: Serve, tmp_path: Path) -> None:
    client = log_in(serve, tmp_path, "identify", {"gone": "rtsp://127.0.0.1:9/x"})
    page = client.get(CAMERAS)
    assert page.status_code == 200
    assert "<button>Start" not in page.text
    assert client.post(f"{CAMERAS}/gone/start", data={"token": token_of(client)}).status_code == 403


def test_without_cameras_the_page_says_where_they_are_named(client: TestClient) -> None:
    assert "serve.cameras" in client.get(CAMERAS).text
