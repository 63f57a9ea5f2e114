"""What the tables are made of is what a gallery's own searches give."""

import hashlib

import numpy as np
import pytest

from benchmarks.measurements.asked_and_got import how_alike, joined
from benchmarks.measurements.drawn_galleries import Pool, best_scores, clustered, draw, score
from indexer.calibration import self_measured
from indexer.calibration.cohort import make_cohort
from indexer.decision.intervals import wilson
from indexer.gallery import Gallery
from indexer.records import ModelBinding, NewTemplate
from tests.indexer.calibration.test_cohort import DIMENSION, people

VECTORS, _ = people(60, 6, 1)
POOL = Pool("drawn", VECTORS, tuple(np.arange(6 * one, 6 * one + 6) for one in range(60)))
MODEL = ModelBinding("drawn", "a" * 64, DIMENSION)


@pytest.fixture(params=["max", "mean"])
def both(tmp_path, request):
    """A drawn gallery and a real one of the same templates."""
    drawn = draw(POOL, 20, None, np.random.default_rng(2))
    owners = np.searchsorted(drawn.starts, np.arange(len(drawn.enrolled)), side="right") - 1
    with Gallery.create(tmp_path / "g", MODEL, request.param) as gallery:
        gallery.add(
            [
                NewTemplate(
                    f"{owner:02d}", None, VECTORS[row], "", hashlib.sha256(bytes([row // 256, row % 256])).digest(),
                    None, None, None, "float32",
                )
                for row, owner in zip(drawn.enrolled, owners, strict=True)
            ]
        )  # fmt: skip
        yield drawn, gallery


def test_scores_are_those_of_a_gallery(both):
    drawn, gallery = both
    queries = VECTORS[drawn.strangers]
    scores = score(drawn, queries, gallery.fusion)
    for answer, row in zip(gallery.search(queries, 20), scores, strict=True):
        found = {int(one.name): one.similarity for one in answer.candidates}
        assert np.allclose([found[person] for person in range(20)], row, atol=1e-6)


def test_the_enrolled_are_as_alike_as_a_gallery_finds(both):
    drawn, gallery = both
    vectors, labels = people(300, 1, 50)
    cohort = make_cohort(vectors, labels, model_digest=MODEL.digest, data="", date="", detector="")
    expected = self_measured.how_alike(gallery, cohort)
    found = how_alike(drawn, gallery.fusion, cohort.strangers)
    assert found.shift == pytest.approx(expected.shift, abs=1e-4)
    assert found.error == pytest.approx(expected.error, abs=1e-4)


@pytest.mark.parametrize(
    ("got", "counted", "said", "agrees"),
    [
        (0.13, (0.10, 0.16), (0.09, 0.11), True),
        (0.13, (0.12, 0.14), (0.095, 0.105), False),
        (0.13, (0.12, 0.14), (0.07, 0.13), True),
        (0.07, (0.06, 0.08), (0.09, 0.15), False),
        (0.07, (0.06, 0.08), (0.07, 0.10), True),
    ],
)
def test_a_rate_agrees_within_the_errors_of_both(got, counted, said, agrees):
    assert joined(got, counted, 0.1, said) == agrees


def test_the_best_two_are_averaged_where_there_are_two():
    drawn = draw(POOL, 10, 3, np.random.default_rng(0))
    queries = VECTORS[drawn.strangers[:40]]
    products = (queries @ VECTORS[drawn.enrolled].T).reshape(40, 10, 3)
    expected = np.sort(products, axis=2)[:, :, -2:].mean(axis=2)
    assert np.allclose(score(drawn, queries, "best two"), expected, atol=1e-6)
    assert np.allclose(best_scores(drawn, queries, "best two"), expected.max(axis=1), atol=1e-6)
    single = draw(POOL, 10, 1, np.random.default_rng(0))
    assert np.array_equal(score(single, queries, "best two"), score(single, queries, "max"))


def test_nobody_is_enrolled_and_a_stranger():
    drawn = draw(POOL, 20, 2, np.random.default_rng(5))
    assert not set(drawn.enrolled // 6) & set(drawn.strangers // 6)
    assert not set(drawn.enrolled) & set(drawn.probes)
    assert np.array_equal(drawn.probes // 6, (drawn.enrolled[drawn.starts] // 6)[drawn.probe_of])
    assert draw(POOL, 61, 2, np.random.default_rng(5)) is None


def test_an_interval_knows_that_photos_of_one_person_alarm_together():
    events = np.zeros(400, bool)
    events[:40] = True
    share, apart, _ = clustered(events, np.arange(400))
    assert share == 0.1
    assert np.allclose(apart, wilson(40, 400), atol=0.002)
    _, together, effective = clustered(events, np.arange(400) // 10)
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])
    assert effective < 60


def test_photos_that_enrolment_refuses_are_searched_and_no_templates():
    refused = np.zeros(len(VECTORS), bool)
    refused[:60] = True  # all photos of the first ten people
    refused[60::6] = True  # and the first of everybody else's
    pool = Pool("drawn", VECTORS, POOL.people, refused=refused)
    drawn = draw(pool, 30, 2, np.random.default_rng(2))
    assert not refused[drawn.enrolled].any()
    assert refused[drawn.strangers].any()
    share = np.isin(drawn.strangers, np.arange(60)).mean()
    assert share < 0.3, "who was refused before the thirtieth was enrolled is no stranger"
    assert draw(pool, 51, 2, np.random.default_rng(2)) is None
