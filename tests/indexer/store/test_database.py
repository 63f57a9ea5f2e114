"""The database: its migrations make exactly the schema, its settings hold, and damage is told in clear words."""

import os
import sqlite3
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

import indexer
from indexer.errors import GalleryError, StoreDamaged
from indexer.gallery import Gallery
from indexer.store import database
from indexer.store.database import create_database
from indexer.store.driver import PAGE_SIZE
from indexer.store.migrating import migrate
from indexer.store.schema import HEAD, SCHEMA_VERSIONS, metadata
from tests.indexer.made_up_people import photo
from tests.indexer.raw_database import raw_database

pytestmark = pytest.mark.folder


def test_the_migrations_make_exactly_the_schema(tmp_path):
    create_database(tmp_path / "migrated.db", None)
    engine = create_engine(f"sqlite:///{tmp_path}/migrated.db")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    # Alembic compares no CHECK: compare the tables' own words, order aside.
    fresh = create_engine(f"sqlite:///{tmp_path}/fresh.db")
    metadata.create_all(fresh)
    assert words(tmp_path / "migrated.db") == words(tmp_path / "fresh.db")


def words(path):
    with raw_database(path) as raw:
        rows = raw.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {
        name: sorted(part.strip() for part in " ".join(sql.replace('"', "").replace(")", " ").split()).split(", "))
        for name, sql in rows
        if not name.startswith(("alembic", "sqlite_"))
    }


def test_what_tests_copy_is_what_the_migrations_make(tmp_path, monkeypatch):
    create_database(tmp_path / "first.db", None)  # by the migrations, or a copy already: see tests/conftest.py
    create_database(tmp_path / "copied.db", None)
    monkeypatch.setattr(database, "run_migrations", migrate)
    create_database(tmp_path / "migrated.db", None)
    first, copied, migrated = (
        "\n".join(sqlite3.connect(tmp_path / f"{name}.db").iterdump()) for name in ("first", "copied", "migrated")
    )
    assert first == copied == migrated


def test_the_code_knows_every_migration_in_order():
    scripts = ScriptDirectory(f"{indexer.__path__[0]}/store/migrations")
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(SCHEMA_VERSIONS)
    assert scripts.get_current_head() == HEAD


def test_the_settings_that_durability_rests_on(gallery):
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "page_size": PAGE_SIZE,
    }
    with gallery._database.write() as connection:
        found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted}
    assert {name: str(value) for name, value in found.items()} == {name: str(value) for name, value in wanted.items()}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO gallery SELECT 2, uuid, created_at, fusion, revision, model_id, 1, erasure_key, 0, 0, decided_on,"
        " NULL, NULL FROM gallery",
        "UPDATE gallery SET decided_on = 'mood'",
        "UPDATE gallery SET fusion = 'median'",
        "UPDATE gallery SET model_id = 99",
        "UPDATE identity SET name = ''",
        f"UPDATE identity SET name = '{'x' * 256}'",
        "INSERT INTO identity (name, created_at) SELECT name, created_at FROM identity",
        "UPDATE identity SET merged_into = 1",
        "UPDATE template SET source_digest = x'00'",
        "UPDATE template SET precision = 'int8'",
        "UPDATE template SET box_x = NULL",
        "UPDATE template SET identity_id = 99",
        "INSERT INTO template SELECT 9, identity_id, source, source_digest, NULL, NULL, NULL, NULL, NULL, NULL,"
        " precision, created_at, NULL, 0 FROM template",
        "UPDATE embedding SET vector = x'010203'",
        "DELETE FROM model",
    ],
)
def test_the_database_itself_refuses_what_makes_no_sense(gallery, statement):
    gallery.add([photo("Ann", "a")])
    with raw_database(gallery.path / "gallery.db") as raw:
        raw.execute("PRAGMA foreign_keys=ON")
        with pytest.raises(raw.IntegrityError):
            raw.execute(statement)


def spoil(path, statement):
    with raw_database(path) as raw:
        raw.execute(statement)


