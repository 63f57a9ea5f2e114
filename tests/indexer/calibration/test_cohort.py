"""A cohort keeps directions, not photos; people drawn from a law measure what the law says."""

import numpy as np
import pytest

from indexer.calibration import self_measured
from indexer.calibration.cohort import FEWEST_STRANGERS, MOST_STRANGERS, PHOTOS_A_PERSON, make_cohort
from indexer.calibration.likeness import Likeness
from indexer.calibration.own_scores import FEWEST_PEOPLE, own_scores
from indexer.calibration.self_measured import (
    how_alike,
    measure_with_cohort,
    probability_with_cohort,
    threshold_with_cohort,
)
from indexer.decision.decision import choose_threshold
from indexer.decision.match_probability import match_probability
from indexer.decision.mated_law import law_for
from indexer.errors import CalibrationError
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL, photo, unit_vectors

DIMENSION = 64


def people(count, photos, seed, likeness=1.2):
    """Photos of people: a centre each, and a direction of its own for each photo; [count * photos, DIMENSION]."""
    centres = np.repeat(unit_vectors(count, DIMENSION, seed), photos, axis=0)
    mixed = likeness * centres + unit_vectors(count * photos, DIMENSION, seed + 1)
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32), [
        f"p{i // photos}" for i in range(count * photos)
    ]


def cohort_of(count=2000, photos=1, seed=50, own=True):
    vectors, labels = people(count, photos, seed)
    known, known_labels = people(200, 6, seed + 7)
    laws = own_scores(known, known_labels, ("max", "mean")) if own else {}
    return make_cohort(
        vectors,
        labels,
        model_digest=MODEL.digest,
        data="drawn",
        date="2026-11-26",
        detector="none",
        own_scores=laws,
    )


def gallery_of(path, count, photos, seed, fusion="max"):
    vectors, labels = people(count, photos, seed)
    gallery = Gallery.create(path, type(MODEL)("made-up", MODEL.digest, DIMENSION), fusion)
    gallery.add([photo(label, f"{seed}-{i}", vector=vectors[i]) for i, label in enumerate(labels)])
    return gallery


def test_its_rows_point_where_the_embeddings_did():
    vectors, labels = people(300, 3, 1)
    cohort = make_cohort(vectors, labels, model_digest="a" * 64, data="d", date="2026-11-26", detector="x")
    order = np.argsort(labels, kind="stable")
    cosines = np.einsum("ij,ij->i", cohort.rows, vectors[order])
    assert cosines.min() > 0.9998
    assert np.allclose(np.linalg.norm(cohort.rows, axis=1), 1, atol=1e-6)
    assert cohort.codes.nbytes == len(vectors) * DIMENSION


def test_it_holds_some_people_of_many_and_some_photos_of_each():
    vectors, labels = people(MOST_STRANGERS + 50, 1, 1)
    cohort = make_cohort(vectors, labels, model_digest="a" * 64, data="d", date="2026-11-26", detector="x")
    assert len(cohort.strangers) == MOST_STRANGERS
    vectors, labels = people(FEWEST_STRANGERS, PHOTOS_A_PERSON + 3, 1)
    cohort = make_cohort(vectors, labels, model_digest="a" * 64, data="d", date="2026-11-26", detector="x")
    assert np.array_equal(np.bincount(cohort.persons), np.full(FEWEST_STRANGERS, PHOTOS_A_PERSON))


def test_a_group_is_the_direction_of_a_persons_mean():
    cohort = cohort_of(150, 3, own=False)
    means = cohort.rows.reshape(150, 3, -1)[:, :2].mean(axis=1)
    assert np.allclose(cohort.groups(2), means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-6)
    assert len(cohort.groups(4)) == 0


def test_too_few_people_are_no_cohort():
    vectors, labels = people(FEWEST_STRANGERS - 1, 1, 1)
    with pytest.raises(CalibrationError, match=r"99 people are too few"):
        make_cohort(vectors, labels, model_digest="a" * 64, data="d", date="2026-11-26", detector="x")


@pytest.mark.parametrize("fusion", ["max", "mean"])
@pytest.mark.parametrize(("count", "photos"), [(30, 1), (30, 12), (400, 2)])
def test_a_gallery_measured_with_it_alarms_as_often_as_asked(tmp_path, fusion, count, photos):
    with gallery_of(tmp_path / "g", count, photos, 3, fusion) as gallery:
        threshold = threshold_with_cohort(gallery, cohort_of(), 0.1)
        assert threshold.measured
        assert threshold.way == "cohort"
        fresh, _ = people(8000, 1, 900)
        alarms = np.mean([answer.candidates[0].similarity >= threshold.value for answer in gallery.search(fresh, 1)])
        low, high = threshold.ci95
        assert low - 0.01 < alarms < high + 0.01


