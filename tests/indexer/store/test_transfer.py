"""An export carries a gallery to another machine: everything, once, and only if every byte is right."""

import hashlib
import json
import sys

import numpy as np
import pyarrow.parquet
import pytest

from indexer.crypto.keys import usual_key
from indexer.errors import GalleryError, ModelMismatch
from indexer.gallery import Gallery
from indexer.store.transfer import read_export
from tests.indexer.made_up_people import MODEL, OTHER_MODEL, digest_of, photo

pytestmark = pytest.mark.plain
"""The file itself is looked at and forged; encrypted ones have tests of their own."""


@pytest.fixture
def export(gallery, tmp_path):
    """A gallery with all that may happen to people, and its export."""
    gallery.add([photo("Ann", "a1", "7"), photo("Ann", "a2", "7"), photo("Ann", "x"), photo("Bob", "b1")])
    gallery.add([photo("Cleo", "c1"), photo("Robert", "r1"), photo("Gone", "g1"), photo("Ann", "a3", "7")])
    gallery.merge(gallery.find("Robert")[0].id, gallery.find("Bob")[0].id)
    gallery.remove(gallery.find("Gone")[0].id)
    gallery.remove_templates([2])
    assert gallery.export(tmp_path / "export.parquet") == 8
    return tmp_path / "export.parquet"


def content(gallery):
    """What a gallery holds, ids and times aside."""
    rows = gallery.templates(include_removed=True)
    people = gallery.identities(include_removed=True)
    return (
        sorted((one.name, one.external_id or "", one.templates, one.removed) for one in people),
        sorted((r.name, r.external_id or "", r.source, r.source_digest, r.box, r.quality, r.removed) for r in rows),
        sorted(vector.tobytes() for vector in gallery.embeddings().vectors),
    )


def test_an_empty_gallery_becomes_the_same_one(gallery, export, tmp_path):
    with Gallery.create(tmp_path / "new", MODEL) as new:
        added = new.import_(export)
        assert [one.status for one in added] == ["enrolled"] * 8
        assert content(new) == content(gallery)
        assert new.check() == []
        # What was decided stays decided on the new machine.
        again = new.add([photo("Gone", "g1"), photo("Ann", "a2", "7"), photo("Robert", "r1"), photo("Robert", "r2")])
        assert [(one.status, one.reason_codes) for one in again] == [
            ("rejected", ("removed",)),
            ("rejected", ("removed",)),
            ("already_enrolled", ()),
            ("enrolled", ()),
        ]
        assert new.find("Robert")[0].name == "Bob"


def test_who_was_removed_stays_so_though_the_photos_are_somebody_elses_by_now(gallery, tmp_path):
    gallery.add([photo("Ann", "a1"), photo("Ann", "a2"), photo("Bob", "b1")])
    gallery.remove_templates([2])
    gallery.remove(2)
    gallery.add([photo("Cleo", "a2"), photo("Cleo", "b1")])
    gallery.export(tmp_path / "export.parquet")
    with Gallery.create(tmp_path / "new", MODEL) as new:
        assert {one.status for one in new.import_(tmp_path / "export.parquet")} == {"enrolled"}
        assert content(new)[1:] == content(gallery)[1:]
        assert [(one.templates, one.removed) for one in new.find("Bob")] == [(0, True)], "Cleo shows it, not he"
        (other,) = new.add([photo("Bob", "b2")])
        assert other.reason_codes == ("removed",)
        assert new.check(deep=True) == []
        revision = new.revision
        new.import_(tmp_path / "export.parquet")
        assert new.revision == revision


def test_importing_twice_or_into_itself_changes_nothing(gallery, export):
    before, revision = content(gallery), gallery.revision
    added = gallery.import_(export)
    assert {one.status for one in added} == {"already_enrolled"}, "what is hidden there is hidden here: no conflict"
    assert (content(gallery), gallery.revision) == (before, revision)


def test_an_import_never_brings_back_or_hides_anybody_here(export, tmp_path):
    with Gallery.create(tmp_path / "new", MODEL) as new:
        new.add([photo("Cleo", "c1"), photo("Gone", "g1"), photo("Gone", "g2")])
        new.remove(1)
        new.import_(export)
        assert new.find("Cleo")[0].removed
        assert not new.find("Gone")[0].removed


def test_photos_of_who_was_removed_there_and_is_enrolled_here_come_hidden(gallery, tmp_path):
    gallery.add([photo("Ann", "a1"), photo("Ann", "a2"), photo("Ann", "a3")])
    gallery.remove(gallery.find("Ann")[0].id)
    gallery.add([photo("Bob", "a3")])
    gallery.export(tmp_path / "export.parquet")
    with Gallery.create(tmp_path / "new", MODEL) as new:
        new.add([photo("Ann", "a1"), photo("Ann", "a9")])
        new.import_(tmp_path / "export.parquet")
        (ann,), (bob,) = new.find("Ann"), new.find("Bob")
        assert (ann.templates, ann.removed, bob.templates) == (2, False, 1)
        shown = {(row.name, row.source_digest) for row in new.templates()}
        assert shown == {("Ann", digest_of("a1")), ("Ann", digest_of("a9")), ("Bob", digest_of("a3"))}
        assert len(list(new.templates(include_removed=True))) == 5
        assert new.check(deep=True) == []
        revision = new.revision
        new.import_(tmp_path / "export.parquet")
        assert new.revision == revision


