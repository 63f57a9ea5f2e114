"""Nobody comes in who may not: every route of the OpenAPI document, with every kind of wrong key."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from faceid.service.database import FILE, ServiceDatabase, ServiceDatabaseError
from faceid.service.gate import GuardedRoute, access
from faceid.service.keys import ROLES, caller_of, find_caller, has_keys, list_keys, make_key, revoke_key
from tests.faceid.service.conftest import Serve

OPEN = {"/v1/health", "/v1/ready"}
# Served without being in the document: the document itself. It says nothing of any gallery.
DOCUMENT = "/v1/openapi.json"


def operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every method and path of the document, with what it says of them."""
    for path, item in app.openapi()["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def concrete(path: str) -> str:
    """The path with values for its parameters."""
    values = {"gallery": "default", "person": "1", "job": "0" * 32}
    return re.sub(r"{(\w+)}", lambda found: values[found[1]], path)


@pytest.fixture
def keys(tmp_path) -> dict[str, str]:
    """A key of each role, and keys that are good for nothing any more."""
    with ServiceDatabase(tmp_path / "data") as database:
        made = {role: make_key(database, role, {"default": role})[1] for role in ROLES}
        made["other gallery"] = make_key(database, "other", {"other": "admin"})[1]
        made["expired"] = make_key(database, "old", {"*": "admin"}, timedelta(seconds=-1))[1]
        row, made["revoked"] = make_key(database, "gone", {"*": "admin"})
        revoke_key(database, str(row.id))
        made["never made"] = "faceid_" + "A" * 43
        return made


def ask(client: TestClient, method: str, path: str, key: str | None) -> tuple[int, str | None]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    answer = client.request(method, concrete(path), headers=headers)
    code = answer.json().get("code") if answer.headers["content-type"].endswith("json") else None
    return answer.status_code, code


def test_every_route_names_a_role_and_a_new_one_without_fails(app_without_start: FastAPI) -> None:
    named = {(method, path): operation.get("x-role") for method, path, operation in operations(app_without_start)}
    assert None not in named.values()
    assert {path for (_, path), role in named.items() if role == "open"} == OPEN
    assert len(named) > 25
    with pytest.raises(TypeError, match="names no role"):
        GuardedRoute("/v1/new", lambda: None)
    with pytest.raises(TypeError, match="names no role"):
        GuardedRoute("/v1/new", lambda: None, openapi_extra=access("janitor"))  # type: ignore[arg-type]


def test_every_route_of_the_app_is_guarded(app_without_start: FastAPI) -> None:
    routers = [getattr(one, "original_router", None) for one in app_without_start.routes]
    served = [route for router in routers if router is not None for route in router.routes]
    assert {one.path for one in app_without_start.routes if hasattr(one, "path")} == {DOCUMENT}
    assert len(served) > 50
    assert all(isinstance(route, GuardedRoute) for route in served)
    pages = {route.path for route in served if not route.include_in_schema}  # tests/faceid/service/page
    assert {route.path for route in served} - pages == {path for _, path, _ in operations(app_without_start)}


@pytest.mark.parametrize("kind", ["none", "never made", "expired", "revoked", "other gallery"])
def test_a_key_that_is_not_good_opens_nothing(serve: Serve, keys: dict[str, str], kind: str) -> None:
    client = serve()
    expected = {"none": (401, "no_key"), "other gallery": (403, "forbidden")}.get(kind, (401, "bad_key"))
    for method, path, operation in operations(client.app):  # type: ignore[arg-type]
        client.app.state.service.slow_down.succeeded("127.0.0.1")  # type: ignore[attr-defined]
        role = operation["x-role"]
        answer = ask(client, method, path, keys.get(kind))
        if role == "open" or (role == "any" and kind == "other gallery"):
            assert answer[0] == 200, path
        elif kind == "other gallery" and "{gallery}" not in path:
            assert answer == (403, "forbidden"), path  # the only gallery is meant
        else:
            assert answer == expected, (method, path)


@pytest.mark.slow
@pytest.mark.parametrize("held", ROLES)
def test_a_role_reaches_what_it_is_for_and_nothing_above(serve: Serve, keys: dict[str, str], held: str) -> None:
    client = serve()
    for method, path, operation in operations(client.app):  # type: ignore[arg-type]
        role = operation["x-role"]
        status, code = ask(client, method, path, keys[held])
        if role in ("open", "any") or ROLES.index(role) <= ROLES.index(held):
            # Past the gate: what is wrong now is the request, which has no photo and no body.
            assert (status, code) == (403, "embeddings_off") or status not in (401, 403), (method, path)
        else:
            assert (status, code) == (403, "forbidden"), (method, path)


def test_without_keys_only_this_machine_may_ask(serve: Serve) -> None:
    assert serve().get("/v1/galleries").status_code == 200
    assert serve("10.0.0.7").get("/v1/galleries").json()["code"] == "no_key"


def test_without_keys_a_page_of_another_site_gets_nothing_done(serve: Serve) -> None:
    client = serve()
    undo = "/v1/galleries/default/undo"
    assert client.post(undo, headers={"Origin": "https://evil.example"}).json()["code"] == "cross_site"
    assert client.post(undo, headers={"Sec-Fetch-Site": "cross-site"}).json()["code"] == "cross_site"
    assert client.post(undo, headers={"Origin": "http://localhost:8321"}).json()["code"] == "conflict"
    rebound = client.get("/v1/galleries", headers={"Host": "evil.example"})
    assert rebound.json()["code"] == "bad_host"


def test_two_keys_at_once_are_none(serve: Serve, keys: dict[str, str]) -> None:
    pair = [("Authorization", f"Bearer {keys['admin']}")] * 2
    assert serve().get("/v1/galleries", headers=pair).json()["code"] == "bad_key"  # type: ignore[arg-type]


def test_wrong_keys_are_slowed_down_and_right_ones_are_not(serve: Serve, keys: dict[str, str]) -> None:
    client = serve()
    tried = [ask(client, "GET", "/v1/galleries", "faceid_wrong") for _ in range(8)]
    assert tried[0] == (401, "bad_key")
    assert tried[-1] == (429, "too_many_requests")
    assert ask(client, "GET", "/v1/galleries", keys["identify"])[0] == 200


def test_a_full_disk_keeps_nobody_out_who_only_asks(
    serve: Serve, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    client = serve()
    monkeypatch.setattr("faceid.service.keys._change", full)
    assert ask(client, "GET", "/v1/galleries", keys["identify"])[0] == 200


def test_a_key_has_its_share_of_requests(serve: Serve, keys: dict[str, str]) -> None:
    client = serve(requests_a_minute=12)
    codes = [ask(client, "GET", "/v1/galleries", keys["identify"])[0] for _ in range(4)]
    assert codes[:2] == [200, 200]
    assert codes[-1] == 429
    assert ask(client, "GET", "/v1/galleries", keys["enrol"])[0] == 200


def test_a_key_revoked_while_the_server_runs_opens_nothing(serve: Serve, keys: dict[str, str], tmp_path) -> None:
    client = serve()
    assert ask(client, "GET", "/v1/galleries", keys["curate"])[0] == 200
    with ServiceDatabase(tmp_path / "data") as database:
        revoke_key(database, keys["curate"].removeprefix("faceid_")[:8])
    assert ask(client, "GET", "/v1/galleries", keys["curate"]) == (401, "bad_key")


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE {table} SET {column} = {value}"
        for table, column, value in [
            ("key", "id", "id + 64"),
            ("key", "digest", "CAST(digest || x'00' AS BLOB)"),
            ("key", "prefix", "prefix || 'x'"),
            ("key", "label", "label || 'x'"),
            ("key", "created_at", "replace(created_at, '2', '6')"),
            ("key", "expires_at", "replace(expires_at, '2', '6')"),
            ("key", "expires_at", "NULL"),
            ("key", "last_used_at", "'6026'"),
            ("key", "revoked_at", "'6026'"),
            ("key", "checksum", "checksum + 1"),
            ("key_role", "key_id", "key_id + 64"),
            ("key_role", "gallery", "'*'"),
            ("key_role", "role", "'admin'"),
            ("key_role", "checksum", "NULL"),
        ]
    ],
)
def test_a_bit_that_flipped_in_a_key_opens_nothing_and_is_told(tmp_path: Path, statement: str) -> None:
    with ServiceDatabase(tmp_path / "data") as database:
        lifetime = timedelta(seconds=-1) if "expires_at" in statement else None
        row, text = make_key(database, "desk", {"default": "identify"}, lifetime)
        with sqlite3.connect(tmp_path / "data" / FILE) as raw:
            raw.execute(statement)
        with pytest.raises(ServiceDatabaseError, match="is not as it was written") as told:
            list_keys(database)
        assert told.value.exit_code == 5
        for find in (lambda: find_caller(database, text), lambda: caller_of(database, row.id)):
            with suppress(ServiceDatabaseError):
                caller = find()
                assert caller is None or not caller.roles


