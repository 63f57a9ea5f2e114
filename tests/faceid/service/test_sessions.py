"""Logging in with a key: the cookie counts only while session and key do, and changes need the session's token."""

from pathlib import Path

import pytest

from faceid.service.database import ServiceDatabase
from faceid.service.keys import make_key, revoke_key
from faceid.service.sessions import COOKIE, TOKEN_HEADER, Sessions
from tests.faceid.service.conftest import Serve

UNDO = "/v1/galleries/default/undo"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(("visits", "lives"), [([3599], True), ([3601], False), ([3000] * 15, False)])
def test_a_session_ends_when_it_is_idle_and_after_half_a_day(visits: list[int], lives: bool) -> None:
    clock = Clock()
    sessions = Sessions(clock)
    cookie = sessions.begin(1)
    found = None
    for seconds in visits:
        clock.seconds += seconds
        found = sessions.find(cookie)
    assert (found is not None) == lives


def test_a_session_that_was_ended_is_gone() -> None:
    sessions = Sessions()
    cookie = sessions.begin(1)
    sessions.end(cookie)
    assert sessions.find(cookie) is None
    assert sessions.find("") is None


def test_a_change_in_a_session_needs_its_token(serve: Serve, tmp_path: Path) -> None:
    with ServiceDatabase(tmp_path / "data") as database:
        row, _ = make_key(database, "desk", {"*": "curate"})
    client = serve()
    sessions = client.app.state.service.sessions  # type: ignore[attr-defined]
    cookie = sessions.begin(row.id)
    client.cookies.set(COOKIE, cookie)
    assert client.get("/v1/galleries").status_code == 200
    assert client.post(UNDO).json()["code"] == "cross_site"
    assert client.post(UNDO, headers={TOKEN_HEADER: "é".encode()}).json()["code"] == "cross_site"
    token = {TOKEN_HEADER: sessions.find(cookie).token}
    assert client.post(UNDO, headers=token).json()["code"] == "conflict"  # past the gate: nothing to undo
    foreign = token | {"Origin": "https://evil.example"}
    assert client.post(UNDO, headers=foreign).json()["code"] == "cross_site"
    with ServiceDatabase(tmp_path / "data") as database:
        revoke_key(database, str(row.id))
    assert client.get("/v1/galleries").json()["code"] == "no_key"
