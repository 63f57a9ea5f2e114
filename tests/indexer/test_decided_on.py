"""A gallery that decides on context: its setting is kept, its thresholds are its own, its answers are brute force's."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.calibration.calibration import calibrate_from_gallery, calibrate_from_strangers
from indexer.calibration.self_measured import how_alike, measure_with_cohort, threshold_with_cohort
from indexer.decision.context import LISTED, WEIGHT, decision_score, on_context
from indexer.decision.decision import choose_threshold
from indexer.decision.match_probability import CONTEXT
from indexer.errors import CalibrationError, GalleryError
from indexer.gallery import Gallery
from tests.indexer.calibration.test_cohort import DIMENSION, cohort_of, gallery_of, people
from tests.indexer.made_up_people import unit_vectors


@pytest.fixture
def gallery(tmp_path):
    with gallery_of(tmp_path / "g", 40, 3, 3) as opened:
        yield opened


def brute(gallery, queries):
    """Everybody's similarity, and what a decision on context is made on, without any index."""
    own = gallery.embeddings()
    everybody = np.unique(own.identity_ids)
    scores = queries.astype(np.float64) @ own.vectors.T.astype(np.float64)
    by_person = np.stack([scores[:, own.identity_ids == one].max(axis=1) for one in everybody], axis=1)
    ranked = -np.sort(-by_person, axis=1)
    return everybody[by_person.argmax(axis=1)], ranked[:, 0] - WEIGHT * ranked[:, 1 : 1 + CONTEXT].mean(axis=1)


def test_the_setting_is_kept_counted_and_checked(gallery):
    assert gallery.decided_on == "similarity"
    revision = gallery.revision
    gallery.set_decided_on("context")
    gallery.set_decided_on("context")
    assert (gallery.decided_on, gallery.revision) == ("context", revision + 1)
    with Gallery.open(gallery.path) as reader:
        assert reader.decided_on == "context"
        assert reader.check(deep=True) == []
    with pytest.raises(GalleryError, match="decisions are on 'similarity' or 'context'"):
        gallery.set_decided_on("mood")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), threshold=st.floats(-0.2, 0.8))
def test_a_certified_answer_is_that_of_scoring_everybody(gallery, seed, threshold):
    queries = unit_vectors(5, DIMENSION, seed)
    who, truths = brute(gallery, queries)
    answers = gallery.search(queries, LISTED, threshold=threshold, on="context")
    for answer, person, truth in zip(answers, who, truths, strict=True):
        assert answer.exact_decision
        assert answer.candidates[0].id == person
        assert decision_score([one.similarity for one in answer.candidates], "context") == pytest.approx(
            truth, abs=1e-6
        )


def test_a_list_too_short_for_a_context_is_refused(gallery):
    with pytest.raises(ValueError, match=f"needs {LISTED} candidates"):
        gallery.search(unit_vectors(1, DIMENSION), 5, on="context")


@pytest.mark.parametrize("count", [8, 130])
def test_its_threshold_holds_the_rate_that_was_asked(tmp_path, count):
    cohort = cohort_of()
    with gallery_of(tmp_path / "g", count, 2, 3) as gallery:
        of_similarity = threshold_with_cohort(gallery, cohort, 0.1)
        gallery.set_decided_on("context")
        threshold = threshold_with_cohort(gallery, cohort, 0.1)
        _, strange = brute(gallery, people(3000, 1, 4321)[0])
    assert (threshold.on, of_similarity.on) == ("context", "similarity")
    assert threshold.value < of_similarity.value
    low, high = threshold.ci95
    assert low / 1.15 < (strange >= threshold.value).mean() < high * 1.15


def test_the_cohorts_scores_follow_what_is_enrolled_and_are_told_apart(gallery):
    cohort = cohort_of(200)
    plain = gallery.ask_cohort(cohort.strangers, cohort.key).scores
    before = gallery.ask_cohort(cohort.strangers, cohort.key, "context").scores
    gallery.remove(1)
    after = gallery.ask_cohort(cohort.strangers, cohort.key, "context").scores
    assert not np.array_equal(before, plain)
    assert np.allclose(after, brute(gallery, cohort.strangers)[1], atol=1e-6)
    with Gallery.open(gallery.path) as reader:
        assert np.array_equal(reader.ask_cohort(cohort.strangers, cohort.key, "context").scores, after)


def test_a_calibration_of_one_is_never_used_for_the_other(gallery):
    strangers, _ = people(800, 1, 77)
    plain = calibrate_from_strangers(gallery, strangers, data="strangers")
    gallery.set_decided_on("context")
    adjusted = calibrate_from_strangers(gallery, strangers, data="strangers")
    assert (plain.on, adjusted.on) == ("similarity", "context")
    gallery.save_calibrations([plain, adjusted])
    assert sorted(one.on for one in gallery.calibrations()) == ["context", "similarity"], "both are kept"
    for one, other in ((plain, "context"), (adjusted, "similarity")):
        with pytest.raises(CalibrationError, match="nothing has been measured"):
            choose_threshold([one], "fpir", 0.1, 40, "gallery", other)
    assert choose_threshold([plain, adjusted], "fpir", 0.1, 40, "gallery", "context").on == "context"
    _, truth = brute(gallery, strangers)
    assert np.allclose(np.sort(truth)[::-1], adjusted.scores, atol=1e-6)
    with pytest.raises(CalibrationError, match="a pair has no context"):
        replace(plain, target="far", gallery_size=None, on="context")


def test_its_own_people_measure_it_among_all_the_others(tmp_path):
    with gallery_of(tmp_path / "g", 320, 1, 3, "mean") as gallery:
        plain, _ = calibrate_from_gallery(gallery)
        gallery.set_decided_on("context")
        adjusted, _ = calibrate_from_gallery(gallery)
        own = gallery.embeddings().vectors
        among = own @ own.T
        np.fill_diagonal(among, -2)
        expected = on_context(-np.sort(-among, axis=1))
    # All but those whom it suspects to be enrolled twice.
    assert 300 < len(adjusted.scores) <= 320
    assert np.abs(adjusted.scores[:, None] - expected).min(axis=1).max() < 1e-5
    assert np.abs(plain.scores[:, None] - among.max(axis=1)).min(axis=1).max() < 1e-5


def test_how_alike_people_are_is_asked_of_what_is_decided_on(gallery):
    cohort = cohort_of(400)
    assert how_alike(gallery, cohort, "context") != how_alike(gallery, cohort)
    measured = measure_with_cohort(gallery, cohort, on="context")
    assert measured.on == "context"
    assert len(measured.scores) == 400
