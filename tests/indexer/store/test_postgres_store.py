"""PostgreSQL under the gallery's seam: turns, lost connections, what is refused, what erasing leaves in the files."""

import fcntl
import itertools
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sqlalchemy

from indexer.errors import GalleryError, GalleryLocked, GalleryUnreachable, StoreDamaged
from indexer.gallery import Gallery
from indexer.store import postgres_database
from indexer.store.place import place_of
from indexer.store.postgres_database import lock_key
from indexer.store.schema import HEAD, SCHEMA_VERSIONS
from indexer.store.stores import create_store, discard_store, has_store, open_store
from tests.indexer.made_up_people import MODEL, photo, unit_vectors
from tests.indexer.store.store_contract import enrol, enrol_and_fail, keeps_the_contract, people
from tests.postgres_server import as_user, url_of

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed (the extra postgres)")

_numbers = itertools.count()


@pytest.fixture
def place(postgres, tmp_path, monkeypatch):
    """A name that is new in the server's database, with its caches in a folder of this test."""
    monkeypatch.setenv("FACEID_CACHES", str(tmp_path / "caches"))
    monkeypatch.setattr(postgres_database, "TURN_SECONDS", 0.3)
    return place_of(url_of(postgres, f"n{os.getpid()}_{next(_numbers)}"))


@pytest.fixture
def store(place):
    create_store(place, MODEL, "max", None)
    opened = open_store(place, None, writable=True)
    yield opened
    opened.close()


@pytest.fixture
def operator(postgres):
    """A connection of somebody who may do anything to the server."""
    with psycopg.connect(postgres, user="postgres", autocommit=True) as raw:
        yield raw


def end_connections(operator, *, writers_of=None):
    """End the connections of galleries, or only that of one gallery's writer, as an operator or a network does."""
    key = "(classid::bigint << 32) + objid::bigint"
    whose = f"pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND {key} = %s)"
    sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'faceid'"
    operator.execute(f"{sql} AND {whose}" if writers_of else sql, (lock_key(writers_of),) if writers_of else None)


@pytest.mark.slow
def test_postgresql_keeps_the_contract(place):
    keeps_the_contract(
        lambda: create_store(place, MODEL, "max", None),
        lambda *, writable: open_store(place, None, writable=writable),
    )


def test_a_name_that_is_there_is_not_made_again_and_one_that_is_not_is_not_opened(place):
    assert not has_store(place)
    with pytest.raises(GalleryError, match="there is no gallery"):
        open_store(place, None, writable=True)
    create_store(place, MODEL, "max", None)
    assert has_store(place)
    with pytest.raises(GalleryError, match="is there already"):
        create_store(place, MODEL, "max", None)
    discard_store(place)
    assert not has_store(place)


def test_writers_wait_for_their_turn(place, monkeypatch):
    create_store(place, MODEL, "max", None)
    first = open_store(place, None, writable=True)
    with pytest.raises(GalleryLocked, match="another process is writing"):
        open_store(place, None, writable=True)
    monkeypatch.setattr(postgres_database, "TURN_SECONDS", 30)
    threading.Timer(0.2, first.close).start()
    second = open_store(place, None, writable=True)
    enrol(second, "Ann")
    second.close()


def test_a_writer_that_lost_its_connection_writes_again_if_nobody_took_its_turn(store, place, operator):
    enrol(store, "Ann")
    end_connections(operator, writers_of=place)
    enrol(store, "Bob")
    assert people(store) == {"Ann", "Bob"}


def test_a_writer_that_lost_its_turn_to_another_is_told_and_changes_nothing(store, place, operator):
    end_connections(operator, writers_of=place)
    other = open_store(place, None, writable=True)
    with pytest.raises(GalleryLocked, match="another process is writing"):
        enrol(store, "Ann")
    enrol(other, "Bob")
    assert people(store) == {"Bob"}
    other.close()


def test_a_lock_that_was_lost_without_the_connection_is_noticed_before_anything_is_written(store, place):
    with store.write() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
    with pytest.raises(GalleryLocked, match="was lost"):
        enrol(store, "Ann")
    enrol(store, "Bob")
    assert people(store) == {"Bob"}


def test_readers_go_on_after_their_connections_were_ended(store, operator):
    enrol(store, "Ann")
    assert people(store) == {"Ann"}
    end_connections(operator)
    assert people(store) == {"Ann"}


STEPS = {
    "reading": lambda store, cut: _cut_while_reading(store, cut),
    "writing": lambda store, cut: _cut_while_writing(store, cut),
}


def _cut_while_reading(store, cut):
    with store.read() as connection:
        connection.exec_driver_sql("SELECT 1")
        cut()
        connection.exec_driver_sql("SELECT count(*) FROM template").scalar()


