"""What is foretold for a hundred times the distractors is what they then show, and the intervals are not wishful."""

import numpy as np
import pytest

from benchmarks.metrics.extrapolation import (
    GROUPS,
    ExtrapolationError,
    exceedance,
    extrapolate,
    fit_law,
    impostor_scores,
    mated_pairs,
    person_groups,
)
from faceid.feature_set import FeatureSet
from tests.indexer.decision.test_tail import cosines

DIMENSION = 64


def feature_set(features, labels):
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    labels = np.asarray(labels, dtype=np.str_)
    return FeatureSet(features, labels, labels, "0" * 64, "made up")


def probes_of(people, random, photos=4):
    centres = np.repeat(random.standard_normal((people, DIMENSION)), photos, axis=0)
    return feature_set(
        centres + 0.8 * random.standard_normal(centres.shape), np.repeat(np.arange(people), photos).astype(str)
    )


def strangers(count, random, spread=None):
    features = random.standard_normal((count, DIMENSION)) * (1 if spread is None else spread)
    return feature_set(features, np.full(count, ""))


def brute_force(probes, distractors, fpir):
    """Rank-1 over all ordered mated pairs, and the threshold that the share `fpir` of the best scores exceeds."""
    best = (probes.features @ distractors.features.T).max(axis=1)
    mated = mated_pairs(probes.features, probes.labels)
    return (mated.scores > best[mated.rows]).mean(), np.quantile(best, 1 - fpir)


def by_quantity(predictions):
    return {prediction.quantity: prediction for prediction in predictions}


def test_random_directions_have_the_exact_fpir_and_threshold():
    random = np.random.default_rng(0)
    law = cosines(DIMENSION)
    at = law.isf(1e-6)
    foretold = by_quantity(
        extrapolate(probes_of(300, random, photos=2), strangers(2000, random), [100_000], [0.01], [at])
    )
    threshold = foretold["threshold at FPIR 0.01"]
    assert threshold.value == pytest.approx(law.isf(1e-7), abs=0.03)
    assert threshold.ci95[0] < law.isf(1e-7) < threshold.ci95[1]
    fpir = foretold[f"FPIR at threshold {at:.4f}"]
    assert fpir.ci95[0] < 1 - np.exp(-0.1) < fpir.ci95[1]


def test_probes_that_differ_in_how_many_they_resemble_are_foretold_from_a_hundredth():
    # Distractors vary mostly along a few axes: probes along them meet high scores, others never do.
    random = np.random.default_rng(1)
    spread = np.geomspace(1.6, 0.5, DIMENSION)
    probes, crowd = probes_of(150, random), strangers(100_000, random, spread)
    seen = feature_set(crowd.features[:1000], crowd.labels[:1000])
    foretold = by_quantity(extrapolate(probes, seen, [100_000], [0.1]))
    rank1, threshold = brute_force(probes, crowd, 0.1)
    assert foretold["rank1"].value == pytest.approx(rank1, abs=0.04)
    assert foretold["threshold at FPIR 0.1"].value == pytest.approx(threshold, abs=0.03)
    assert foretold["rank1"].ci95[0] < rank1 < foretold["rank1"].ci95[1]
    for prediction in foretold.values():
        assert (prediction.method, prediction.fitted_on, prediction.measured) == ("tail", 1000, None)


def test_the_law_without_a_group_is_the_law_of_the_others():
    random = np.random.default_rng(2)
    probes, crowd = probes_of(30, random), strangers(1500, random)
    groups = person_groups(crowd.labels, "distractors")
    law = fit_law(impostor_scores(probes.features, crowd.features, groups), without=3)
    scores = np.arctanh(probes.features.astype(np.float64) @ crowd.features[groups != 3].astype(np.float64).T)
    np.testing.assert_allclose(law.location, scores.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(law.scale, scores.std(axis=1), rtol=1e-5)
    # Within the sample the law counts: half a per cent of the standardised scores lie above this one.
    standard = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    at = np.quantile(standard, 0.995)
    rows = np.arange(len(probes))
    np.testing.assert_allclose(exceedance(law, rows, np.tanh(law.location + at * law.scale)), 0.005, rtol=0.01)


def test_no_threshold_is_foretold_beyond_a_cosine_of_one():
    # Everybody resembles everybody: strangers score 0.8, and the best of ten million all but 1.
    random = np.random.default_rng(4)
    probes = feature_set(probes_of(60, random).features + 0.25, np.repeat(np.arange(60), 4).astype(str))
    crowd = feature_set(strangers(1000, random).features + 0.25, np.full(1000, ""))
    for prediction in extrapolate(probes, crowd, [10**7], [0.1, 0.001]):
        assert prediction.ci95[0] <= prediction.value <= prediction.ci95[1] < 1


def test_the_photos_of_one_person_stay_in_one_group_and_the_nameless_are_dealt_out_one_by_one():
    labels = np.array(["ann", "bob"] * 50 + [""] * 400 + [f"p{number}" for number in range(100)])
    groups = person_groups(labels, "distractors")
    assert len(set(groups[labels == "ann"])) == len(set(groups[labels == "bob"])) == 1
    assert set(groups[labels == ""]) == set(range(GROUPS))


def test_what_cannot_be_foretold_is_refused():
    random = np.random.default_rng(3)
    probes = probes_of(40, random)
    with pytest.raises(ExtrapolationError, match="at least 200"):
        extrapolate(probes, strangers(199, random), [1000])
    with pytest.raises(ExtrapolationError, match="100 of them are measured, not foretold"):
        extrapolate(probes, strangers(300, random), [100, 1000])
    with pytest.raises(ExtrapolationError, match="19 different people among the probes"):
        extrapolate(probes_of(19, random), strangers(300, random), [1000])
    with pytest.raises(ExtrapolationError, match="no mated pair"):
        extrapolate(probes_of(40, random, photos=1), strangers(300, random), [1000])


def test_photos_of_the_probes_among_the_distractors_leave_no_threshold_to_foretell():
    random = np.random.default_rng(3)
    probes, others = probes_of(40, random), strangers(400, random)
    both = np.concatenate([others.features, probes.features])
    with pytest.raises(ExtrapolationError, match="are photos of the probes among them"):
        extrapolate(probes, feature_set(both, [""] * len(both)), [1_000_000])
