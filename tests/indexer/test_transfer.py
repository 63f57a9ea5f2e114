"""An export carries a gallery to another machine: everything, once, and only if every byte is right."""

from dataclasses import replace

import pytest
from safetensors.numpy import load_file, save_file

from indexer.errors import GalleryError, ModelMismatch
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL, OTHER_MODEL, photo, unit_vectors


@pytest.fixture
def export(gallery, tmp_path):
    """A gallery with all that may happen to people, and its export."""
    gallery.add([photo("Ann", "a1", "7"), photo("Ann", "a2", "7"), photo("Ann", "x"), photo("Bob", "b1")])
    gallery.add([photo("Cleo", "c1"), photo("Robert", "r1"), photo("Gone", "g1"), photo("Ann", "a3", "7")])
    gallery.merge(gallery.find("Robert")[0].id, gallery.find("Bob")[0].id)
    gallery.remove(gallery.find("Gone")[0].id)
    gallery.remove_templates([2])
    assert gallery.export(tmp_path / "export.faceid") == 8
    return tmp_path / "export.faceid"


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


def test_importing_twice_or_into_itself_changes_nothing(gallery, export):
    before, revision = content(gallery), gallery.revision
    added = gallery.import_(export)
    assert {one.status for one in added} == {"already_enrolled", "rejected"}
    assert (content(gallery), gallery.revision) == (before, revision)


def test_an_import_never_brings_back_or_hides_anybody_here(export, tmp_path):
    with Gallery.create(tmp_path / "new", MODEL) as new:
        new.add([photo("Cleo", "c1"), photo("Gone", "g1"), photo("Gone", "g2")])
        new.remove(1)
        new.import_(export)
        assert new.find("Cleo")[0].removed
        assert not new.find("Gone")[0].removed


def test_a_photo_that_is_somebody_else_here_is_rejected(export, tmp_path):
    with Gallery.create(tmp_path / "new", MODEL) as new:
        new.add([photo("Other", "c1")])
        codes = [one.reason_codes for one in new.import_(export)]
        assert codes.count(("enrolled_as_someone_else",)) == 1
        assert new.find("Cleo") == []


def test_every_damaged_byte_is_noticed(export, tmp_path):
    sound = export.read_bytes()
    with Gallery.create(tmp_path / "new", MODEL) as new:
        for place in range(0, len(sound), 97):
            spoiled = bytearray(sound)
            spoiled[place] ^= 1
            export.write_bytes(spoiled)
            with pytest.raises(GalleryError, match=str(export)):
                new.import_(export)
        export.write_bytes(sound[:-1])
        with pytest.raises(GalleryError, match="no readable export"):
            new.import_(export)
        assert new.identities() == []


def test_other_files_and_other_models_are_refused(export, tmp_path):
    save_file({"x": unit_vectors(1)}, tmp_path / "weights")
    with Gallery.create(tmp_path / "new", OTHER_MODEL) as new:
        with pytest.raises(ModelMismatch, match=f"{MODEL.digest}.*{OTHER_MODEL.digest}"):
            new.import_(export)
        with pytest.raises(GalleryError, match="not an export"):
            new.import_(tmp_path / "weights")
        with pytest.raises(GalleryError, match="no readable export"):
            new.import_(tmp_path / "missing")


def test_the_file_is_what_its_documentation_says(export):
    tensors = load_file(export)
    assert {name: str(array.dtype) for name, array in tensors.items()} == {
        "people": "uint8",
        "digests": "uint8",
        "vectors": "float32",
    }
    assert tensors["digests"].shape == (8, 32)
    assert tensors["vectors"].shape == (8, MODEL.dimension)
    assert tensors["people"].tobytes().decode().startswith('{"identities": [{"name": "Ann", "external_id": "7"')


def test_a_vector_that_is_no_embedding_is_refused_even_with_a_right_checksum(gallery, tmp_path, monkeypatch):
    gallery.add([photo("Ann", "a")])
    twice = replace(gallery.embeddings(), vectors=gallery.embeddings().vectors * 2)
    monkeypatch.setattr("indexer.transfer.to_vector", lambda blob, dimension, template_id: twice.vectors[0])
    gallery.export(tmp_path / "bad")
    monkeypatch.undo()
    with Gallery.create(tmp_path / "new", MODEL) as new, pytest.raises(ValueError, match="length 2"):
        new.import_(tmp_path / "bad")
