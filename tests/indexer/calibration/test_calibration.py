"""Calibrations are samples of the right scores: one for each search, one for each identity, one for each pair."""

import numpy as np
import pytest

from indexer.calibration import calibration as module
from indexer.calibration.calibration import (
    calibrate_from_gallery,
    calibrate_from_strangers,
    calibrate_model,
    calibrate_pairs,
)
from indexer.decision.decision import choose_threshold
from indexer.decision.intervals import wilson
from indexer.errors import CalibrationError, GalleryError
from indexer.gallery import Gallery
from indexer.search.scores import canonical_scores
from tests.indexer.made_up_people import MODEL, OTHER_MODEL, photo, unit_vectors

STRANGERS = unit_vectors(700, seed=77)


@pytest.fixture(params=["max", "mean"])
def crowd(tmp_path, request):
    """320 people with two templates each; p7 and p8 are one person who was enrolled twice."""
    vectors = unit_vectors(640, seed=1)
    vectors[15:18] = vectors[14]
    with Gallery.create(tmp_path / "crowd", MODEL, request.param) as gallery:
        gallery.add([photo(f"p{i // 2}", str(i), vector=vector) for i, vector in enumerate(vectors)])
        yield gallery


def score_matrix(gallery, queries):
    """[Q, N] canonical scores of each query against each identity, in order of id."""
    data = gallery.embeddings()
    columns = []
    for person in np.unique(data.identity_ids):
        own = data.vectors[data.identity_ids == person]
        if gallery.fusion == "mean":
            mean = own.mean(axis=0, dtype=np.float64)
            own = (mean / np.linalg.norm(mean)).astype(np.float32)[None]
        columns.append(canonical_scores(queries[:, None], own[None]).max(axis=1))
    return np.stack(columns, axis=1)


def test_strangers_give_the_best_score_of_each_search(crowd):
    measured = calibrate_from_strangers(crowd, STRANGERS, data="700 strangers")
    expected = np.sort(score_matrix(crowd, STRANGERS).max(axis=1))[::-1]
    assert np.array_equal(measured.scores, expected)
    assert (measured.target, measured.trials, measured.gallery_size) == ("fpir", 700, 320)
    assert (measured.templates_per_identity, measured.fusion, measured.model_digest) == (2, crowd.fusion, MODEL.digest)
    assert measured.data == "700 strangers"


@pytest.mark.slow
def test_a_threshold_from_strangers_alarms_as_often_as_promised(crowd):
    measured = calibrate_from_strangers(crowd, STRANGERS, data="strangers")
    threshold = choose_threshold([measured], "fpir", 0.02, crowd.size, "gallery")
    assert threshold.measured
    alarms = [answer.candidates[0].similarity >= threshold.value for answer in crowd.search(STRANGERS, 1)]
    assert sum(alarms) == 14
    fresh = crowd.search(unit_vectors(20_000, seed=5), 1)
    rate = np.mean([answer.candidates[0].similarity >= threshold.value for answer in fresh])
    low, high = wilson(14, 700, 0.999)
    assert low < rate < high


def test_without_strangers_each_identity_counts_once_and_twins_are_left_out(crowd):
    measured, suspects = calibrate_from_gallery(crowd)
    assert [(pair.first_id, pair.second_id) for pair in suspects] == [(8, 9)]
    assert suspects[0].similarity > 0.7
    first = crowd.embeddings().vectors[::2]
    scores = score_matrix(crowd, first)
    np.fill_diagonal(scores, -1)
    best = np.delete(scores.max(axis=1), [7, 8])
    assert np.array_equal(measured.scores, np.sort(best)[::-1])
    assert (measured.trials, measured.gallery_size) == (318, 319)


def test_who_was_enrolled_three_times_is_left_out_three_times(tmp_path):
    vectors = unit_vectors(320, seed=1)
    vectors[[8, 200]] = vectors[7]
    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        gallery.add([photo(f"p{i}", str(i), vector=vector) for i, vector in enumerate(vectors)])
        measured, suspects = calibrate_from_gallery(gallery)
    assert [(pair.first_id, pair.second_id) for pair in suspects] == [(8, 9), (8, 201)]
    assert measured.trials == 317
    assert measured.scores[0] < 0.9


