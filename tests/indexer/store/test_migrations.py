"""A gallery of every older schema becomes one of the newest, with all that was in it."""

import json

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import indexer
from indexer.errors import GalleryError, StoreDamaged
from indexer.gallery import Gallery
from indexer.store.checksum import SQL_NAME, checksum
from indexer.store.driver import PAGE_SIZE
from indexer.store.schema import APPLICATION_ID, HEAD
from indexer.store.sqlite_check import schema_sum
from indexer.store.tally import Tally, write_tally
from tests.indexer.made_up_people import MODEL, digest_of, photo
from tests.indexer.raw_database import raw_database

pytestmark = [pytest.mark.plain, pytest.mark.folder]


@pytest.fixture
def of_0001(tmp_path):
    """A gallery as the first schema's program left it: three people, one removed, one merged into another."""
    folder = tmp_path / "old"
    folder.mkdir()
    path = folder / "gallery.db"
    with raw_database(path) as raw:
        raw.execute(f"PRAGMA page_size={PAGE_SIZE}")
        raw.execute(f"PRAGMA application_id={APPLICATION_ID}")
        raw.execute("PRAGMA journal_mode=WAL")
    upgrade(path, "0001")
    at = "2026-01-02T03:04:05Z"
    with raw_database(path) as raw:
        raw.execute("INSERT INTO model VALUES (1, ?, ?, ?)", (MODEL.name, MODEL.digest, MODEL.dimension))
        raw.execute("INSERT INTO gallery VALUES (1, 'some-uuid', ?, 'max', 9, 1, ?, 0)", (at, b"s" * 32))
        people = [(1, "Ann", None, at, None, None), (2, "Bob", "7", at, at, None), (3, "Anna", None, at, at, 1)]
        raw.executemany("INSERT INTO identity VALUES (?, ?, ?, ?, ?, ?)", people)
        for template_id, owner, source in ((1, 1, "a1"), (2, 1, "a2"), (3, 2, "b1")):
            row = (template_id, owner, source, digest_of(source), 1.0, 2.0, 3.0, 4.0, 0.9, None, "float32", at, None)
            raw.execute(f"INSERT INTO template VALUES ({', '.join('?' * 13)})", row)
            raw.execute("INSERT INTO embedding VALUES (?, 1, ?)", (template_id, photo("", source).vector.tobytes()))
        raw.execute("INSERT INTO audit VALUES (1, ?, 'merge', 3, ?, ?)", (at, b"d" * 32, json.dumps({"into": 1})))
        scores = np.array([0.5, 0.4], "<f4").tobytes()
        raw.execute(
            "INSERT INTO calibration VALUES (1, 'far', ?, 100, NULL, NULL, NULL, ?, 'float32', 'x', 'y', 3)",
            (scores, MODEL.digest),
        )
    (folder / "index.safetensors").write_bytes(b"a cache of the older program")
    return folder


def upgrade(path, revision):
    """Bring a database to this schema, as its program did."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.connection.driver_connection.create_function(SQL_NAME, -1, checksum, deterministic=True)
        config = Config()
        config.set_main_option("script_location", f"{indexer.__path__[0]}/store/migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        if revision >= "0004":  # from which on the version is noted a second time, and the definitions summed
            connection.exec_driver_sql(f"PRAGMA user_version={int(revision)}")
            write_tally(connection, "schema", Tally(*schema_sum(connection), 0))
    engine.dispose()


def test_a_reader_says_that_it_must_be_upgraded(of_0001):
    with pytest.raises(GalleryError, match="older schema 0001; open it once for writing"):
        Gallery.open(of_0001)


def test_the_first_writer_upgrades_it_with_all_that_was_in_it(of_0001):
    with Gallery.open(of_0001, writable=True) as gallery:
        assert [(one.id, one.name, one.removed) for one in gallery.identities(include_removed=True)] == [
            (1, "Ann", False),
            (2, "Bob", True),
        ]
        assert gallery.find("Anna")[0].name == "Ann"
        assert gallery.embeddings().vectors.tobytes() == b"".join(photo("", n).vector.tobytes() for n in ("a1", "a2"))
        assert len(gallery.calibrations()) == 1
        assert gallery.revision == 9
        assert gallery.rejected([digest_of("a1")], "any") == {}
        gallery.remember_rejected({digest_of("c1"): ["no_face"]}, "any")
        assert gallery.undoable() == [], "the older program kept no undo records"
        gallery.restore(2)
        gallery.rename(1, "Annette")
        gallery.undo()
    with Gallery.open(of_0001) as reader:
        assert reader.check(deep=True) == []
        assert reader.search(photo("", "b1").vector[None], 1)[0].candidates[0].name == "Bob"
    with raw_database(of_0001 / "gallery.db") as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
    assert not (of_0001 / "index.safetensors").exists()


@pytest.mark.parametrize("older", ["0003", "0004", "0007"])
def test_damage_does_not_become_sound_by_an_upgrade(of_0001, older):
    path = of_0001 / "gallery.db"
    upgrade(path, older)
    with raw_database(path) as raw:
        raw.execute("UPDATE calibration SET trials = trials - 1")
    with pytest.raises(StoreDamaged, match=r"1 row\(s\) of the table calibration changed"):
        Gallery.open(of_0001, writable=True)
