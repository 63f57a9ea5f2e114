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