def _cut_while_writing(store, cut):
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE gallery SET revision = revision + 1")
        cut()
        connection.exec_driver_sql("SELECT count(*) FROM template").scalar()


@pytest.mark.parametrize("step", STEPS)
def test_a_connection_that_is_lost_in_the_middle_is_told_and_nothing_is_changed(store, operator, step):
    enrol(store, "Ann")
    with pytest.raises(GalleryUnreachable, match="try again"):
        STEPS[step](store, lambda: end_connections(operator))
    assert people(store) == {"Ann"}
    enrol(store, "Bob")


@pytest.mark.parametrize("committed", [True, False])
def test_a_commit_without_an_answer_is_looked_up(store, operator, monkeypatch, committed):
    """Either it happened and nothing is told, or it did not and is told: never a guess."""
    real = sqlalchemy.RootTransaction.commit

    def commit(transaction):
        if committed:
            real(transaction)
        else:
            end_connections(operator)
        raise sqlalchemy.exc.OperationalError("COMMIT", None, psycopg.OperationalError("the connection is lost"))

    with monkeypatch.context() as patch:
        patch.setattr(sqlalchemy.RootTransaction, "commit", commit)
        if committed:
            enrol(store, "Ann")
        else:
            with pytest.raises(GalleryUnreachable, match="nothing was changed"):
                enrol(store, "Ann")
    assert people(store) == ({"Ann"} if committed else set())


def calls_of(gallery):
    """What a gallery of Ann (1), Bob (2) and Cleo (3) is asked in turn."""
    return {
        "add": lambda: gallery.add([photo("Dan", "d")]),
        "search": lambda: gallery.search(photo("", "a").vector[None], 1),
        "identities": gallery.identities,
        "find": lambda: gallery.find("Ann"),
        "templates": lambda: list(gallery.templates()),
        "embeddings": gallery.embeddings,
        "rename": lambda: gallery.rename(1, "Anna"),
        "merge": lambda: gallery.merge(1, 2),
        "undo": gallery.undo,
        "remove": lambda: gallery.remove(3),
        "restore": lambda: gallery.restore(3),
        "keep": lambda: gallery.keep_strangers(unit_vectors(2), np.arange(2)),
        "erase": lambda: gallery.erase(3),
        "check": gallery.check,
        "stats": gallery.stats,
        "flush": gallery.flush,
    }


def outcome(call):
    """The error that says that the connection was lost; None where the call went through."""
    try:
        call()
    except GalleryUnreachable as error:
        return error
    return None


def assert_all_was_done(gallery):
    assert {one.name for one in gallery.identities()} == {"Anna", "Bob", "Dan"}
    assert gallery.check(deep=True) == []


@pytest.mark.slow
def test_every_call_goes_on_after_a_connection_that_was_lost_before(place, operator):
    with Gallery.create(place, MODEL, "max") as gallery:
        gallery.add([photo("Ann", "a"), photo("Bob", "b"), photo("Cleo", "c")])
        for call in calls_of(gallery).values():
            end_connections(operator)
            call()
        assert_all_was_done(gallery)


@pytest.mark.slow
def test_every_call_that_is_cut_in_its_middle_changes_nothing_and_says_so(place, operator):
    """Cut at its first statement, its second, fourth and so on, until one is through before the cut."""
    due = None

    def cut_when_due(*_):
        nonlocal due
        if due is not None:
            due -= 1
            if due == 0:
                end_connections(operator)

    with Gallery.create(place, MODEL, "max") as gallery:
        gallery.add([photo("Ann", "a"), photo("Bob", "b"), photo("Cleo", "c")])
        for engine in (gallery._database._database._readers, gallery._database._database._writer):
            sqlalchemy.event.listen(engine, "before_cursor_execute", cut_when_due)
        told = 0
        for name, call in calls_of(gallery).items():
            for step in itertools.count():
                before, due = gallery.revision, 2**step
                error = outcome(call)
                due = None
                if error is None:
                    break
                told += 1
                assert "try again" in str(error)
                assert gallery.revision == before or name == "erase", name
                if gallery.revision != before:  # the person is gone, and only the scrubbing was cut
                    break
        assert told > 20
    with Gallery.open(place, writable=True) as gallery:  # finishes an erase that was cut
        assert_all_was_done(gallery)