def test_a_table_of_one_photo_a_person_would_not_have_held(tmp_path):
    with gallery_of(tmp_path / "one", 30, 1, 3) as one, gallery_of(tmp_path / "many", 30, 12, 3) as many:
        cohort = cohort_of()
        of_one = choose_threshold([measure_with_cohort(one, cohort)], "fpir", 0.1, 30, "gallery").value
        fresh, _ = people(4000, 1, 900)
        alarms = np.mean([answer.candidates[0].similarity >= of_one for answer in many.search(fresh, 1)])
        assert alarms > 0.2, "the fault that measuring the gallery itself mends"


def test_several_photos_of_one_unknown_have_a_threshold_of_their_own(tmp_path):
    with gallery_of(tmp_path / "g", 50, 2, 3) as gallery:
        threshold = threshold_with_cohort(gallery, cohort_of(1000, 3), 0.1, photos=3).value
        fresh, _ = people(3000, 3, 900)
        together = fresh.reshape(3000, 3, -1).mean(axis=1)
        together /= np.linalg.norm(together, axis=1, keepdims=True)
        rate = np.mean([one.candidates[0].similarity >= threshold for one in gallery.search(together, 1)])
        assert 0.07 < rate < 0.13


def test_a_large_gallery_asks_some_of_the_strangers_unless_the_rate_is_low(tmp_path, monkeypatch):
    monkeypatch.setattr(self_measured, "_MANY", 40)
    cohort = cohort_of(3000)
    with gallery_of(tmp_path / "g", 150, 2, 3) as gallery:
        usual, low = (threshold_with_cohort(gallery, cohort, rate) for rate in (0.01, 0.002))
        assert (usual.trials, low.trials) == (1000, 3000)
        everybody = choose_threshold([measure_with_cohort(gallery, cohort, rate=0.001)], "fpir", 0.1, 150, "gallery")
        assert threshold_with_cohort(gallery, cohort, 0.1).value == pytest.approx(everybody.value, abs=0.02)
    assert len(cohort_of(150).some_strangers) == 150


def test_nobody_enrolled_is_said(tmp_path):
    with (
        Gallery.create(tmp_path / "g", type(MODEL)("made-up", MODEL.digest, DIMENSION)) as gallery,
        pytest.raises(CalibrationError, match="nobody is enrolled"),
    ):
        measure_with_cohort(gallery, cohort_of())


@pytest.mark.parametrize("left", [1, 0])
def test_people_who_are_removed_while_a_gallery_measures_itself_are_no_error(tmp_path, monkeypatch, left):
    with gallery_of(tmp_path / "g", 2, 1, 3) as gallery:
        sample = gallery.sample

        def meanwhile(count):
            for person in gallery.identities()[left:]:
                gallery.remove(person.id)
            return sample(count)

        monkeypatch.setattr(gallery, "sample", meanwhile)
        assert how_alike(gallery, cohort_of(150, own=False)) == Likeness()


@pytest.mark.parametrize("photos", [1, 5])
def test_the_probability_is_what_it_says(tmp_path, photos):
    with gallery_of(tmp_path / "g", 300, photos + 1, 3) as gallery:
        embeddings = gallery.embeddings()
        held_out = np.flatnonzero(np.diff(embeddings.identity_ids, prepend=-1))
        probes, whose = embeddings.vectors[held_out], embeddings.identity_ids[held_out]
        gallery.remove_templates(embeddings.template_ids[held_out].tolist())
        law = probability_with_cohort(gallery, cohort_of())
        strangers, _ = people(300, 1, 900)
        told, right = [], []
        for vectors, expected in ((probes, whose), (strangers, np.full(300, -1))):
            for answer, person in zip(gallery.search(vectors, 1), expected, strict=True):
                told.append(match_probability(law, answer.candidates[0].similarity, 0.0))
                right.append(answer.candidates[0].id == person)
        told, right = np.array(told), np.array(right)
        for low in np.arange(0, 1, 0.2):
            here = (told >= low) & (told < low + 0.2)
            if here.sum() >= 40:
                assert abs(told[here].mean() - right[here].mean()) < 0.15


