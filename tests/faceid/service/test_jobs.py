"""Work that takes minutes: it says how far it is, can be cancelled, and survives a stop and a kill."""

import errno
import io
import json
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Connection, insert, update

from faceid import Gallery
from faceid.service import jobs as jobs_module
from faceid.service.database import ServiceDatabase, job, job_record, now
from indexer.errors import FaceIdError
from tests.faceid.service.conftest import Serve

JOBS = "/v1/galleries/default/jobs"


def packed(files: Sequence[tuple[str, bytes]]) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def archive(drawn_people: Path) -> bytes:
    """The third photos of everybody, under other names, and what is no use."""
    photos = [(f"team/new-{folder.name}/3.jpg", (folder / "3.jpg").read_bytes()) for folder in drawn_people.iterdir()]
    odd = [("loose.jpg", photos[0][1]), ("team/new-x/broken.jpg", b"x"), ("__MACOSX/team/._3.jpg", b"x")]
    return packed([*photos, *odd])


def ended(client: TestClient, number: str) -> dict[str, Any]:
    """Wait for a job to end."""
    while True:
        told: dict[str, Any] = client.get(f"{JOBS}/{number}").json()["job"]
        if told["state"] not in ("queued", "running"):
            return told
        time.sleep(0.05)


def send(client: TestClient, data: bytes, kind: str = "enroll", **headers: str) -> Any:
    return client.post(f"{JOBS}/{kind}", files={"archive": ("people.zip", data)}, headers=headers)


def test_a_zip_file_is_enrolled_and_every_photo_has_its_reason(
    client: TestClient, archive: bytes, tmp_path: Path
) -> None:
    number = send(client, archive).json()["job"]["id"]
    told = ended(client, number)
    assert (told["state"], told["done"], told["total"]) == ("done", 8, 8)
    records = client.get(f"{JOBS}/{number}/records").json()["records"]
    status = {(one["source"], one["status"], *one["reason_codes"]) for one in records}
    assert ("loose.jpg", "failed", "not_in_a_persons_folder") in status
    assert ("team/new-x/broken.jpg", "failed", "not_an_image") in status
    # The third photos are of people whose first ones are enrolled under other names: two people, not a conflict.
    assert told["counts"] == {"enrolled": 6, "failed": 2}
    assert list((tmp_path / "data" / "uploads").iterdir()) == []


def test_a_folder_that_the_settings_name_is_enrolled_and_no_other(serve: Serve, drawn_people: Path) -> None:
    client = serve(folders={"people": drawn_people})
    number = client.post(f"{JOBS}/enroll", data={"folder": "people"}).json()["job"]["id"]
    assert ended(client, number)["counts"] == {"already_enrolled": 12, "enrolled": 6}
    for folder in ("other", "..", "/etc"):
        assert client.post(f"{JOBS}/enroll", data={"folder": folder}).json()["code"] == "no_such_folder"


@pytest.mark.slow
def test_strangers_of_ones_own_set_the_thresholds(serve: Serve, drawn_people: Path, tmp_path: Path) -> None:
    from benchmarks.demo.people import write_people

    strangers = write_people(tmp_path / "strangers", 30, 1, seed=99)
    client = serve()
    data = packed([(f"{path.parent.name}.jpg", path.read_bytes()) for path in strangers])
    number = send(client, data, "calibrate").json()["job"]["id"]
    assert ended(client, number)["state"] == "done"
    row = client.get("/v1/galleries/default/thresholds", params={"fpir": [0.1]}).json()["rows"][0]
    assert (row["kind"], row["trials"]) == ("gallery", 30)


def test_rebuilding_and_checking_are_jobs(client: TestClient) -> None:
    for kind in ("rebuild", "check"):
        told = ended(client, client.post(f"{JOBS}/{kind}").json()["job"]["id"])
        assert told["state"] == "done"
    assert told["message"] == "no problem found"


