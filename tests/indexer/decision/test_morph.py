"""Thresholds against morphs: from documents, by counting; without, from the bound that no morph beats."""

import numpy as np
import pytest

from indexer.calibration.documents import measure_morphs
from indexer.decision.decision import Calibration
from indexer.decision.morph import (
    MorphThreshold,
    document_decision,
    look_alikes,
    midpoints,
    morph_threshold,
    pair_score_of,
)
from indexer.errors import CalibrationError
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL, unit_vectors

RANDOM = np.random.default_rng(4)
DOCUMENTS = unit_vectors(100, seed=1)


def like(vectors, noise=0.1):
    moved = vectors + noise * RANDOM.standard_normal(vectors.shape).astype(np.float32)
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


MEASURED = measure_morphs(
    DOCUMENTS, like(np.repeat(DOCUMENTS, 2, axis=0)), np.repeat(np.arange(100), 2), "documents", "2026-11-26"
)


def far(scores, trials):
    values = np.sort(np.asarray(scores, np.float32))[::-1].copy()
    return Calibration("far", values, trials, None, None, None, "d" * 64, "float32", "pairs", "2026-11-26")


def test_worst_cases_are_the_midpoints_of_the_most_alike_against_other_photos():
    live = like(DOCUMENTS)
    scores = measure_morphs(DOCUMENTS, live, np.arange(100), "", "")
    expected = []
    for one in range(100):
        products = DOCUMENTS @ DOCUMENTS[one]
        products[one] = -2
        other = int(products.argmax())
        middle = midpoints(DOCUMENTS[[one]], DOCUMENTS[[other]])[0]
        expected.append(min(middle @ live[one], middle @ live[other]))
    assert np.allclose(scores.worst, np.sort(expected)[::-1], atol=1e-6)
    assert look_alikes(DOCUMENTS).tolist() == [int(np.argsort(DOCUMENTS @ v)[-2]) for v in DOCUMENTS]


@pytest.mark.parametrize("target", [0.05, 0.1, 0.3])
def test_no_more_morphs_pass_than_were_asked_for_and_the_costs_are_told(target):
    found = morph_threshold(target, MEASURED, [])
    assert (MEASURED.worst >= found.value).mean() <= target
    assert found.estimated == pytest.approx((MEASURED.worst >= found.value).mean())
    assert found.bscer == pytest.approx((MEASURED.genuine < found.value).mean())
    assert (found.basis, found.people, found.bound) == ("documents", 100, None)


def test_the_bound_is_the_false_match_rate_at_the_score_that_two_live_photos_must_have():
    pairs = np.linspace(-1, 1, 2001)
    found = morph_threshold(0.1, MEASURED, [far(pairs, 2001)])
    assert found.bound == pytest.approx((pairs >= pair_score_of(found.value)).mean(), abs=1e-3)
    assert morph_threshold(0.1, MEASURED, [far([0.99, 0.98], 2001)]).bound is None, "the kept scores end before"


def test_without_documents_the_bound_gives_the_threshold():
    found = morph_threshold(0.05, None, [far(np.linspace(-1, 1, 2001), 2001)])
    assert (found.basis, found.estimated, found.bound) == ("far", None, 0.05)
    assert pair_score_of(found.value) == pytest.approx(0.9, abs=2e-3)


def test_what_cannot_be_said_is_refused():
    with pytest.raises(CalibrationError, match="it needs 300"):
        morph_threshold(0.01, MEASURED, [])
    with pytest.raises(CalibrationError, match="calibrate --documents"):
        morph_threshold(0.05, None, [])
    with pytest.raises(CalibrationError, match="two people"):
        measure_morphs(DOCUMENTS[:1], DOCUMENTS[:1], np.array([0]), "", "")


def test_three_decisions():
    morph = MorphThreshold(0.7, 0.05, "documents", 0.05, None, 0.1, 100, "")
    asked = [document_decision(score, 0.4, morph) for score in (0.39, 0.4, 0.69, 0.7)]
    assert asked == ["different", "possible_morph", "possible_morph", "same"]
    assert document_decision(0.75, 0.8, morph) == "different", "a stricter threshold of verification holds"


def test_a_gallery_keeps_one_measurement_of_its_model(tmp_path):
    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        assert gallery.morph_scores() is None
        gallery.keep_morph_scores(MEASURED)
        gallery.keep_morph_scores(MEASURED)
        kept = gallery.morph_scores()
        assert kept.worst.tobytes() == MEASURED.worst.tobytes()
        assert (kept.people, kept.data) == (100, "documents")
        assert gallery.check() == []


def test_without_a_target_it_is_the_usual_one_or_what_can_be_told():
    assert morph_threshold(None, MEASURED, []).target == 0.05
    few = measure_morphs(DOCUMENTS[:20], like(DOCUMENTS[:20]), np.arange(20), "", "")
    assert morph_threshold(None, few, []).target == pytest.approx(0.15)
    scores = np.linspace(-1, 0.9, 10_000)
    short = far(scores[-160:], 10_000)
    found = morph_threshold(None, None, [short])
    assert found.target == pytest.approx(0.016, abs=1e-4)
    assert found.value > morph_threshold(None, None, [far(scores, 10_000)]).value
    with pytest.raises(CalibrationError, match=r"ask for 0\.015 or less, or type `faceid calibrate --documents DIR`"):
        morph_threshold(0.05, None, [short])


def test_a_handful_of_documents_supports_no_share():
    handful = measure_morphs(DOCUMENTS[:3], like(DOCUMENTS[:3]), np.arange(3), "", "")
    with pytest.raises(CalibrationError, match="cannot support"):
        morph_threshold(None, handful, [])
