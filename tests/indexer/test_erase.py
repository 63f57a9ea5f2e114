"""After erase no byte of a person is left in any file of the gallery; while a reader is in the way it says so."""

import errno
import os
import sqlite3
from contextlib import nullcontext

import numpy as np
import pytest

from benchmarks.measurements.durability import scenario
from benchmarks.measurements.durability.scenario import needles
from indexer.gallery import Gallery
from indexer.search import codes
from indexer.store import curation
from tests.indexer.cache_files import arrays_of, manifest_of
from tests.indexer.made_up_people import MODEL, OTHER_MODEL, photo, unit_vectors
from tests.indexer.raw_database import raw_connection, raw_database

pytestmark = pytest.mark.folder


def traces(gallery_path, templates, more=()):
    """Which of the templates' names, paths, digests and vectors are in which file."""
    found = []
    for file in sorted(gallery_path.iterdir()):
        content = file.read_bytes()
        for one in templates:
            needles = {
                "name": one.name.encode(),
                "external id": (one.external_id or one.name).encode(),
                "path": one.source.encode(),
                "digest": one.source_digest,
                "digest, in part": one.source_digest[:12],
                "digest, in hex": one.source_digest.hex().encode(),
                "vector": one.vector.tobytes(),
                "vector, begin": one.vector.tobytes()[:16],
                "vector, end": one.vector.tobytes()[-16:],
                "vector, in half precision": one.vector.astype(np.float16).tobytes(),
            }
            found += [(file.name, what) for what, needle in needles.items() if needle in content]
        found += [(file.name, word) for word in more if word.encode() in content]
    return found


ANN = [photo("Annemarie-Éxample", f"annemarie/{i}", "staff-4711") for i in range(3)]
BOB = [photo("Bob", f"bob/{i}") for i in range(3)]


@pytest.mark.plain
@pytest.mark.parametrize("fusion", ["max", "mean"])
def test_no_byte_of_an_erased_person_is_left_and_the_others_stay(tmp_path, fusion):
    path = tmp_path / "g"
    with Gallery.create(path, MODEL, fusion) as gallery:
        gallery.add(ANN + BOB)
    assert len({what for _, what in traces(path, ANN)}) == 8  # a hex digest is never there
    with Gallery.open(path, writable=True) as gallery:
        gallery.search(unit_vectors(1), 1)
        assert gallery.erase(1) == "done"
        assert traces(path, ANN) == []
        assert [one.name for one in gallery.identities(include_removed=True)] == ["Bob"]
        assert gallery.check() == []
    assert traces(path, ANN) == []
    assert ("gallery.db", "name") in traces(path, BOB)
    with Gallery.open(path, writable=True) as gallery:
        assert [one.status for one in gallery.add(ANN)] == ["enrolled"] * 3


@pytest.mark.plain
def test_no_mean_that_an_erased_person_was_part_of_stays_in_a_file(tmp_path):
    crowd = [photo(f"p{i}", f"p{i}") for i in range(20)]
    with Gallery.create(tmp_path / "g", MODEL, "mean") as gallery:
        gallery.add(ANN + BOB + crowd)
        gallery.merge(1, 2)
        gallery.flush()
        (record,) = manifest_of(gallery.path).segments
        both = arrays_of(gallery.path / record.file)["vectors"][0].tobytes()
        gallery.undo()
        gallery.flush()
        assert both in b"".join(file.read_bytes() for file in gallery.path.glob("index-*"))
        gallery.erase(1)
        assert both not in b"".join(file.read_bytes() for file in gallery.path.glob("index-*"))
        assert gallery.check(deep=True) == []


def test_earlier_names_merged_people_and_coming_vectors_go_too(gallery):
    maiden, married = photo("Maiden Name", "m1"), photo("Married Name", "m2")
    gallery.add([maiden, married, *BOB])
    gallery.rename(1, "Interim Name")
    gallery.merge(1, 2)
    coming = unit_vectors(2, OTHER_MODEL.dimension, seed=5)
    gallery.add_embeddings(OTHER_MODEL, [1, 2], coming)
    gallery.remove(2)
    assert gallery.erase(2) == "done"
    assert traces(gallery.path, [maiden, married], ["Interim Name"]) == []
    content = (gallery.path / "gallery.db").read_bytes()
    assert coming[0].tobytes() not in content
    assert coming[1].tobytes() not in content
    assert gallery.find("Interim Name") == []


