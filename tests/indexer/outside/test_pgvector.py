"""pgvector as an index elsewhere: the contract, and a gallery that searches by it as by brute force."""

import itertools
import os

import numpy as np
import pytest

from indexer.errors import VectorError
from indexer.gallery import Gallery
from indexer.outside.addresses import is_outside, open_outside
from indexer.outside.outside import OutsideError
from indexer.records import ModelBinding
from indexer.search.scores import canonical_scores
from tests.indexer.made_up_people import photo, unit_vectors
from tests.indexer.outside.outside_contract import keeps_the_contract
from tests.postgres_server import as_user, url_of

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed (the extra postgres)")

pytestmark = pytest.mark.folder
_numbers = itertools.count()
WIDE = ModelBinding("wide", "c" * 64, 64)


@pytest.fixture
def database(postgres):
    """A database with the extension, as an operator makes one."""
    with psycopg.connect(as_user(postgres, "postgres", "faces"), autocommit=True) as raw:
        raw.execute("CREATE EXTENSION IF NOT EXISTS vector")
    return postgres


@pytest.mark.parametrize("kind", ["", "#hnsw"])
def test_it_keeps_the_contract(database, kind):
    index = open_outside(f"pgvector{kind}", f"some-gallery-{next(_numbers)}", database)
    assert index.exhaustive == (not kind)
    keeps_the_contract(index)
    index.close()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["folder", "server"])
@pytest.mark.parametrize("fusion", ["max", "mean"])
def test_a_gallery_searches_by_it_as_by_its_own_and_proves_it(database, tmp_path, monkeypatch, where, fusion):
    monkeypatch.setenv("FACEID_CACHES", str(tmp_path / "caches"))
    own = url_of(database, f"pgv{os.getpid()}_{next(_numbers)}")
    place, address = (own, "pgvector") if where == "server" else (tmp_path / "g", f"pgvector:{database}")
    vectors = unit_vectors(200, 64, seed=5)
    queries = np.concatenate([vectors[:5], unit_vectors(5, 64, seed=6)])
    with Gallery.create(place, WIDE, fusion) as gallery:
        gallery.add([photo(f"guest {n // 2}", f"g{n}", vector=one, dimension=64) for n, one in enumerate(vectors)])
        gallery.add_outside_index(address)
        expected = gallery.search(queries, 5)
        gallery.use_index(address)
        assert gallery.search(queries, 5) == expected
        assert all(one.exact_candidates and one.exact_decision for one in expected)
        gallery.erase(3)
        gallery.add([photo("new", "new", vector=vectors[0], dimension=64)])
        found = gallery.search(queries, 5)
        gallery.use_index("flat")
        assert found == gallery.search(queries, 5)


def test_what_is_approximate_proves_nothing_and_is_told(database, tmp_path):
    vectors = unit_vectors(60, 64, seed=5)
    with Gallery.create(tmp_path / "g", WIDE, "max") as gallery:
        gallery.add([photo(f"guest {n}", f"g{n}", vector=one, dimension=64) for n, one in enumerate(vectors)])
        gallery.add_outside_index(f"pgvector:{database}#hnsw")
        gallery.use_index(f"pgvector:{database}#hnsw")
        (found,) = gallery.search(vectors[:1], 3, fast=True)
        assert not found.exact_candidates
        assert not found.exact_decision
        assert found.candidates[0].similarity == canonical_scores(vectors[:1], vectors[:1])[0]


def test_after_a_lost_connection_it_says_so_once_and_connects_anew(database, tmp_path):
    index = open_outside("pgvector", "some-gallery-that-is-cut", database)
    index.make("a" * 64, 16)
    with psycopg.connect(as_user(database, "postgres", "faces"), autocommit=True) as raw:
        raw.execute("SELECT pg_terminate_backend(%s, 5000)", (index._connection.info.backend_pid,))
    with pytest.raises(OutsideError, match="does not serve"):
        index.count()
    assert index.count() == 0
    index.drop()
    index.close()


def test_its_deleted_vectors_leave_its_table(database, tmp_path):
    with Gallery.create(tmp_path / "g", WIDE, "max") as gallery:
        gallery.add([photo(f"guest {n}", f"g{n}", dimension=64) for n in range(20)])
        gallery.add_outside_index(f"pgvector:{database}")
        assert gallery.erase(4) == "done"
        index = open_outside(f"pgvector:{database}", gallery._row().uuid, None)
        assert index.count() == 19
        assert index.held(np.arange(1, 21)).tolist() == [n for n in range(1, 21) if n != 4]
        index.close()
        gallery.forget_outside_index(f"pgvector:{database}")
        assert gallery.outside_indexes() == []


def test_addresses_are_told_apart_and_hold_no_password():
    assert [is_outside(one) for one in ("pgvector", "pgvector#hnsw", "pgvector:postgresql://h/d", "pgvectors")] == [
        True,
        True,
        True,
        False,
    ]
    for address in ("pgvector:postgresql://ann:swordfish@h/d", "pgvector:mysql://h/d", "pgvector#ivf", "pgvector"):
        with pytest.raises(VectorError) as refused:
            open_outside(address, "u", None)
        assert "swordfish" not in str(refused.value)
    with pytest.raises(OutsideError, match="does not serve"):
        open_outside("pgvector:postgresql://ann@/d?host=/nowhere", "u", None)
