"""A gallery of turned vectors with an index elsewhere: that engine sees turned vectors alone, and is made anew."""

import numpy as np
import pytest

from indexer.crypto.keys import KeyVariable
from indexer.gallery import Gallery
from indexer.outside import kept
from indexer.search.scores import canonical_scores
from tests.indexer.made_up_people import MODEL, photo, unit_vectors
from tests.indexer.outside.fake_engine import Server

pytestmark = pytest.mark.plain
ADDRESS = "milvus:http://engine:19530"
PEOPLE = [photo(f"person {n // 2}", f"photo {n}") for n in range(80)]
QUERIES = unit_vectors(5, seed=99)


def test_that_engine_holds_turned_vectors_alone_and_is_turned_on(tmp_path, monkeypatch):
    server = Server()
    monkeypatch.setattr(kept, "open_outside", server.open)
    monkeypatch.setenv("ONE", "01" * 32)
    monkeypatch.setenv("OTHER", "02" * 32)
    plain = np.stack([one.vector for one in PEOPLE])
    with Gallery.create(tmp_path / "g", MODEL, "max", turn_key=KeyVariable("ONE")) as gallery:
        gallery.add(PEOPLE)
        gallery.add_outside_index(ADDRESS)
        before = held(server)
        assert np.abs(canonical_scores(before, plain)).mean() < 0.3
        answers = gallery.search(QUERIES, 5)
        gallery.use_index(ADDRESS)
        assert gallery.search(QUERIES, 5) == answers
        gallery.turn(KeyVariable("OTHER"))
    after = held(server)
    assert np.abs(canonical_scores(before, after)).mean() < 0.3
    with Gallery.open(tmp_path / "g", turn_key=KeyVariable("OTHER")) as reader:
        here = reader.search(QUERIES, 5)
        reader.use_index(ADDRESS)
        assert reader.search(QUERIES, 5) == here
        assert [[one.id for one in found.candidates] for found in here] == [
            [one.id for one in found.candidates] for found in answers
        ]


def held(server):
    """What the engine holds, in order of id."""
    return np.stack([server.vectors[number] for number in sorted(server.vectors)])
