"""Moving to another model: the old vectors answer until one transaction switches, and nobody is left behind."""

import numpy as np
import pytest

from indexer.errors import GalleryError, ModelMismatch, VectorError
from indexer.gallery import Gallery
from indexer.records import ModelBinding
from tests.indexer.made_up_people import MODEL, OTHER_MODEL, photo, unit_vectors

PEOPLE = [photo(f"p{i}", str(i)) for i in range(6)]
NEW = unit_vectors(6, OTHER_MODEL.dimension, seed=3)


@pytest.fixture
def filled(gallery):
    gallery.add(PEOPLE)
    gallery.remove(6)
    return gallery


def left(gallery):
    return [row.id for row in gallery.reembedding_left(OTHER_MODEL)]


def test_the_gallery_answers_with_the_old_model_until_the_switch(filled):
    assert left(filled) == [1, 2, 3, 4, 5, 6]
    before = filled.search(PEOPLE[0].vector[None], 3)
    filled.add_embeddings(OTHER_MODEL, [1, 2, 3], NEW[:3])
    filled.add_embeddings(OTHER_MODEL, [2, 3, 4], NEW[1:4])  # a batch that is repeated after a crash
    assert left(filled) == [5, 6]
    assert filled.search(PEOPLE[0].vector[None], 3) == before
    with pytest.raises(GalleryError, match=r"2 templates \(the first is 5\) have no vector of another"):
        filled.switch_model(OTHER_MODEL)
    filled.add_embeddings(OTHER_MODEL, [5, 6], NEW[4:])
    filled.switch_model(OTHER_MODEL)
    assert filled.model == OTHER_MODEL
    assert [filled.search(NEW[i : i + 1], 1)[0].candidates[0].name for i in range(5)] == ["p0", "p1", "p2", "p3", "p4"]
    filled.restore(6)
    assert filled.search(NEW[5:], 1)[0].candidates[0].name == "p5"
    assert filled.check() == []
    with pytest.raises(VectorError, match=r"\[n, 8\]"):
        filled.search(PEOPLE[0].vector[None], 1)


def test_vectors_that_nobody_searched_before_the_switch_are_not_searched_after_it(gallery):
    gallery.add(PEOPLE)
    gallery.add_embeddings(OTHER_MODEL, list(range(1, 7)), NEW)
    gallery.switch_model(OTHER_MODEL)
    assert [gallery.search(NEW[i : i + 1], 1)[0].candidates[0].id for i in range(6)] == [1, 2, 3, 4, 5, 6]
    assert gallery.check(deep=True) == []


def test_it_goes_on_where_it_stopped(filled):
    filled.add_embeddings(OTHER_MODEL, [1, 2], NEW[:2])
    filled.close()
    with Gallery.open(filled.path, writable=True) as again:
        assert left(again) == [3, 4, 5, 6]


def test_photos_that_are_gone_are_dropped_by_name_only(filled):
    filled.add_embeddings(OTHER_MODEL, [1, 2, 3, 4, 5], NEW[:5])
    filled.switch_model(OTHER_MODEL, drop=[6])
    assert [row.id for row in filled.templates(include_removed=True)] == [1, 2, 3, 4, 5]
    assert filled.check() == []


def test_nothing_of_the_old_model_is_left(filled):
    filled.add_embeddings(OTHER_MODEL, list(range(1, 7)), NEW)
    filled.switch_model(OTHER_MODEL)
    filled.close()
    with Gallery.open(filled.path, model_digest=OTHER_MODEL.digest) as reader:
        assert reader.embeddings().vectors.shape == (5, OTHER_MODEL.dimension)
    with pytest.raises(ModelMismatch):
        Gallery.open(filled.path, model_digest=MODEL.digest)


def test_wrong_vectors_are_refused(filled):
    with pytest.raises(VectorError):
        filled.add_embeddings(OTHER_MODEL, [1], unit_vectors(1))
    with pytest.raises(VectorError):
        filled.add_embeddings(OTHER_MODEL, [1], np.zeros((1, 8), np.float32))
    with pytest.raises(GalleryError, match="already embedded by"):
        filled.add_embeddings(MODEL, [1], unit_vectors(1))
    filled.add_embeddings(OTHER_MODEL, [1], NEW[:1])
    with pytest.raises(ModelMismatch, match="gives 8 numbers here, not 9"):
        filled.add_embeddings(ModelBinding("another", OTHER_MODEL.digest, 9), [2], unit_vectors(1, 9))


def test_a_person_erased_meanwhile_is_not_brought_back(filled):
    rows = list(filled.reembedding_left(OTHER_MODEL))
    filled.erase(2)
    filled.add_embeddings(OTHER_MODEL, [row.id for row in rows], NEW)
    filled.switch_model(OTHER_MODEL)
    assert filled.embeddings().template_ids.tolist() == [1, 3, 4, 5]
    assert [row.id for row in filled.templates(include_removed=True)] == [1, 3, 4, 5, 6]