@pytest.mark.slow
def test_a_client_that_is_killed_while_it_writes_leaves_nothing_and_no_lock(store, place):
    enrol(store, "Ann")
    store.close()
    script = (
        "import os, sys\n"
        "from indexer.store.stores import open_store\nfrom indexer.store.place import PostgresPlace\n"
        "from indexer.store.adding import add_templates\nfrom tests.indexer.made_up_people import photo\n"
        f"store = open_store(PostgresPlace({place.conninfo!r}, {place.name!r}), None, writable=True)\n"
        "with store.write() as connection:\n"
        "    add_templates(connection, [photo('Bob', 'b')], False)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[3]
    killed = subprocess.run([sys.executable, "-c", script], cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    assert killed.returncode == -9
    again = open_store(place, None, writable=True)
    assert people(again) == {"Ann"}
    enrol(again, "Cleo")
    again.close()


def test_another_process_hears_of_each_revision(store, place, postgres):
    with psycopg.connect(postgres, autocommit=True) as listener:
        listener.execute(f"LISTEN {postgres_database.CHANNEL}")
        enrol(store, "Ann")
        with pytest.raises(ZeroDivisionError):
            enrol_and_fail(store, "Bob")
        heard = [note.payload for note in listener.notifies(timeout=5, stop_after=1)]
    with store.read() as connection:
        uuid, revision = connection.exec_driver_sql("SELECT uuid, revision FROM gallery").one()
    assert heard == [f"{uuid} {revision}"]


def test_a_newer_schema_a_foreign_one_and_one_that_was_changed_are_refused(store, place, operator):
    store.close()
    operator.execute(f'UPDATE "{place.schema}".alembic_version SET version_num = %s', ("9999",))
    with pytest.raises(StoreDamaged, match=f"has schema 9999, this program knows up to {HEAD}"):
        open_store(place, None, writable=True)
    operator.execute(f'UPDATE "{place.schema}".alembic_version SET version_num = %s', (SCHEMA_VERSIONS[0],))
    with pytest.raises(StoreDamaged, match="not as they were made"):
        open_store(place, None, writable=True)
    operator.execute(f'UPDATE "{place.schema}".alembic_version SET version_num = %s', (HEAD,))
    open_store(place, None, writable=False).close()
    operator.execute(f'ALTER TABLE "{place.schema}".template DROP COLUMN quality')
    with pytest.raises(StoreDamaged, match="not as they were made"):
        open_store(place, None, writable=False)
    operator.execute(f'DROP TABLE "{place.schema}".tally')
    with pytest.raises(StoreDamaged, match="is not a gallery's"):
        open_store(place, None, writable=False)


@pytest.mark.parametrize(
    ("version", "row", "why"),
    [
        (140012, ("on", "on", False, "UTF8"), "on PostgreSQL 14; version 15 or newer"),
        (180000, ("off", "on", False, "UTF8"), "fsync = off"),
        (180000, ("on", "off", False, "UTF8"), "full_page_writes = off"),
        (180000, ("on", "on", True, "UTF8"), "on a standby"),
        (180000, ("on", "on", False, "SQL_ASCII"), "in a database in SQL_ASCII"),
    ],
)
def test_a_server_that_would_not_keep_what_it_is_given_is_refused(place, version, row, why):
    class Server:
        info = SimpleNamespace(server_version=version)

        def execute(self, sql):
            return self

        def fetchone(self):
            return row

    with pytest.raises(GalleryError, match=why):
        postgres_database.check_server(place, Server(), writable=True)


def test_who_may_not_make_a_schema_is_told_what_is_missing(place, postgres, operator):
    operator.execute("DROP ROLE IF EXISTS guest")
    operator.execute("CREATE ROLE guest LOGIN")
    guest = place_of(url_of(as_user(postgres, "guest", "faces"), place.name))
    with pytest.raises(GalleryError, match="permission denied"):
        create_store(guest, MODEL, "max", None)


def test_a_server_that_is_not_there_and_a_database_that_is_not_are_told_without_the_password(place, tmp_path):
    nowhere = place_of(f"postgresql://ann:swordfish@/faces/staff?host={tmp_path}")
    with pytest.raises(GalleryUnreachable, match="does not answer") as refused:
        open_store(nowhere, None, writable=False)
    assert "swordfish" not in str(refused.value)
    other = place_of(url_of(as_user(place.conninfo, "faceid", "nowhere"), "staff"))
    with pytest.raises(GalleryError, match="operator makes databases"):
        open_store(other, None, writable=False)


def test_a_key_is_refused_with_the_reason(place):
    with pytest.raises(GalleryError, match="cannot be encrypted by us"):
        create_store(place, MODEL, "max", object())


def test_a_connection_of_a_process_with_a_thousand_open_files_is_looked_at():
    """A server has as many clients: `select` raised ValueError for every search from then on."""
    ours, its = socket.socketpair()
    high = fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD, 1100)
    with ours, its:
        assert not postgres_database._says_something(high)
        its.send(b"closing")
        assert postgres_database._says_something(high)
    os.close(high)
