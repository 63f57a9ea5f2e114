"""Milvus Lite keeps the contract, and a gallery that is searched by it answers as by its own index."""

import numpy as np
import pytest

from indexer.errors import VectorError
from indexer.gallery import Gallery
from indexer.outside.milvus import TOKEN, MilvusIndex
from indexer.outside.outside import OutsideError
from tests.indexer.made_up_people import MODEL, photo, unit_vectors
from tests.indexer.outside.outside_contract import MARK, keeps_the_contract

pytestmark = [pytest.mark.slow, pytest.mark.plain]
pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    return f"milvus:{tmp_path / 'lite.db'}"


@pytest.mark.parametrize("kind", ["", "#hnsw", "#ivf"])
def test_it_keeps_the_contract(address, kind):
    index = MilvusIndex(address + kind, "0b9e4c7a-uuid")
    keeps_the_contract(index)
    index.close()


def test_a_gallery_is_searched_followed_and_erased_there(address, tmp_path):
    queries = unit_vectors(5, seed=99)

    def asked(gallery):
        return [
            ([(one.id, one.similarity) for one in result.candidates], result.exact_decision, result.exact_candidates)
            for result in gallery.search(queries, 4)
        ]

    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        gallery.add([photo(f"person {n // 2}", f"photo {n}") for n in range(240)])
        gallery.add_outside_index(address)
    with Gallery.open(tmp_path / "g", writable=True) as gallery:
        gone = gallery.identities()[7].id
        assert gallery.erase(gone) == "done"
        gallery.add([photo("Zoe", "zoe", vector=queries[0])])
        gallery.flush()
        own = asked(gallery)
        gallery.use_index(address)
        assert asked(gallery) == own
        assert all(decision and candidates for _, decision, candidates in own)
    with Gallery.open(tmp_path / "g") as reader:
        reader.use_index(address)
        assert asked(reader) == own
    with Gallery.open(tmp_path / "g", writable=True) as gallery:
        gallery.forget_outside_index(address)
        assert gallery.outside_indexes() == []


def test_what_is_no_address_is_refused_and_no_secret_is_shown(tmp_path, monkeypatch):
    for wrong in ("milvus:", "milvus:http://user:hidden@host:19530", f"milvus:{tmp_path / 'x.db'}#flatter"):
        with pytest.raises(VectorError) as refused:
            MilvusIndex(wrong, "uuid")
        assert "hidden" not in str(refused.value)
    monkeypatch.setenv(TOKEN, "root:hidden")
    monkeypatch.setattr("indexer.outside.milvus._SECONDS", 1)
    with pytest.raises(OutsideError, match=r"milvus:http://127\.0\.0\.1:1 does not serve") as down:
        MilvusIndex("milvus:http://127.0.0.1:1", "uuid")
    assert "hidden" not in str(down.value)


def test_a_collection_that_is_dropped_behind_our_back_is_noticed(address):
    first = MilvusIndex(address, "some-uuid")
    first.make("a" * 64, 16)
    first.set_mark(MARK)
    first.put(np.arange(3), unit_vectors(3))
    second = MilvusIndex(address, "some-uuid")
    second.drop()
    assert first.mark() is None
    first.close()


def test_an_index_that_may_miss_some_is_not_taken_for_one_that_looks_at_every_vector(address):
    """Two kinds of one gallery beside each other; and a collection of an older version goes with the next making."""
    approximate, flat = MilvusIndex(f"{address}#hnsw", "some-uuid"), MilvusIndex(address, "some-uuid")
    approximate.make("a" * 64, 16)
    approximate.put(np.arange(3), unit_vectors(3))
    approximate.set_mark(MARK)
    assert flat.mark() is None
    flat._client.create_collection("faceid_someuuid_aaaa", dimension=16)
    flat.make("a" * 64, 16)
    assert flat._client.describe_index(flat._collection, "vector")["index_type"] == "FLAT"
    assert not flat._client.has_collection("faceid_someuuid_aaaa")
    assert (approximate.mark(), approximate.count()) == (MARK, 3)
    flat.drop()
    assert approximate.count() == 3
    approximate.close()