def test_a_newer_schema_is_refused_by_its_number(gallery):
    gallery.close()
    spoil(gallery.path / "gallery.db", "UPDATE alembic_version SET version_num = '0099'")
    with pytest.raises(StoreDamaged, match="has schema 0099, this program knows up to"):
        Gallery.open(gallery.path)


@pytest.mark.plain
def test_files_that_are_no_gallery_are_refused(tmp_path):
    (tmp_path / "gallery.db").write_text("a text, not a database, long enough to be one")
    with pytest.raises(StoreDamaged, match="not an SQLite database"):
        Gallery.open(tmp_path)
    (tmp_path / "gallery.db").unlink()
    spoil(tmp_path / "gallery.db", "CREATE TABLE t (x)")
    with pytest.raises(StoreDamaged, match="not a gallery's"):
        Gallery.open(tmp_path)


def test_damage_in_the_middle_of_the_file_is_told_at_opening(gallery):
    gallery.add([photo(f"person {i}", str(i)) for i in range(2000)])
    gallery.close()
    database = gallery.path / "gallery.db"
    content = bytearray(database.read_bytes())
    with raw_database(database) as raw:
        page = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'template'").fetchone()[0]
    content[(page - 1) * PAGE_SIZE : page * PAGE_SIZE] = b"\xa5" * PAGE_SIZE
    database.write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"gallery\.db is damaged .*restore it from a backup"):
        Gallery.open(gallery.path)


@pytest.mark.folder
@pytest.mark.parametrize(("name", "put"), [("gallery.db-wal", "folder"), ("gallery.db-shm", "pipe")])
def test_a_log_that_is_no_regular_file_is_named(gallery, name, put):
    gallery.add([photo("Ann", "a")])
    gallery.close()
    place = gallery.path / name
    place.unlink(missing_ok=True)
    os.mkfifo(place) if put == "pipe" else place.mkdir()
    for writable in (False, True):
        with pytest.raises(StoreDamaged, match=rf"{name} is not a regular file.*move it away"):
            Gallery.open(gallery.path, writable=writable)


def test_a_truncated_file_is_told(gallery):
    gallery.add([photo(f"person {i}", str(i)) for i in range(500)])
    gallery.close()
    database = gallery.path / "gallery.db"
    database.write_bytes(database.read_bytes()[: PAGE_SIZE * 3])
    with pytest.raises(StoreDamaged):
        Gallery.open(gallery.path)


@pytest.mark.no_person_keys
def test_check_finds_what_only_reading_everything_finds(gallery):
    gallery.add([photo(name, name) for name in ("Ann", "Bob", "Cleo", "Dan")])
    gallery.close()
    database = gallery.path / "gallery.db"
    spoil(database, "UPDATE embedding SET vector = zeroblob(64) WHERE template_id = 1")
    spoil(database, "UPDATE embedding SET vector = zeroblob(60) WHERE template_id = 2")
    spoil(database, "DELETE FROM embedding WHERE template_id = 3")
    spoil(database, "DELETE FROM identity WHERE id = 4")
    with Gallery.open(gallery.path) as reader:
        problems = reader.check()
        assert {problem.kind for problem in problems} == {"orphan", "no_vector", "bad_vector", "bad_row", "bad_tally"}
        told = " ".join(problem.text for problem in problems)
        for words_ in (
            "template 1 under made-up has length 0",
            "template 2 under made-up has not 64 bytes",
            "template 3 has no vector",
        ):
            assert words_ in told


def test_importing_the_gallery_imports_no_faiss_alembic_scipy_or_torch():
    code = "import sys, indexer.gallery, indexer.calibration.calibration; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "sqlalchemy" in loaded
    assert not {"faiss", "alembic", "scipy", "torch", "safetensors"} & set(loaded)


def test_a_missing_gallery_says_what_to_do(tmp_path):
    with pytest.raises(GalleryError, match="enrol somebody to create one"):
        Gallery.open(tmp_path)
