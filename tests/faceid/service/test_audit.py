"""The audit log: whole, in order, without names, and silent about whom was erased."""

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from faceid.cli import cli
from faceid.service import audit
from faceid.service.audit import AuditLog, Entry, verify
from faceid.service.database import FILE, ServiceDatabase, ServiceDatabaseError
from tests.faceid.service.conftest import Serve, photo

GALLERY = "/v1/galleries/default"


@pytest.fixture
def log(tmp_path: Path) -> ServiceDatabase:
    """A log of five entries about persons 1 to 5."""
    database = ServiceDatabase(tmp_path / "data")
    with database.write() as connection:
        audit.append(
            connection, [Entry("identify", "identified:1", f"r{n}", gallery="g", about=(n,)) for n in range(1, 6)]
        )
    return database


def tamper(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / "data" / FILE) as raw:
        raw.execute(statement)


def test_a_log_that_nobody_touched_is_whole(log: ServiceDatabase) -> None:
    verdict = verify(log)
    assert (verdict.rows, verdict.broken_at) == (5, None)
    assert verify(log, verdict.head).anchor_seen


def test_who_asks_after_the_end_does_not_wait_for_ever(tmp_path: Path) -> None:
    with ServiceDatabase(tmp_path / "data") as database:
        writer = AuditLog(database)
        writer.close()
        with pytest.raises(ServiceDatabaseError, match="has ended"):
            writer.write(Entry("identify", "unknown", "r1")).result(timeout=10)


def test_who_is_forgotten_while_somebody_reads_stops_nobody_who_writes(log: ServiceDatabase) -> None:
    export = audit.entries(log)
    next(export)
    began = time.monotonic()
    with log.write() as connection:
        audit.append(connection, [Entry("erase", "done", "r6", gallery="g", about=(1,))])
    audit.forget_person(log, "g", 1)
    assert time.monotonic() - began < 5
    assert len(list(export)) == 4
    log.scrub()  # as the server does once in an hour
    assert log.path.with_name(f"{FILE}-wal").stat().st_size == 0


@pytest.mark.parametrize(
    ("statement", "broken_at"),
    [
        ("UPDATE audit SET content = replace(content, 'r2', 'r9') WHERE id = 2", 2),
        ("DELETE FROM audit WHERE id = 3", 4),
        ("DELETE FROM audit WHERE id = 1", 2),
        ("UPDATE audit SET hash = (SELECT hash FROM audit WHERE id = 1) WHERE id = 5", 5),
        ("INSERT INTO audit (id, content, hash) VALUES (9, '{}', '00')", 9),
    ],
)
def test_an_entry_changed_taken_out_or_put_in_is_seen(
    log: ServiceDatabase, tmp_path: Path, statement: str, broken_at: int
) -> None:
    tamper(tmp_path, statement)
    assert verify(log).broken_at == broken_at


@pytest.mark.parametrize(
    "change",
    [
        "content = replace(content, 'identify', 'xdentify')",
        "content = substr(content, 2)",
        "content = x'ff00'",
        "content = CAST(x'ff00' AS TEXT)",
        "content = '[]'",
        "hash = x'ff'",
    ],
)
def test_an_export_ends_with_a_sentence_at_an_entry_that_was_changed(
    log: ServiceDatabase, tmp_path: Path, change: str
) -> None:
    log.close()
    tamper(tmp_path, f"UPDATE audit SET {change} WHERE id = 3")
    result = CliRunner().invoke(cli, ["serve", "audit", "export", "--data", str(tmp_path / "data")])
    assert result.exit_code == 5
    assert [json.loads(line)["number"] for line in result.stdout.splitlines()] == [1, 2]
    words = " ".join(result.stderr.split())
    assert words.startswith(f"Error: {tmp_path / 'data' / FILE}")
    assert "entry 3" in words or "UTF-8" in words


def test_a_page_of_the_log_follows_from_the_entry_before_it(log: ServiceDatabase, tmp_path: Path) -> None:
    assert [one["number"] for one in audit.entries(log, after=2, limit=2)] == [3, 4]
    tamper(tmp_path, "DELETE FROM audit WHERE id = 3")
    with pytest.raises(ServiceDatabaseError, match="entry 4"):
        list(audit.entries(log, after=2))


def test_what_is_too_old_stays_where_it_was_changed(log: ServiceDatabase, tmp_path: Path) -> None:
    tamper(tmp_path, "UPDATE audit SET content = 'x' WHERE id = 2")
    with pytest.raises(ServiceDatabaseError, match="entry 2"):
        audit.drop_older(log, 0)
    assert verify(log).broken_at == 2


def test_a_log_cut_at_its_end_lacks_the_hash_that_was_noted(log: ServiceDatabase, tmp_path: Path) -> None:
    head = verify(log).head
    tamper(tmp_path, "DELETE FROM audit WHERE id = 5")
    verdict = verify(log, head)
    assert (verdict.broken_at, verdict.anchor_seen) == (None, False)


