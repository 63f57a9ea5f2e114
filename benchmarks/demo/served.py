"""The demo's gallery as a service: a server for a moment, asked as its users ask, or for as long as somebody looks."""

import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn

from benchmarks.demo.story import Story
from faceid.client import Client
from faceid.service.run import address, server_config
from faceid.service.settings import Settings, make_settings
from indexer.errors import FaceIdError

PORT = 8321
_SECONDS = 60.0


class NotServed(FaceIdError):
    """The server did not start, or did not answer as the engine does."""


@dataclass(frozen=True)
class Served:
    """What was seen: the address while it was open, and who was recognised over HTTP (None: nobody)."""

    address: str
    name: str | None


def ask_service(story: Story, folder: Path, model: str | None) -> Served:
    """Serve the story's gallery, look at its health and its page, and ask who is on the first known photo."""
    photo = story.cast.probes[0].picture.path
    assert photo is not None
    with _served(story, folder, model, port=0) as (settings, port):
        here = address(settings.model_copy(update={"port": port}))
        with Client(here, gallery="default") as client:
            (answer, *_) = client.identify([photo], threshold=story.threshold.value)
        health = httpx.get(f"{here}v1/health", timeout=_SECONDS).json()
        page = httpx.get(here, follow_redirects=True, timeout=_SECONDS)
    if not health["ready"] or page.status_code != httpx.codes.OK:
        raise NotServed(f"the server at {here} answered {health} and a page of status {page.status_code}")
    return Served(here, answer["identity"]["name"] if answer["identity"] else None)


def keep_open(story: Story, folder: Path, model: str | None) -> None:
    """Serve the story's gallery and show its page in a browser, until Ctrl-C."""
    with _served(story, folder, model, PORT) as (settings, _):
        webbrowser.open(address(settings))
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


@contextmanager
def _served(story: Story, folder: Path, model: str | None, port: int) -> Iterator[tuple[Settings, int]]:
    places = {"galleries": {"default": story.gallery}, "data": folder / "service"}
    settings = make_settings({**places, "port": port, "model": model})
    server = uvicorn.Server(server_config(settings))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.05)
    if not server.started:
        raise NotServed("the server did not start; its log says why")
    try:
        yield settings, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
