"""Pages let nobody in who may not: every route without a session, with a smaller role, without the form's token."""

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from faceid.service.keys import ROLES
from faceid.service.page.pages import ROUTERS
from faceid.service.page.routes import PageRoute
from tests.faceid.service.conftest import Serve
from tests.faceid.service.page.conftest import HOME, LogIn, token_of

PAGES = [route for router in ROUTERS for route in router.routes if isinstance(route, PageRoute)]
VALUES = {"gallery": "default", "person": "1", "job": "0" * 32, "template": "1", "camera": "door", "number": "0" * 32}
OPEN = {"/login"}


def ask(client: TestClient, route: PageRoute, **fields: str) -> tuple[int, str]:
    (method,) = route.methods - {"HEAD"}
    path = re.sub(r"{(\w+)}", lambda found: VALUES[found[1]], route.path)
    answer = client.request(method, path, data=fields or None, follow_redirects=False)
    return answer.status_code, answer.headers.get("location", "")


def test_the_routes_that_are_open_are_these() -> None:
    assert len(PAGES) > 25
    assert {route.path for route in PAGES if route.access == "open"} == OPEN


def test_who_is_not_logged_in_is_asked_to(log_in: LogIn) -> None:
    client = log_in("admin")
    client.cookies.clear()
    for route in PAGES:
        if route.access != "open":
            assert ask(client, route) == (303, "/login"), route.path


@pytest.mark.slow
@pytest.mark.parametrize("held", ROLES)
def test_a_role_reaches_what_it_is_for_and_nothing_above(log_in: LogIn, held: str) -> None:
    client = log_in(held)
    token = token_of(client)
    for route in PAGES:
        if route.access in ("open", "any"):
            continue
        status, _ = ask(client, route, token=token)
        enough = ROLES.index(route.access) <= ROLES.index(held)  # type: ignore[arg-type]
        assert (status != 403) == enough, (route.path, status)


def test_a_form_without_its_sessions_token_does_nothing(log_in: LogIn) -> None:
    client = log_in()
    for route in PAGES:
        if route.methods == {"POST"} and route.access != "open":
            assert ask(client, route)[0] == 403, route.path
            assert ask(client, route, token="A" * 43)[0] == 403, route.path
    assert "person-0001" in client.get(f"{HOME}/people").text


def test_a_form_of_another_site_does_nothing(log_in: LogIn) -> None:
    client = log_in()
    fields = {"token": token_of(client)}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert client.post(f"{HOME}/people/1/remove", data=fields, headers=headers).status_code == 403
        assert client.post("/login", data={"key": "x"}, headers=headers).status_code == 403


def test_the_cookie_is_for_this_site_alone_and_no_script_reads_it(log_in: LogIn) -> None:
    client = log_in()
    client.get("/")
    (cookie,) = [one for one in client.cookies.jar if one.name == "faceid_session"]
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"


def test_pages_let_browsers_load_nothing_but_their_own(log_in: LogIn) -> None:
    client = log_in()
    for place in ("/login", HOME, f"{HOME}/people/999"):
        policy = client.get(place).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


def test_wrong_keys_are_slowed_down_and_a_session_ends_with_its_key_and_at_logout(serve: Serve, log_in: LogIn) -> None:
    client = log_in()
    token = token_of(client)
    other = TestClient(client.app, client.base_url, client=("10.0.0.9", 1))
    tried = [other.post("/login", data={"key": "faceid_wrong"}).status_code for _ in range(8)]
    assert tried[0] == 401
    assert tried[-1] == 429
    assert client.post("/logout", data={"token": token}).url.path == "/login"
    assert client.get(HOME).url.path == "/login"


def test_what_a_browser_keeps_of_pages_is_nothing_and_assets_come_from_a_table(app_without_start: FastAPI) -> None:
    client = TestClient(app_without_start)
    kept = client.get("/assets/htmx.min.js")
    assert "immutable" in kept.headers["cache-control"]
    for name in ("LICENCES", "..%2fpages.py", "checksums.sha256", "layout.html.jinja"):
        assert client.get(f"/assets/{name}").status_code == 404
    assert client.get("/login").headers["cache-control"] == "no-store"