@pytest.mark.slow
def test_pages_that_were_split_long_ago_keep_nothing_back(gallery):
    # SQLite's secure_delete alone leaves whole digests here: copies of cells that were moved when a page was split.
    people = [[photo(f"person-{i:04}", f"person-{i:04}/{k}") for k in range(3)] for i in range(1500)]
    for k in range(3):
        for start in range(0, 1500, 300):
            gallery.add([person[k] for person in people[start : start + 300]])
    for identity_id in range(2, 500):
        with gallery._database.write() as connection:
            curation.erase(connection, identity_id)
    assert gallery.erase(1) == "done"
    assert {one.id for one in gallery.identities()} == set(range(500, 1501))
    left = b"".join(file.read_bytes() for file in gallery.path.iterdir())
    gone = [one for person in people[:499] for one in person]
    assert [one.source for one in gone if one.source_digest in left or one.source.encode() in left] == []


@pytest.mark.plain
def test_a_reader_of_an_older_revision_makes_it_pending_and_the_next_close_finishes(gallery):
    gallery.add(ANN + BOB)
    reader = raw_connection(gallery.path / "gallery.db")
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM template").fetchone() == (6,)
    assert gallery.erase(1) == "pending"
    assert gallery.find("staff-4711") == []
    assert traces(gallery.path, ANN) != []
    assert reader.execute("SELECT count(*) FROM template").fetchone() == (6,), "the reader keeps its revision"
    reader.execute("COMMIT")
    reader.close()
    gallery.close()
    assert traces(gallery.path, ANN) == []


@pytest.mark.plain
def test_a_pending_erase_is_finished_by_the_next_writer(gallery):
    gallery.add(ANN + BOB)
    reader = raw_connection(gallery.path / "gallery.db")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM template").fetchone()
    assert gallery.erase(1) == "pending"
    gallery.close()
    assert traces(gallery.path, ANN) != []
    reader.close()
    with Gallery.open(gallery.path, writable=True):
        assert traces(gallery.path, ANN) == []


class FullDisk:
    """A connection whose disk has no room for another copy of the database."""

    def execute(self, statement):
        if statement == "VACUUM":
            raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.plain
def test_what_is_in_the_way_of_an_erase_is_told(gallery, monkeypatch):
    gallery.add(ANN + BOB)
    with monkeypatch.context() as patch:
        patch.setattr("indexer.store.database.Database.raw", lambda *_: nullcontext(FullDisk()))
        assert gallery.erase(1) == "pending"
    assert [note.partition(":")[0] for note in gallery.erasure_notes] == ["the disk is full"]
    reader = raw_connection(gallery.path / "gallery.db")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM template").fetchone()
    assert gallery.erase(2) == "pending"
    assert gallery.erasure_notes == ("a reader holds an older revision",)
    reader.close()


def test_of_the_trail_nothing_remains_that_guessing_could_turn_into_a_name(gallery):
    gallery.add(ANN + BOB)
    gallery.erase(1)
    with raw_database(gallery.path / "gallery.db") as raw:
        rows = raw.execute("SELECT * FROM audit WHERE action = 'erase'").fetchall()
    (_, _, action, identity_id, details, _) = rows[0]
    assert (len(rows), action, identity_id, details) == (1, "erase", 1, '{"templates": 3}')


