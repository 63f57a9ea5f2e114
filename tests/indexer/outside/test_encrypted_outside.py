"""An encrypted gallery's vectors go nowhere else, unless that is asked for in words."""

import pytest

from benchmarks.measurements.durability.encryption import write_key
from indexer.errors import GalleryError
from indexer.gallery import Gallery
from indexer.outside import kept
from tests.indexer.made_up_people import MODEL, photo
from tests.indexer.outside.fake_engine import Server

ADDRESS = "milvus:http://engine:19530"


def test_it_is_refused_unless_allowed_in_words(tmp_path, monkeypatch):
    server = Server()
    monkeypatch.setattr(kept, "open_outside", server.open)
    with Gallery.create(tmp_path / "g", MODEL, key=write_key(tmp_path / "key", 1)) as gallery:
        gallery.add([photo("Ann", "a")])
        with pytest.raises(GalleryError, match="--plain-outside-index"):
            gallery.add_outside_index(ADDRESS)
        assert gallery.outside_indexes() == []
        assert not server.vectors
        gallery.add_outside_index(ADDRESS, plain=True)
        assert len(server.vectors) == 1


@pytest.mark.parametrize("encrypted", [False, True])
def test_an_encrypted_copy_keeps_nothing_in_an_index_of_its_source(tmp_path, monkeypatch, encrypted):
    server = Server()
    monkeypatch.setattr(kept, "open_outside", server.open)
    key = write_key(tmp_path / "key", 1) if encrypted else None
    with Gallery.create(tmp_path / "g", MODEL, key=key) as gallery:
        (ann, _) = gallery.add([photo("Ann", "a"), photo("Bob", "b")])
        gallery.add_outside_index(ADDRESS, plain=True)
        Gallery.encrypt(tmp_path / "g", tmp_path / "copy", write_key(tmp_path / "other", 2), source_key=key)
        assert gallery.erase(ann.identity_id) == "done"
    with Gallery.open(tmp_path / "copy", key=write_key(tmp_path / "other", 2), writable=True) as copy:
        assert copy.outside_indexes() == []
        copy.add([photo("Cy", "c")])
        assert copy.check(deep=True) == []
    assert len(server.vectors) == 1  # Ann's did not come back with the copy's next change
    with (
        Gallery.open(tmp_path / "g", key=key) as gallery,
        Gallery.open(tmp_path / "copy", key=write_key(tmp_path / "other", 2)) as copy,
    ):
        assert gallery._row().uuid != copy._row().uuid
