"""A write that is sent twice is done once."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from faceid.service.database import ServiceDatabase, answer
from faceid.service.idempotency import Kept, KeptAnswers, request_digest
from faceid.service.problems import Problem
from indexer.errors import FileNotWritten
from tests.faceid.service.conftest import photo

PEOPLE = "/v1/galleries/default/people"
KEY = {"Idempotency-Key": "k-1"}


def test_the_same_answer_is_told_again_and_nothing_is_done_again(client: TestClient, drawn_people: Path) -> None:
    def enroll(name: str) -> tuple[dict[str, object], bool]:
        sent = client.post(PEOPLE, data={"name": name}, files=[photo(drawn_people, 1, 3)], headers=KEY)
        return sent.json(), "idempotent-replayed" in sent.headers

    first, second = enroll("Ada"), enroll("Ada")
    assert first[0] == second[0]
    assert (first[1], second[1]) == (False, True)
    assert enroll("Eve")[0]["code"] == "idempotency_key_reused"
    assert client.get(PEOPLE, params={"search": "eve"}).json()["people"] == []


def test_two_changes_in_a_row_are_taken_back_once(client: TestClient) -> None:
    for name in ("A", "B"):
        client.patch(f"{PEOPLE}/1", json={"name": name})
    for _ in range(3):
        client.post("/v1/galleries/default/undo", headers=KEY)
    assert client.get(f"{PEOPLE}/1").json()["person"]["name"] == "A"


def test_a_request_that_failed_may_be_tried_again(client: TestClient) -> None:
    assert client.post(f"{PEOPLE}/99/remove", headers=KEY).json()["code"] == "no_such_person"
    assert client.post(f"{PEOPLE}/99/remove", headers=KEY).json()["code"] == "no_such_person"


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_a_length(client: TestClient, key: str) -> None:
    assert client.post(f"{PEOPLE}/1/remove", headers={"Idempotency-Key": key}).json()["code"] == "invalid_request"


def test_one_that_is_being_worked_on_is_waited_for_and_one_that_was_killed_is_done_anew(tmp_path: Path) -> None:
    with ServiceDatabase(tmp_path / "data") as database:
        with database.write() as connection:
            row = {"gallery": "g", "asked": b"a", "at": "2026-01-01T00:00:00.000Z"}
            connection.execute(insert(answer).values(key_id=1, idempotency_key="killed", **row))
        answers = KeptAnswers(database)
        assert answers.begin(1, "killed", "g", b"a") is None
        assert answers.begin(1, "new", "g", b"a") is None
        for key in ("killed", "new"):
            with pytest.raises(Problem) as waits:
                answers.begin(1, key, "g", b"a")
            assert waits.value.code == "request_in_progress"
        assert answers.begin(2, "new", "g", b"b") is None  # of another API key


def test_nobody_waits_for_an_answer_that_a_clock_or_a_full_disk_has_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ServiceDatabase(tmp_path / "data") as database:
        with database.write() as connection:
            row = {"gallery": "g", "asked": b"a", "at": "2999-01-01T00:00:00.000Z"}  # the clock was set back since
            connection.execute(insert(answer).values(key_id=1, idempotency_key="killed", **row))
        answers = KeptAnswers(database)
        assert answers.begin(1, "killed", "g", b"a") is None
        for end in (lambda: answers.finish(1, "killed", Kept(200, "{}")), lambda: answers.abandon(1, "killed")):
            with monkeypatch.context() as full:
                full.setattr(database, "write", _full)
                end()
            assert answers.begin(1, "killed", "g", b"a") is None


def _full() -> None:
    raise FileNotWritten("service.db could not be used: database or disk is full")


def test_what_is_asked_has_a_digest_that_fields_cannot_run_into_each_other() -> None:
    asked = [
        request_digest("a", "bc"),
        request_digest("ab", "c"),
        request_digest("a", None, "bc"),
        request_digest("a", "bc", []),
        request_digest("a", [b"b", b"c"]),
        request_digest("a", [b"bc", b""]),
    ]
    assert len(set(asked)) == len(asked) - 1  # no photos at all are as none
    assert asked[0] == asked[3]