@pytest.mark.plain
def test_no_code_of_a_vector_is_left_either_with_8_bit_codes_in_the_files(gallery, monkeypatch):
    monkeypatch.setattr(codes, "CODED_FROM", 2)
    gallery.add(ANN + BOB)
    gallery.close()
    wanted = needles(ANN)
    assert {one.split()[0] for one in scenario.traces(gallery.path, wanted)} == {
        "float32",
        "int8",
        "name",
        "path",
        "digest",
    }
    with Gallery.open(gallery.path, writable=True) as again:
        assert again.erase(1) == "done"
        assert scenario.traces(gallery.path, wanted) == []
        assert {one.split()[0] for one in scenario.traces(gallery.path, needles(BOB))} >= {"float32", "int8"}
        assert again.check(deep=True) == []
    assert scenario.traces(gallery.path, wanted) == []


@pytest.mark.no_person_keys
def test_segments_without_the_erased_person_stay_as_they_are(gallery):
    gallery.add([photo(f"p{i}", str(i)) for i in range(20)])
    gallery.close()
    (large,) = [one.file for one in manifest_of(gallery.path).segments]
    with Gallery.open(gallery.path, writable=True) as again:
        again.add([photo("Late", "late")])
    with Gallery.open(gallery.path, writable=True) as again:
        assert again.erase(21) == "done"
    assert [one.file for one in manifest_of(gallery.path).segments] == [large]


def is_pending(path):
    with raw_database(path / "gallery.db") as raw:
        return raw.execute("SELECT erase_pending FROM gallery").fetchone() == (1,)


def test_an_erase_that_was_interrupted_is_finished_by_the_next_writer(gallery, monkeypatch):
    gallery.add(ANN + BOB)
    gallery.search(unit_vectors(1), 1)
    monkeypatch.setattr("indexer.store.database.Database.scrub", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        gallery.erase(1)
    scenario.abandon(gallery)
    monkeypatch.undo()
    assert is_pending(gallery.path)
    with Gallery.open(gallery.path, writable=True):
        assert traces(gallery.path, ANN) == []
    assert not is_pending(gallery.path)


def test_an_erase_on_a_full_disk_gives_up_the_caches_and_not_the_erasing(gallery, monkeypatch):
    gallery.add(ANN + BOB)
    gallery.close()

    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with Gallery.open(gallery.path, writable=True) as again:
        monkeypatch.setattr(os, "pwrite", no_space)
        again.erase(1)
        assert traces(gallery.path, ANN) == []
        monkeypatch.undo()
        assert again.search(BOB[0].vector[None], 1)[0].candidates[0].name == "Bob"


def test_an_old_export_brings_back_nobody_who_was_erased_unless_told(gallery, tmp_path):
    gallery.add(ANN + BOB)
    gallery.export(tmp_path / "old.parquet")
    gallery.erase(1)
    before = gallery.revision
    added = gallery.import_(tmp_path / "old.parquet")
    assert [one.reason_codes for one in added if one.status == "rejected"] == [("erased",)] * len(ANN)
    assert (gallery.find(ANN[0].name), gallery.revision) == ([], before)
    assert traces(gallery.path, ANN) == [], "what tells that the photos were here is none of their digests"
    revived = gallery.import_(tmp_path / "old.parquet", revive_erased=True)
    assert [one.status for one in revived].count("enrolled") == len(ANN)
    assert {one.status for one in gallery.import_(tmp_path / "old.parquet")} == {"already_enrolled"}


@pytest.mark.no_person_keys
def test_merging_from_a_gallery_that_still_has_them_tells_a_conflict(gallery, tmp_path):
    gallery.add(ANN + BOB)
    gallery.backup(tmp_path / "old")
    gallery.erase(1)
    conflicts = {one.name: one.conflicts for one in gallery.merge_from(tmp_path / "old")}
    assert conflicts == {ANN[0].name: {"erased": len(ANN)}, BOB[0].name: {}}
    gallery.merge_from(tmp_path / "old", revive_erased=True)
    assert len(gallery.find(ANN[0].name)) == 1


def test_somebody_who_is_enrolled_anew_is_no_longer_an_erased_one(gallery, tmp_path):
    gallery.add(ANN + BOB)
    gallery.export(tmp_path / "old.parquet")
    gallery.erase(1)
    gallery.add(ANN)
    assert {one.status for one in gallery.import_(tmp_path / "old.parquet")} == {"already_enrolled"}
    assert gallery.check() == []
