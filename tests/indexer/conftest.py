"""A fresh gallery for each test."""

import dataclasses
import os
from pathlib import Path

import pytest

import indexer.gallery
from indexer.crypto.keys import VARIABLE
from indexer.gallery import Gallery
from indexer.store.person_keys import PERSON_VARIABLE
from indexer.store.place import place_of
from tests.indexer.made_up_people import MODEL
from tests.postgres_server import VARIABLE as IN_POSTGRES
from tests.postgres_server import name_of, postgres, url_of

__all__ = ["postgres"]


@pytest.fixture(autouse=True)
def _plain_where_it_must_be(request, monkeypatch):
    """Let tests that are marked `plain` make plain galleries, also when all others make encrypted ones."""
    if request.node.get_closest_marker("plain"):
        monkeypatch.delenv(VARIABLE, raising=False)
    if request.node.get_closest_marker("plain") or request.node.get_closest_marker("no_person_keys"):
        monkeypatch.delenv(PERSON_VARIABLE, raising=False)


@pytest.fixture(autouse=True)
def _in_postgres_if_it_was_asked_for(request, monkeypatch):
    """Let a folder mean a gallery in a server whose caches are in that folder, where the run is about those."""
    database = os.environ.get(IN_POSTGRES)
    if database is None:
        return
    if request.node.get_closest_marker("folder"):
        pytest.skip("about the files of a gallery in a folder")

    def in_server(where):
        place = place_of(where)
        if not isinstance(place, Path):
            return place
        return dataclasses.replace(place_of(url_of(database, name_of(place))), caches=place)

    monkeypatch.setattr(indexer.gallery, "place_of", in_server)
    monkeypatch.setattr("indexer.store.postgres_database.TURN_SECONDS", 0.5)


@pytest.fixture
def gallery(tmp_path):
    with Gallery.create(tmp_path / "gallery", MODEL, "max") as gallery:
        yield gallery
