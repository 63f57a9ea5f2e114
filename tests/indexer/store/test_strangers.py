"""Strangers that a gallery keeps measure it whenever it changes, and can be destroyed."""

import numpy as np
import pytest

from indexer.calibration.self_measured import measure_with_kept
from indexer.decision.decision import Calibration, Circumstances
from indexer.errors import GalleryError, StoreDamaged, VectorError
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL, OTHER_MODEL, photo, unit_vectors
from tests.indexer.raw_database import raw_database

STRANGERS = unit_vectors(40, seed=5)
PERSONS = np.arange(40) // 2


@pytest.fixture
def gallery(tmp_path):
    with Gallery.create(tmp_path / "gallery", MODEL, "max") as gallery:
        gallery.add([photo(f"p{i}", str(i)) for i in range(10)])
        yield gallery


def test_they_are_kept_as_they_came_and_replaced_by_the_next(gallery):
    assert len(gallery.kept_strangers().vectors) == 0
    gallery.keep_strangers(STRANGERS, PERSONS)
    gallery.keep_strangers(STRANGERS[:30], PERSONS[:30])
    kept = gallery.kept_strangers()
    assert np.array_equal(kept.vectors, STRANGERS[:30])
    assert np.array_equal(kept.persons, PERSONS[:30])
    assert gallery.check(deep=True) == []


def test_they_measure_the_gallery_as_it_is(gallery):
    gallery.keep_strangers(STRANGERS, PERSONS)
    for _ in range(2):
        measured = measure_with_kept(gallery, gallery.kept_strangers())
        best = [answer.candidates[0].similarity for answer in gallery.search(STRANGERS, 1)]
        assert np.array_equal(measured.scores, np.sort(np.array(best, np.float32))[::-1])
        gallery.add([photo("new", "new")])
    assert measured.gallery_size == 11


def test_forgetting_leaves_no_byte_of_them(gallery):
    gallery.keep_strangers(STRANGERS, PERSONS)
    measure_with_kept(gallery, gallery.kept_strangers())
    assert gallery.forget_strangers() == 40
    assert gallery.forget_strangers() == 0
    gallery.close()
    content = b"".join(file.read_bytes() for file in gallery.path.iterdir() if file.is_file())
    assert all(vector.tobytes() not in content for vector in STRANGERS)
    with Gallery.open(gallery.path) as reader:
        assert reader.size == 10


def test_another_models_vectors_do_not_stay(gallery):
    gallery.keep_strangers(STRANGERS, PERSONS)
    ids = [row.id for row in gallery.templates()]
    gallery.add_embeddings(OTHER_MODEL, ids, unit_vectors(10, OTHER_MODEL.dimension, 3))
    gallery.switch_model(OTHER_MODEL)
    assert len(gallery.kept_strangers().vectors) == 0
    assert gallery.check(deep=True) == []


def test_a_flipped_bit_is_noticed(gallery):
    gallery.keep_strangers(STRANGERS, PERSONS)
    gallery.close()
    with raw_database(gallery.path / "gallery.db") as raw:
        raw.execute("UPDATE stranger SET person = person + 1 WHERE id = 3")
    with Gallery.open(gallery.path) as reader:
        assert [problem.kind for problem in reader.check(deep=True)]
        with pytest.raises(StoreDamaged):
            reader.kept_strangers()


def test_what_is_no_embedding_is_refused(gallery):
    with pytest.raises(VectorError):
        gallery.keep_strangers(STRANGERS * 2, PERSONS)
    with pytest.raises(GalleryError, match="40 vectors of 3 persons"):
        gallery.keep_strangers(STRANGERS, PERSONS[:3])
    assert len(gallery.kept_strangers().vectors) == 0


def test_a_calibration_comes_back_with_what_it_was_measured_on(gallery):
    cohort = unit_vectors(1, 50)[0].copy()
    then = Circumstances("c" * 64, 12, "detector", "largest", "k" * 64, cohort)
    scores = np.array([0.5, 0.25], np.float32)
    kept = Calibration(
        "fpir", scores, 100, 10, 1.2, "max", MODEL.digest, "float32", "d", "2026-11-26", circumstances=then
    )
    far = Calibration("far", scores, 100, None, None, None, MODEL.digest, "float32", "d", "2026-11-26")
    gallery.save_calibrations([kept, far])
    first, second = gallery.calibrations()
    assert second.circumstances is None
    back = first.circumstances
    assert (back.contents, back.templates, back.detector, back.quality_policy, back.cohort) == (
        "c" * 64,
        12,
        "detector",
        "largest",
        "k" * 64,
    )
    assert np.array_equal(back.cohort_scores, cohort)


def test_contents_know_who_is_searched(gallery):
    before = gallery.contents()
    assert (before.templates, before.templates_of.tolist()) == (10, [1] * 10)
    gallery.rename(1, "another name")
    assert gallery.contents().digest == before.digest
    gallery.remove(2)
    assert gallery.contents().digest != before.digest
    gallery.restore(2)
    assert gallery.contents().digest == before.digest
    gallery.merge(3, 4)
    assert gallery.contents().templates_of.tolist() == [1] * 8 + [2]


@pytest.mark.folder
def test_the_fusion_can_be_changed_and_searches_follow(gallery):
    gallery.add([photo("p0", f"more {i}") for i in range(3)])
    query = STRANGERS[:5]
    of_max = [answer.candidates for answer in gallery.search(query, 10)]
    revision = gallery.revision
    gallery.set_fusion("mean")
    assert (gallery.fusion, gallery.revision) == ("mean", revision + 1)
    of_mean = [answer.candidates for answer in gallery.search(query, 10)]
    assert of_mean != of_max
    gallery.set_fusion("mean")
    assert gallery.revision == revision + 1
    with Gallery.open(gallery.path) as reader:
        assert [answer.candidates for answer in reader.search(query, 10)] == of_mean
    gallery.set_fusion("max")
    assert [answer.candidates for answer in gallery.search(query, 10)] == of_max
    assert gallery.check(deep=True) == []
    with pytest.raises(GalleryError, match="fusion is 'max' or 'mean'"):
        gallery.set_fusion("median")


def test_what_is_remembered_is_made_once_a_revision(gallery):
    made = []
    for _ in range(2):
        assert gallery.remember("x", lambda: made.append(1) or len(made)) == 1
    gallery.add([photo("new", "new")])
    assert gallery.remember("x", lambda: made.append(1) or len(made)) == 2
