"""A probability is what it says at even odds, whatever the numbers of searches it was fitted to."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from indexer.decision.decision import Calibration
from indexer.decision.match_probability import MatchProbability, context_of, fit_probability, match_probability
from indexer.errors import CalibrationError
from tests.indexer.decision.test_decision import LADDER, calibration

LAW = MatchProbability(-4.0, 20.0, -10.0, 100, 100)


def searches(mated, strangers, seed=0):
    random = np.random.default_rng(seed)
    similarity = np.concatenate([random.normal(0.6, 0.15, mated), random.normal(0.35, 0.08, strangers)])
    context = np.concatenate([random.normal(0.2, 0.05, mated), random.normal(0.25, 0.05, strangers)])
    kind = np.arange(mated + strangers) < mated
    return similarity, context, kind, kind & (similarity > 0.3)


def test_by_hand():
    assert match_probability(LAW, 0.3, 0.2) == pytest.approx(0.5)
    assert match_probability(LAW, 0.4, 0.2) == pytest.approx(1 / (1 + np.exp(-2)))
    assert match_probability(LAW, 0.4, 0.4) == pytest.approx(0.5), "the same similarity says less in a crowd"


def test_rare_enrolled_people_make_the_same_similarity_less_likely_theirs():
    assert match_probability(LAW, 0.3, 0.2, prior=0.01) == pytest.approx(0.01)


def test_the_context_is_the_mean_of_the_next_ten():
    assert context_of([0.9, 0.4, 0.2]) == pytest.approx(0.3)
    assert context_of([0.9, *[0.1] * 10, 0.8]) == pytest.approx(0.1)
    assert context_of([0.9]) == 0


def test_the_fit_is_the_weighted_logistic_regression():
    similarity, context, mated, right = searches(400, 1000)
    law = fit_probability(similarity, context, mated, right)
    hits = int(right.sum())
    weights = np.where(mated, 0.5 / 400, 0.5 / 1000)
    targets = np.where(right, (hits + 1) / (hits + 2), 1 / (1400 - hits + 2))
    # A fractional target is a search counted twice: as right with that weight, as wrong with the rest.
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(np.column_stack([similarity, context]), (2, 1)),
        np.repeat([True, False], 1400),
        np.concatenate([weights * targets, weights * (1 - targets)]) * 1400,
    )
    expected = [oracle.intercept_[0], *oracle.coef_[0]]
    np.testing.assert_allclose([law.bias, law.similarity, law.context], expected, rtol=1e-3)
    assert (law.mated, law.non_mated) == (400, 1000)


def test_nine_of_ten_that_are_given_nine_tenths_are_right():
    law = fit_probability(*searches(2000, 6000))
    similarity, context, _, right = searches(20_000, 20_000, seed=1)
    given = np.array([match_probability(law, *one) for one in zip(similarity, context, strict=True)])
    for low in (0.1, 0.5, 0.8):
        here = (given >= low) & (given < low + 0.1)
        assert right[here].mean() == pytest.approx(given[here].mean(), abs=0.08)


def test_searches_that_a_line_separates_have_a_law_all_the_same():
    similarity = np.concatenate([np.linspace(0.8, 0.9, 60), np.linspace(0.1, 0.2, 60)])
    mated = similarity > 0.5
    law = fit_probability(similarity, np.zeros(120), mated, mated)
    assert match_probability(law, 0.85, 0) > 0.9
    assert match_probability(law, 0.15, 0) < 0.1


def test_too_few_of_either_kind_are_refused():
    with pytest.raises(CalibrationError, match="49 mated and 100 non-mated"):
        fit_probability(*searches(49, 100))


def test_a_calibration_keeps_it_through_json_and_reads_records_without():
    with_law = replace(calibration(LADDER), probability=LAW)
    assert Calibration.from_record(json.loads(json.dumps(with_law.to_record()))).probability == LAW
    assert "probability" not in calibration(LADDER).to_record()
    assert asdict(LAW)["similarity"] == 20.0


def test_a_gallery_keeps_it(gallery):
    from tests.indexer.made_up_people import MODEL

    kept = replace(calibration(LADDER), probability=LAW, model_digest=MODEL.digest)
    gallery.save_calibrations([kept])
    assert gallery.calibrations()[0].probability == LAW
    assert not gallery.check(deep=True)