def test_a_job_that_a_killed_server_left_is_done_at_the_next_start(
    serve: Serve, archive: bytes, tmp_path: Path, gallery_path: Path
) -> None:
    number = "a" * 32
    uploads = tmp_path / "data" / "uploads"
    with ServiceDatabase(tmp_path / "data") as database, database.write() as connection:
        uploads.mkdir()
        (uploads / f"{number}.zip").write_bytes(archive)
        (uploads / "leftover.zip").write_bytes(b"of a job that is gone")
        common = {"gallery": "default", "counts": '{"failed": 1}', "created_at": now(), "state": "running"}
        asked = '{"folder": null, "faces": "exactly-one"}'
        connection.execute(insert(job).values(id=number, kind="enroll", asked=asked, done=1, starts=1, **common))
        connection.execute(insert(job).values(id="b" * 32, kind="check", asked="{}", done=0, starts=3, **common))
    client = serve()
    told = ended(client, number)
    assert (told["state"], told["done"], told["starts"]) == ("done", 8, 2)
    assert sum(told["counts"].values()) == 8
    assert ended(client, "b" * 32)["state"] == "failed"
    assert list(uploads.iterdir()) == []


def test_a_damaged_row_is_told_and_stops_no_other_job(serve: Serve, tmp_path: Path) -> None:
    with ServiceDatabase(tmp_path / "data") as database, database.write() as connection:
        common = {"gallery": "default", "kind": "check", "created_at": now(), "state": "queued", "done": 0, "starts": 0}
        connection.execute(insert(job).values(id="a" * 32, asked="{", counts="{}", **common))
        connection.execute(insert(job).values(id="b" * 32, asked="{}", counts="{", **common))
        connection.execute(insert(job).values(id="c" * 32, asked="{}", counts="{}", **common))
    client = serve()
    assert ended(client, "c" * 32)["state"] == "done"
    assert "service.db is damaged" in ended(client, "a" * 32)["message"]
    answer = client.get(f"{JOBS}/{'b' * 32}")
    assert (answer.status_code, answer.json()["code"]) == (503, "store_damaged")
    assert "what it keeps of the job bbb" in answer.json()["detail"]


def test_a_folder_that_changed_while_the_server_was_down_is_enrolled_whole(
    serve: Serve, drawn_people: Path, tmp_path: Path
) -> None:
    number, folder = "a" * 32, tmp_path / "import"
    photos = []
    for person in sorted(drawn_people.iterdir())[:3]:
        (folder / f"new-{person.name}").mkdir(parents=True)
        photos.append(Path(shutil.copy(person / "3.jpg", folder / f"new-{person.name}")))
    done = json.dumps({"source": str(photos[0]), "status": "enrolled"})
    with ServiceDatabase(tmp_path / "data") as database, database.write() as connection:
        common = {"gallery": "default", "counts": '{"enrolled": 1}', "created_at": now(), "state": "running"}
        asked = '{"folder": "import", "faces": "exactly-one"}'
        connection.execute(insert(job).values(id=number, kind="enroll", asked=asked, done=1, starts=1, **common))
        connection.execute(insert(job_record).values(job_id=number, number=0, record=done))
    photos[0].unlink()
    client = serve(folders={"import": str(folder)})
    told = ended(client, number)
    assert (told["state"], told["done"], told["total"], told["counts"]) == ("done", 3, 3, {"enrolled": 3})


def test_a_job_whose_end_cannot_be_noted_is_done_again_and_stops_no_other(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "_PATIENCE", 0.01)
    note = jobs_module.Jobs._set
    refusals = iter([FaceIdError("service.db could not be used: database or disk is full")])

    def note_or_fail(self: jobs_module.Jobs, connection: Connection, number: str, **values: Any) -> None:
        if values.get("state") == "done":
            for refusal in refusals:
                raise refusal
        note(self, connection, number, **values)

    monkeypatch.setattr(jobs_module.Jobs, "_set", note_or_fail)
    first, second = (client.post(f"{JOBS}/check").json()["job"]["id"] for _ in range(2))
    assert (ended(client, second)["state"], ended(client, second)["starts"]) == ("done", 1)
    assert (ended(client, first)["state"], ended(client, first)["starts"]) == ("done", 2)


