"""A browser's side of the page, without a browser: log in, read forms, send them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from faceid.service.database import ServiceDatabase
from faceid.service.keys import Role, make_key
from tests.faceid.service.conftest import Serve

LogIn = Callable[..., TestClient]
HOME = "/galleries/default"


@pytest.fixture
def log_in(serve: Serve, tmp_path: Path) -> LogIn:
    """Start a server and log in with a key of this role."""

    def enter(role: Role = "admin") -> TestClient:
        with ServiceDatabase(tmp_path / "data") as database:
            _, key = make_key(database, "front desk", {"default": role})
        client = serve()
        client.headers.update({"Sec-Fetch-Site": "same-origin", "Accept-Language": "en"})
        assert client.post("/login", data={"key": key}).url.path == HOME
        return client

    return enter


def token_of(client: TestClient) -> str:
    """The token that the session's forms bear."""
    found = re.search(r'name="token" value="([^"]+)"', client.get(HOME).text)
    assert found is not None
    return found[1]
