"""A server in this process over a gallery of drawn people, and what asks it."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from faceid import FaceEngine, Gallery, photos_of_people
from faceid.service.app import create_app
from faceid.service.run import server_config
from faceid.service.settings import make_settings

Serve = Callable[..., TestClient]
Live = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="session")
def served_gallery(shipped_engine: FaceEngine, drawn_people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of the first and second photos of the six drawn people; copy it before changing it."""
    folder = tmp_path_factory.mktemp("served") / "gallery"
    with Gallery.open(folder, create=shipped_engine.binding) as gallery:
        people = [photo for photo in photos_of_people(drawn_people) if photo.path.stem != "3"]
        assert {one.status for one in shipped_engine.enroll(gallery, people)} == {"enrolled"}
    return folder


@pytest.fixture
def gallery_path(served_gallery: Path, tmp_path: Path) -> Path:
    """A copy of that gallery for this test alone."""
    return Path(shutil.copytree(served_gallery, tmp_path / "gallery"))


@pytest.fixture
def serve(gallery_path: Path, tmp_path: Path) -> Iterator[Serve]:
    """Start a server with these settings (the gallery `default` is there) and return a client on this machine."""
    with ExitStack() as stack:

        def start(address: str = "127.0.0.1", **settings: Any) -> TestClient:
            values = {"galleries": {"default": gallery_path}, "data": tmp_path / "data", "workers": 2} | settings
            app = create_app(make_settings(values))
            client = TestClient(app, "http://localhost:8321", client=(address, 50000), raise_server_exceptions=False)
            return stack.enter_context(client)

        yield start


@pytest.fixture
def client(serve: Serve) -> TestClient:
    """A server with the usual settings and no keys."""
    return serve()


@pytest.fixture
def live(gallery_path: Path, tmp_path: Path) -> Iterator[Live]:
    """Start a server on a port of its own with these settings; returns the port and the server's parts."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(**settings: Any) -> tuple[int, Any]:
        values = {"galleries": {"default": gallery_path}, "data": tmp_path / "data", "workers": 2} | settings
        config = server_config(make_settings({"port": 0, "seconds": 30} | values))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        running.append((server, thread))
        return server.servers[0].sockets[0].getsockname()[1], config.app.state.service  # type: ignore[union-attr]

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def app_without_start(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """An app whose routes can be looked at; it was never started."""
    folder = tmp_path_factory.mktemp("app")
    return create_app(make_settings({"galleries": {"default": folder / "gallery"}, "data": folder / "data"}))


def photo(people: Path, person: int, number: int) -> tuple[str, tuple[str, bytes]]:
    """One photo of a drawn person as a form's part."""
    file = people / f"person-{person:04d}" / f"{number}.jpg"
    return ("photos", (file.name, file.read_bytes()))
