"""The client: the whole story with both kinds of calls, and the server's refusals as errors."""

import asyncio
import inspect
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from faceid.client import AsyncClient, Client, ServiceProblem
from faceid.service.app import create_app
from faceid.service.settings import make_settings


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Any]:
    """A running server with an empty gallery."""
    app = create_app(make_settings({"galleries": {"default": tmp_path / "g"}, "data": tmp_path / "data"}))
    with TestClient(app, "http://localhost", client=("127.0.0.1", 1)):
        yield app


@pytest.fixture
def client(app: Any) -> Iterator[Client]:
    """A client that reaches it without a network."""
    with Client("http://localhost") as client:
        client._http = TestClient(app, "http://localhost", client=("127.0.0.1", 1))
        yield client


@pytest.mark.slow
def test_the_whole_story(client: Client, drawn_people: Path) -> None:
    ada, eve = drawn_people / "person-0001", drawn_people / "person-0002"
    enrolled = client.enroll("Ada", [ada / "1.jpg", (ada / "2.jpg").read_bytes()], idempotency_key="1")
    assert [photo["status"] for photo in enrolled.photos] == ["enrolled", "enrolled"]
    assert client.enroll("Ada", [ada / "1.jpg", (ada / "2.jpg").read_bytes()], idempotency_key="1") == enrolled
    other = client.enroll("Eve", [str(eve / "1.jpg")], external_id="e-1").person["id"]
    assert client.add_photos(other, [eve / "2.jpg"]).person["templates"] == 2
    person = enrolled.person["id"]
    known, unknown = client.identify([ada / "3.jpg", drawn_people / "person-0003" / "1.jpg"], threshold=0.45)
    assert known["identity"]
    assert known["identity"]["name"] == "Ada"
    assert unknown["decision"] == "unknown"
    assert client.verify(ada / "1.jpg", ada / "2.jpg", threshold=0.3)["same"]
    assert [one["name"] for one in client.people()] == ["Ada", "Eve"]
    assert len(client.person(person)[1]) == 2
    assert client.rename(person, "Ada King")["name"] == "Ada King"
    assert client.merge(other, person)["templates"] == 4
    assert client.undo()["action"] == "merge"
    assert client.remove(other)["removed"]
    assert not client.restore(other)["removed"]
    assert client.erase(person, confirm="Ada King") == "done"
    assert [one["name"] for one in client.people("e")] == ["Eve"]


@pytest.mark.slow
def test_what_takes_longer_is_a_job_to_be_looked_at(client: Client, drawn_people: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "staff.zip", "w") as archive:
        archive.write(drawn_people / "person-0001" / "1.jpg", "Ada/1.jpg")
        archive.writestr("Ada/2.jpg", "no photo")
    begun = client.enroll_many(tmp_path / "staff.zip", idempotency_key="1")
    assert begun.kind == "enroll"
    while (job := client.job(begun.id)).state in ("queued", "running"):
        time.sleep(0.1)
    assert (job.state, job.counts) == ("done", {"enrolled": 1, "failed": 1})
    assert [one["status"] for one in client.job_records(job.id)] == ["enrolled", "failed"]
    assert [one.kind for one in client.jobs()] == ["enroll"]
    with pytest.raises(ServiceProblem, match="job_ended"):
        client.cancel_job(job.id)
    assert {client.rebuild().kind, client.check().kind, client.calibrate().kind} == {"rebuild", "check", "calibrate"}
    (person,) = client.people()
    (template,) = client.person(person["id"])[1]
    assert client.remove_photos(person["id"], [template["id"]])["templates"] == 0
    assert [one["action"] for one in client.undoable()] == ["remove_photos"]
    assert [row["value"] for row in client.thresholds([0.1], [0.01])] == [0.1, 0.01]
    assert client.review() == []
    assert client.facts()["name"] == "default"
    assert client.model()["name"] == "sphereface"
    assert client.health()["sound"]
    first = client.audit(limit=1)
    assert first["last"] == first["entries"][0]["number"] < client.audit(after=first["last"])["entries"][0]["number"]
    with pytest.raises(ServiceProblem, match="conflict"):
        client.answer("duplicate:1-2", "accept")
    with pytest.raises(ServiceProblem, match="embeddings_off"):
        client.embed([b"no photo"])


def test_a_refusal_is_an_error_with_the_servers_code(client: Client) -> None:
    with pytest.raises(ServiceProblem, match="no_such_person: nobody has the id 7") as refused:
        client.rename(7, "x")
    assert (refused.value.status, refused.value.retry_after) == (404, None)
    assert refused.value.request_id


@pytest.mark.parametrize(
    ("status", "words"),
    [(503, "<html>try later</html>"), (502, '["try later"]'), (200, "try later"), (200, '{"status": "try later"}')],
)
def test_words_of_a_proxy_in_between_are_an_error_too(status: int, words: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer k"
        return httpx.Response(status, text=words, headers={"Retry-After": "7"})

    client = Client("http://localhost", key="k")
    client._http = httpx.Client(
        base_url="http://localhost", transport=httpx.MockTransport(answer), headers=client._http.headers
    )
    with pytest.raises(ServiceProblem, match="try later") as refused:
        client.people()
    assert (refused.value.code, refused.value.retry_after) == ("unknown", 7.0)


def test_one_photo_a_key_from_a_file_and_a_name_that_is_no_utf_8_are_sent(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"jos\xe9.jpg")
    file.write_bytes(b"photo")
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.read())
        return httpx.Response(200, json={"answers": []})

    with Client("http://localhost", key="k\n") as client:
        assert client._http.headers["authorization"] == "Bearer k"
        client._http = httpx.Client(base_url="http://localhost", transport=httpx.MockTransport(answer))
        for one in (str(file), file, b"photo", [file]):
            client.identify(one)  # type: ignore[arg-type]
    assert [body.count(b"photo\r\n") for body in sent] == [1] * 4
    assert b'xe9.jpg"' in sent[0]


def test_the_calls_that_are_awaited_are_the_same(app: Any, drawn_people: Path) -> None:
    async def story() -> list[str]:
        async with AsyncClient("http://localhost") as client:
            transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
            client._http = httpx.AsyncClient(transport=transport, base_url="http://localhost")
            made = await client.enroll("Ada", [drawn_people / "person-0001" / "1.jpg"])
            await client.identify([drawn_people / "person-0001" / "2.jpg"], threshold=0.4)
            await client.rename(made.person["id"], "Ada King")
            return [one["name"] for one in await client.people()]

    assert asyncio.run(story()) == ["Ada King"]

    def calls(kind: type) -> dict[str, str]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: str(inspect.signature(call)) for name, call in found if not name.startswith("_")}

    assert calls(Client) == calls(AsyncClient)