def test_a_small_gallery_cannot_calibrate_itself(gallery):
    gallery.add([photo(f"p{i}", str(i)) for i in range(299)])
    with pytest.raises(CalibrationError, match=r"299 identities are too few .*--strangers"):
        calibrate_from_gallery(gallery)


def test_an_empty_gallery_or_no_strangers_measure_nothing(gallery):
    with pytest.raises(CalibrationError, match="nobody is enrolled"):
        calibrate_from_strangers(gallery, STRANGERS, data="strangers")
    gallery.add([photo("p", "1")])
    with pytest.raises(CalibrationError, match="no face of a stranger"):
        calibrate_from_strangers(gallery, STRANGERS[:0], data="strangers")


def test_a_gallery_keeps_its_calibrations_until_its_model_changes(gallery):
    people = [photo(f"p{i}", str(i)) for i in range(3)]
    gallery.add(people)
    measured = calibrate_from_strangers(gallery, STRANGERS, data="strangers")
    gallery.save_calibrations([measured])
    gallery.save_calibrations([calibrate_from_strangers(gallery, STRANGERS[:400], data="strangers")])
    kept = gallery.calibrations()
    assert [one.trials for one in kept] == [400]
    assert np.array_equal(kept[0].scores, measured.scores[np.isin(measured.scores, kept[0].scores)])
    gallery.add_embeddings(OTHER_MODEL, [1, 2, 3], unit_vectors(3, OTHER_MODEL.dimension))
    gallery.switch_model(OTHER_MODEL)
    assert gallery.calibrations() == []
    with pytest.raises(GalleryError, match="does not fit"):
        gallery.save_calibrations([measured])


def test_pairs_are_all_pairs_of_different_people_first_photo_each():
    vectors = unit_vectors(90, seed=4)
    labels = [f"p{i % 60}" for i in range(90)]
    measured = calibrate_pairs(vectors, labels, model_digest="c" * 64, data="made up")
    expected = [canonical_scores(vectors[i], vectors[j]) for i in range(60) for j in range(i)]
    assert np.array_equal(measured.scores, np.sort(np.array(expected, np.float32))[::-1])
    assert (measured.target, measured.trials, measured.gallery_size) == ("far", 60 * 59 // 2, None)


def test_the_tail_is_exact_when_it_is_cut_block_by_block(monkeypatch):
    monkeypatch.setattr(module, "MAX_STORED", 50)
    monkeypatch.setattr(module, "_PAIR_BLOCK", 16)
    vectors = unit_vectors(100, seed=6)
    measured = calibrate_pairs(vectors, [str(i) for i in range(100)], model_digest="c" * 64, data="made up")
    expected = [canonical_scores(vectors[i], vectors[j]) for i in range(100) for j in range(i)]
    assert np.array_equal(measured.scores, np.sort(np.array(expected, np.float32))[::-1][:50])
    assert measured.trials == 4950


def test_a_models_own_table_has_a_row_for_each_size_and_far():
    vectors = unit_vectors(300, seed=8)
    labels = [f"p{i // 2}" for i in range(300)]
    table = calibrate_model(vectors, labels, [10, 100], model_digest="c" * 64, data="made up")
    assert [(one.target, one.gallery_size, one.trials) for one in table] == [
        ("fpir", 10, 140),
        ("fpir", 100, 50),
        ("far", None, 150 * 149 // 2),
    ]
    people = vectors[::2]
    order = np.random.default_rng(0).permutation(150)
    expected = canonical_scores(people[order[100:], None], people[None, order[:100]]).max(axis=1)
    assert np.array_equal(table[1].scores, np.sort(expected)[::-1])
    with pytest.raises(CalibrationError, match="more than 150 people"):
        calibrate_model(vectors, labels, [150], model_digest="c" * 64, data="made up")