def test_a_full_disk_is_told_and_keeps_no_archive_without_a_job(
    client: TestClient, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def full_database(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    taking = {"faceid.service.api.jobs.shutil.copyfileobj": full, "faceid.service.jobs.insert": full_database}
    for place, what in taking.items():
        with monkeypatch.context() as patched:
            patched.setattr(place, what)
            answer = send(client, archive)
        assert (answer.status_code, answer.json()["code"]) == (503, "disk_full")
        assert list((tmp_path / "data" / "uploads").iterdir()) == []


def test_a_stop_puts_the_running_job_back(
    serve: Serve, archive: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(jobs_module, "_AT_ONCE", 1)
    client = serve()
    number = send(client, archive).json()["job"]["id"]
    while client.get(f"{JOBS}/{number}").json()["job"]["done"] == 0:
        time.sleep(0.02)
    client.app.state.service.jobs.close()  # type: ignore[attr-defined]
    told = client.get(f"{JOBS}/{number}").json()["job"]
    assert (told["state"], told["starts"]) == ("queued", 0)
    assert 0 < told["done"] < 8
    assert (tmp_path / "data" / "uploads" / f"{number}.zip").exists()


def test_a_cancelled_job_ends_and_keeps_what_it_did(
    serve: Serve, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "_AT_ONCE", 1)
    client = serve()
    number = send(client, archive).json()["job"]["id"]
    assert client.post(f"{JOBS}/{number}/cancel").json()["job"]["state"] == "cancelled"
    assert client.post(f"{JOBS}/{number}/cancel").json()["code"] == "job_ended"
    second = client.post(f"{JOBS}/check").json()["job"]["id"]
    assert ended(client, second)["state"] == "done"
    assert client.get(f"{JOBS}/{number}").json()["job"]["state"] == "cancelled"


@pytest.mark.slow
def test_a_job_waits_for_a_program_that_is_writing(serve: Serve, archive: bytes, gallery_path: Path) -> None:
    client = serve()
    with Gallery.open(gallery_path, writable=True):
        number = send(client, archive).json()["job"]["id"]
        answer = client.post("/v1/galleries/default/people/1/remove")
        assert (answer.json()["code"], answer.headers["retry-after"]) == ("gallery_locked", "1")
        assert client.get(f"{JOBS}/{number}").json()["job"]["state"] == "running"
    assert ended(client, number)["counts"]["enrolled"] == 6


def test_what_jobs_tell_of_photos_goes_when_somebody_is_erased(client: TestClient, archive: bytes) -> None:
    number = send(client, archive).json()["job"]["id"]
    ended(client, number)
    name = client.get("/v1/galleries/default/people/1").json()["person"]["name"]
    client.post("/v1/galleries/default/people/1/erase", json={"confirm": name})
    assert client.get(f"{JOBS}/{number}/records").json()["records"] == []
    assert client.get(f"{JOBS}/{number}").json()["job"]["counts"] == {"enrolled": 6, "failed": 2}


def test_a_job_sent_twice_with_one_key_is_one_job(client: TestClient, archive: bytes) -> None:
    pair = [send(client, archive, **{"Idempotency-Key": "monday"}) for _ in range(2)]
    assert pair[0].json()["job"]["id"] == pair[1].json()["job"]["id"]
    assert pair[1].headers["idempotent-replayed"] == "true"
    other = send(client, packed([("a/b.jpg", b"x")]), **{"Idempotency-Key": "monday"})
    assert other.json()["code"] == "idempotency_key_reused"
    assert len(client.get(JOBS).json()["jobs"]) == 1


def test_a_job_of_another_gallery_is_not_there(client: TestClient, tmp_path: Path) -> None:
    number = client.post(f"{JOBS}/check").json()["job"]["id"]
    ended(client, number)
    with ServiceDatabase(tmp_path / "data") as database, database.write() as connection:
        connection.execute(update(job).values(gallery="other"))
    assert client.get(f"{JOBS}/{number}").json()["code"] == "no_such_job"
    assert client.get(f"{JOBS}/{number}/records").json()["code"] == "no_such_job"
    assert client.post(f"{JOBS}/{number}/cancel").json()["code"] == "no_such_job"