def test_using_a_key_does_not_make_a_damaged_one_whole(tmp_path: Path) -> None:
    with ServiceDatabase(tmp_path / "data") as database:
        _, text = make_key(database, "desk", {"default": "identify"})
        assert find_caller(database, text) is not None  # notes its use, and seals that
        assert find_caller(database, text) is not None
        assert list_keys(database)[0].last_used_at is not None
        with sqlite3.connect(tmp_path / "data" / FILE) as raw:
            raw.execute("UPDATE key SET label = 'x', last_used_at = NULL")
        for _ in range(2):
            with pytest.raises(ServiceDatabaseError):
                find_caller(database, text)


def test_a_server_whose_keys_have_vanished_still_asks_for_one(tmp_path: Path) -> None:
    with ServiceDatabase(tmp_path / "data") as database:
        assert not has_keys(database)
        make_key(database, "desk", {"default": "identify"})
        with sqlite3.connect(tmp_path / "data" / FILE) as raw:
            raw.execute("DELETE FROM key")
        assert has_keys(database)


def test_the_keys_of_an_older_database_stay_good_and_are_sealed(tmp_path: Path) -> None:
    with ServiceDatabase(tmp_path / "data") as database:
        _, text = make_key(database, "desk", {"default": "identify", "other": "admin"})
    with sqlite3.connect(tmp_path / "data" / FILE) as raw:
        for table in ("key", "key_role"):
            raw.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
        raw.execute("PRAGMA user_version = 1")
    for _ in range(2):
        with ServiceDatabase(tmp_path / "data") as database:
            caller = find_caller(database, text)
            assert caller is not None
            assert caller.roles == {"default": "identify", "other": "admin"}
    with sqlite3.connect(tmp_path / "data" / FILE) as raw:
        raw.execute("UPDATE key_role SET role = 'admin'")
    with ServiceDatabase(tmp_path / "data") as database, pytest.raises(ServiceDatabaseError):
        find_caller(database, text)