def test_a_photo_that_is_somebody_else_here_is_rejected(export, tmp_path):
    with Gallery.create(tmp_path / "new", MODEL) as new:
        new.add([photo("Other", "c1")])
        codes = [one.reason_codes for one in new.import_(export)]
        assert codes.count(("enrolled_as_someone_else",)) == 1
        assert new.find("Cleo") == []


def test_a_damaged_file_is_refused_or_what_it_was(export):
    sound = export.read_bytes()
    expected = read_export(export, usual_key())
    refused = 0
    for place in range(0, len(sound), 13):
        spoiled = bytearray(sound)
        spoiled[place] ^= 1
        export.write_bytes(spoiled)
        try:
            found = read_export(export, usual_key())
        except GalleryError:
            refused += 1
        else:  # a byte that means nothing: in the name of the program that wrote the file, say
            assert (found.model, found.people, found.templates) == (expected.model, expected.people, expected.templates)
            assert found.vectors.tobytes() == expected.vectors.tobytes()
    assert refused > len(range(0, len(sound), 13)) / 2
    export.write_bytes(sound[:-1])
    with pytest.raises(GalleryError, match="no readable export"):
        read_export(export, usual_key())


def test_other_files_and_other_models_are_refused(export, tmp_path):
    table = pyarrow.table({"x": [1, 2]})
    pyarrow.parquet.write_table(table, tmp_path / "table")
    with Gallery.create(tmp_path / "new", OTHER_MODEL) as new:
        with pytest.raises(ModelMismatch, match=f"{MODEL.digest}.*{OTHER_MODEL.digest}"):
            new.import_(export)
        with pytest.raises(GalleryError, match="not an export"):
            new.import_(tmp_path / "table")
        with pytest.raises(GalleryError, match="is no file; give the export"):
            new.import_(tmp_path / "missing")


def test_the_file_is_what_its_documentation_says(export):
    file = pyarrow.parquet.ParquetFile(export)
    head = json.loads(file.metadata.metadata[b"faceid"])
    assert (head["format"], head["model"]["digest"]) == ("faceid-gallery-3", MODEL.digest)
    assert head["people"][0] == {"name": "Ann", "external_id": "7", "removed": False, "aliases": []}
    rows = file.read().to_pylist()
    assert rows[0]["source_digest"] == digest_of("a1")
    assert (rows[0]["person"], rows[0]["source"], rows[0]["box_width"]) == (0, "photos/a1", 30.0)
    # The checksum, as the documentation says it is computed.
    expected = head.pop("sha256")
    digest = hashlib.sha256(json.dumps(head, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
    for row in rows:
        vector = row.pop("vector")
        row["source_digest"] = row["source_digest"].hex()
        digest.update(json.dumps(list(row.values()), separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
        row["vector"] = vector
    digest.update(np.array([row["vector"] for row in rows], "<f4").tobytes())
    assert digest.hexdigest() == expected


def test_without_pyarrow_the_extra_is_named(gallery, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for act in (gallery.export, gallery.import_):
        with pytest.raises(GalleryError, match=r"faceid-engine\[export\]"):
            act(tmp_path / "x")


def test_a_vector_that_is_no_embedding_is_refused_even_with_a_right_checksum(gallery, tmp_path, monkeypatch):
    gallery.add([photo("Ann", "a")])
    twice = gallery.embeddings().vectors * 2
    monkeypatch.setattr("indexer.store.transfer.vectors_of", lambda connection, ids: twice)
    gallery.export(tmp_path / "bad")
    monkeypatch.undo()
    with Gallery.create(tmp_path / "new", MODEL) as new, pytest.raises(GalleryError, match="length 2"):
        new.import_(tmp_path / "bad")


# Straight from another gallery


def test_merging_from_another_gallery_is_an_import_without_a_file(gallery, export, tmp_path):
    with Gallery.create(tmp_path / "new", MODEL) as new:
        new.add([photo("Other", "c1")])
        people = new.merge_from(gallery.path)
        assert {one.name: (one.enrolled, one.conflicts) for one in people if one.conflicts} == {
            "Cleo": (0, {"enrolled_as_someone_else": 1})
        }
        assert sum(one.enrolled for one in people) == 7
        revision = new.revision
        again = new.merge_from(gallery.path)
        assert sum(one.enrolled for one in again) == 0
        assert [one.name for one in again if one.conflicts] == ["Cleo"]
        assert new.revision == revision
        assert new.check(deep=True) == []


def test_another_models_gallery_is_not_merged(gallery, tmp_path):
    with Gallery.create(tmp_path / "other", OTHER_MODEL) as other, pytest.raises(ModelMismatch):
        other.merge_from(gallery.path)
