"""A fresh gallery for each test."""

import pytest

from indexer.crypto.keys import VARIABLE
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL


@pytest.fixture(autouse=True)
def _plain_where_it_must_be(request, monkeypatch):
    """Let tests that are marked `plain` make plain galleries, also when all others make encrypted ones."""
    if request.node.get_closest_marker("plain"):
        monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def gallery(tmp_path):
    with Gallery.create(tmp_path / "gallery", MODEL, "max") as gallery:
        yield gallery