@pytest.mark.parametrize("together", [2, 3])
def test_the_probability_of_several_photos_together_is_what_it_says(tmp_path, together):
    with gallery_of(tmp_path / "g", 200, 2, 3) as gallery:
        law = probability_with_cohort(gallery, cohort_of(1500, 5), together)
        centres = np.repeat(unit_vectors(200, DIMENSION, 3), together, axis=0)
        mixed = 1.2 * centres + unit_vectors(200 * together, DIMENSION, 77)
        probes = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).reshape(200, together, -1).mean(axis=1)
        fresh = people(400, together, 900)[0].reshape(400, together, -1).mean(axis=1)
        queries = np.concatenate([probes, fresh])
        queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
        best = [answer.candidates[0] for answer in gallery.search(queries, 1)]
        expected = [one.id for one in gallery.identities()] + [-1] * 400
        told = np.array([match_probability(law, one.similarity, 0.0) for one in best])
        right = np.array([one.id == person for one, person in zip(best, expected, strict=True)])
        weights = np.where(np.arange(600) < 200, 2.0, 1.0)  # even odds
        assert np.average((told - right) ** 2, weights=weights) < 0.05
        assert abs(np.average(told - right, weights=weights)) < 0.05


def test_nobody_with_several_photos_gives_no_probability_together(tmp_path):
    with gallery_of(tmp_path / "g", 30, 1, 3) as gallery:
        assert probability_with_cohort(gallery, cohort_of(150, 1), 2) is None


def test_without_mated_scores_there_is_no_probability(tmp_path):
    with gallery_of(tmp_path / "g", 30, 1, 3) as gallery:
        assert probability_with_cohort(gallery, cohort_of(own=False)) is None


def test_the_law_of_own_scores_is_that_of_held_out_photos():
    vectors, labels = people(400, 3, 1)
    laws = own_scores(vectors, labels, ("max", "mean"))
    assert set(laws) == {("max", 1), ("mean", 1), ("max", 2), ("mean", 2)}
    fresh, _ = people(3000, 2, 77)
    pairs = np.einsum("ij,ij->i", fresh[::2], fresh[1::2])
    assert np.allclose(laws["max", 1][[25, 50, 75]], np.quantile(pairs, [0.25, 0.5, 0.75]), atol=0.03)
    assert np.allclose(laws["max", 1], laws["mean", 1], atol=1e-6)
    assert law_for(laws, "max", 40) is laws["max", 2]
    assert law_for(laws, "best two", 1) is None


def test_a_law_needs_people():
    vectors, labels = people(FEWEST_PEOPLE - 1, 3, 1)
    assert own_scores(vectors, labels, ("max",)) == {}


def test_people_who_are_alike_raise_the_threshold(tmp_path):
    """They share a direction that the cohort lacks; so do the strangers whom they meet."""
    common = unit_vectors(1, DIMENSION, 8)[0]

    def alike(count, photos, seed):
        vectors, labels = people(count, photos, seed)
        mixed = vectors + 0.35 * common
        return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32), labels

    vectors, labels = alike(60, 3, 3)
    with Gallery.create(tmp_path / "g", type(MODEL)("made-up", MODEL.digest, DIMENSION)) as gallery:
        gallery.add([photo(label, str(i), vector=vectors[i]) for i, label in enumerate(labels)])
        cohort = cohort_of()
        assert how_alike(gallery, cohort).shift > 0.3
        strangers, _ = alike(4000, 1, 900)
        threshold = threshold_with_cohort(gallery, cohort, 0.1)
        assert "as alike as your people" in threshold.data
        best = np.array([answer.candidates[0].similarity for answer in gallery.search(strangers, 1)])
        plain = np.quantile(gallery.ask_cohort(cohort.strangers, cohort.key).scores, 0.9)
        assert (best >= plain).mean() > 0.2
        assert threshold.ci95[0] < (best >= threshold.value).mean() < threshold.ci95[1] < 0.2


def test_people_like_the_cohort_leave_it_nearly_as_it_is(tmp_path):
    with gallery_of(tmp_path / "g", 400, 3, 3) as gallery:
        assert how_alike(gallery, cohort_of()).shift < 0.1


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_people_say_nothing_of_their_kind(tmp_path, count):
    with gallery_of(tmp_path / "few", count, 3, 3) as gallery:
        known = how_alike(gallery, cohort_of())
        assert known.error > 0.17
        assert known.shift < 0.25


def test_a_small_gallery_knows_less_than_a_large_one(tmp_path):
    cohort = cohort_of()
    with gallery_of(tmp_path / "small", 8, 3, 3) as small, gallery_of(tmp_path / "large", 200, 3, 3) as large:
        widths = [np.ptp(threshold_with_cohort(one, cohort, 0.1).ci95) for one in (small, large)]
    assert widths[0] > 1.3 * widths[1]