def test_what_is_too_old_goes_and_the_rest_stays_whole(log: ServiceDatabase) -> None:
    assert audit.drop_older(log, 1) == 0
    head = verify(log).head
    assert audit.drop_older(log, 0) == 5
    assert verify(log, head) == audit.Verdict(0, head, None, True)
    with log.write() as connection:
        audit.append(connection, [Entry("undo", "done", "r6")])
    assert (verify(log).rows, verify(log).broken_at) == (1, None)


def test_many_threads_write_one_chain(tmp_path: Path) -> None:
    with ServiceDatabase(tmp_path / "data") as database:
        log = AuditLog(database)
        with ThreadPoolExecutor(8) as pool:
            futures = list(pool.map(lambda n: log.write(Entry("identify", "unknown:1", str(n))), range(200)))
        for future in futures:
            future.result()
        log.close()
        assert (verify(database).rows, verify(database).broken_at) == (200, None)


def test_who_gave_up_waiting_stops_no_other_entry(tmp_path: Path) -> None:
    with ServiceDatabase(tmp_path / "data") as database:
        log = AuditLog(database)
        with database.write():  # the log has to wait
            log.write(Entry("identify", "unknown:1", "1"))
            log.write(Entry("identify", "unknown:1", "2")).cancel()
        log.write(Entry("identify", "unknown:1", "3")).result(10)
        log.close()
        assert verify(database).rows == 3


def test_who_asks_and_who_changes_is_noted_without_a_name(
    client: TestClient, drawn_people: Path, tmp_path: Path
) -> None:
    client.post(f"{GALLERY}/identify", files=[photo(drawn_people, 4, 3)], data={"threshold": "0.3"})
    client.patch(f"{GALLERY}/people/4", json={"name": "Grace Hopper"})
    client.patch(f"{GALLERY}/people/4", json={"name": "person-0001"})
    told = client.get(f"{GALLERY}/audit").json()["entries"]
    assert [(one["action"], one["outcome"], one["about"]) for one in told] == [
        ("identify", "identified:1", [4]),
        ("rename", "asked", [4]),
        ("rename", "done", [4]),
        ("rename", "asked", [4]),
        ("rename", "conflict", [4]),
    ]
    assert (told[0]["threshold"], told[0]["threshold_way"], told[0]["faces"]) == (0.3, "user", 1)
    for file in (tmp_path / "data").glob(f"{FILE}*"):
        assert b"Hopper" not in file.read_bytes()


def test_of_an_erased_person_a_digest_is_left_that_leads_to_nobody(
    client: TestClient, drawn_people: Path, tmp_path: Path
) -> None:
    key = {"Idempotency-Key": "k"}
    client.patch(f"{GALLERY}/people/4", json={"name": "Grace Hopper"}, headers=key)
    assert client.post(f"{GALLERY}/people/4/erase", json={"confirm": "Grace Hopper"}).json()["state"] == "done"
    about = [one["about"] for one in client.get(f"{GALLERY}/audit").json()["entries"]]
    assert len(about) == 4
    assert all(isinstance(person, str) and len(person) == 64 for people in about for person in people)
    with ServiceDatabase(tmp_path / "data") as database:
        assert verify(database).broken_at is None
    for file in (tmp_path / "data").glob(f"{FILE}*"):
        assert b"Hopper" not in file.read_bytes(), file  # the kept answer to the repeated rename held it


def test_while_the_log_cannot_be_written_nothing_changes_and_searches_go_on(
    serve: Serve, drawn_people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [photo(drawn_people, 4, 3)]
    client, strict = serve(), serve(strict_audit=True, data=Path(str(drawn_people.parent)) / "strict")

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(audit, "append", full)
    assert client.post(f"{GALLERY}/people/1/remove").json()["code"] == "audit_unavailable"
    assert client.post(f"{GALLERY}/identify", files=files).status_code == 200
    assert strict.post(f"{GALLERY}/identify", files=files).json()["code"] == "audit_unavailable"
    monkeypatch.undo()
    assert not client.get(f"{GALLERY}/people/1").json()["person"]["removed"]


def test_the_command_line_checks_and_exports_the_log(log: ServiceDatabase, tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["serve", "audit", *arguments, "--data", str(tmp_path / "data")])
        return result.exit_code, result.stdout

    head = verify(log).head
    assert run("verify", "--anchor", head)[0] == 0
    assert run("verify", "--anchor", "0" * 63 + "1")[0] == 5
    code, text = run("export", "--gallery", "g")
    assert code == 0
    assert [json.loads(line)["about"] for line in text.splitlines()] == [[n] for n in range(1, 6)]
    tamper(tmp_path, "DELETE FROM audit WHERE id = 2")
    assert run("verify")[0] == 5
