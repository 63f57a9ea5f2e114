"""A fresh gallery for each test."""

import pytest

from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL


@pytest.fixture
def gallery(tmp_path):
    with Gallery.create(tmp_path / "gallery", MODEL, "max") as gallery:
        yield gallery
