"""People are either enrolled and searched for, strangers, or cohort; and fusions are what their names say."""

import numpy as np

from benchmarks.measurements.identity_scores import OpenSetDraw, draw, fusions, table
from benchmarks.measurements.lfw_engine import half_of
from tests.benchmarks.metrics.test_extrapolation import feature_set


def people_with_photos(people=200, photos=5, dimension=32):
    random = np.random.default_rng(0)
    centres = np.repeat(random.standard_normal((people, dimension)), photos, axis=0)
    labels = np.repeat([f"p{number}" for number in range(people)], photos)
    everybody = feature_set(centres + 0.5 * random.standard_normal(centres.shape), labels)
    single = feature_set(random.standard_normal((300, dimension)), [f"s{number}" for number in range(300)])
    return feature_set(
        np.concatenate([everybody.features, single.features]), np.concatenate([everybody.labels, single.labels])
    )


def test_nobody_of_the_cohort_is_searched_for_and_no_search_is_a_template():
    people = people_with_photos()
    trial = draw(people, None, 3)
    enrolled_b = sum(half_of(f"p{number}") == "B" for number in range(200))
    singles_b = sum(half_of(f"s{number}") == "B" for number in range(300))
    assert trial.templates.shape == (enrolled_b, 3, 32)
    assert (trial.owners >= 0).sum() == 2 * enrolled_b
    assert (trial.owners < 0).sum() == singles_b
    assert len(trial.cohort) == 500 - enrolled_b - singles_b
    everything = np.concatenate([trial.templates.reshape(-1, 32), trial.searches, trial.cohort])
    assert len(np.unique(everything, axis=0)) == len(everything)


def test_fusions_by_hand():
    # Two templates at right angles; a search at 0.8 to the first and 0.6 to the second.
    templates = np.array([[[1, 0], [0, 1]]], np.float32)
    trial = OpenSetDraw(
        templates, np.array([[3.0, 1.0]]), np.array([[0.8, 0.6]], np.float32), np.array([0]), templates[0]
    )
    scores = {name: float(score(trial.searches)[0, 0]) for name, score in fusions(trial).items()}
    np.testing.assert_allclose(
        [scores["max"], scores["mean"], scores["mean of scores"], scores["top-2 mean"]],
        [0.8, 1.4 / 2**0.5, 0.7, 0.7],
        rtol=1e-6,
    )
    np.testing.assert_allclose(scores["mean, weighted by quality"], (0.8 * 3 + 0.6) / 10**0.5, rtol=1e-6)


def test_every_row_of_easy_people_is_without_a_miss():
    found = list(table(draw(people_with_photos(), None, 3)))
    assert {(row["fusion"], row["cohort"]) for row in found} >= {("max", "none"), ("mean", "s-norm, nearest 200")}
    raw = next(row for row in found if row["fusion"] == "mean" and row["cohort"] == "none")
    assert raw["rank-1"] == "100.00 %"
    assert raw["FNIR at FPIR 1%"].startswith("0.00 %")
