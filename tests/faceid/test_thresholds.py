"""Asked = got: what `--fpir` says holds for the gallery as it is, whatever was enrolled and whatever changed since.

People are drawn, a centre each and a direction of its own for each photo, so that a rate can be counted on thousands.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from faceid.engine import Features
from faceid.models import model_zoo
from faceid.models.model_file import Model, write_model
from faceid.probability import probability_law
from faceid.threshold_words import describe, threshold_line
from faceid.thresholds import (
    calibrate_gallery,
    calibrate_model_from_photos,
    gallery_rows,
    identification_threshold,
    verification_threshold,
)
from indexer.decision.context import LISTED, on_context
from indexer.decision.decision import user_threshold
from indexer.decision.match_probability import match_probability
from indexer.errors import CalibrationError, ModelMismatch
from indexer.fusion import DEFAULT_FUSION
from indexer.gallery import Gallery
from indexer.records import ModelBinding
from tests.faceid.models.test_model_file import WEIGHTS, spec
from tests.indexer.calibration.test_cohort import DIMENSION, people
from tests.indexer.made_up_people import photo, unit_vectors

FRESH, _ = people(6000, 1, 4321)
"""Strangers who set nothing: they count."""


@dataclass
class DrawnEngine:
    """Stands in for a FaceEngine: its photos are vectors already, its paths their numbers."""

    model: Model
    vectors: np.ndarray
    labels: list[str]
    detector_digest: str = "d" * 64
    pipeline: Any = field(default_factory=lambda: SimpleNamespace(embedder=SimpleNamespace(precision="float32")))

    def embed(self, photos: object, *, faces: str, each_once: bool = False) -> Features:
        paths = tuple(f"photos/{label}/{i}.jpg" for i, label in enumerate(self.labels))
        return Features(self.vectors, tuple(self.labels), paths, ())


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model without a cohort."""
    monkeypatch.setenv("FACEID_MODELS", str(tmp_path / "models"))
    return write_model(
        tmp_path / "models" / "drawn.safetensors", spec(name="drawn", dimension=DIMENSION, calibrations=()), WEIGHTS
    )


@pytest.fixture
def with_cohort(model: Model) -> Model:
    """The model with a cohort of 2,000 people, three photos of each."""
    calibrate_model_from_photos(DrawnEngine(model, *people(2000, 3, 50)), [], "drawn people", faces="largest")
    return model


def gallery_of(path: Path, model: Model, count: int, photos: int, fusion: Any = DEFAULT_FUSION) -> Gallery:
    gallery = Gallery.create(path, ModelBinding(model.spec.name, model.digest, DIMENSION), fusion)
    vectors, labels = people(count, max(photos, 20), 3)
    enrol(gallery, vectors, labels, range(photos))
    return gallery


def enrol(gallery: Gallery, vectors: np.ndarray, labels: list[str], photos: range) -> None:
    """Enrol these of the 20 photos that each person has."""
    chosen = [i for i in range(len(labels)) if i % 20 in photos]
    gallery.add([photo(labels[i], f"photo {i}", vector=vectors[i]) for i in chosen])


def got(gallery: Gallery, threshold: float) -> float:
    return float(np.mean([one.candidates[0].similarity >= threshold for one in gallery.search(FRESH, 1)]))


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["max", "mean"])
@pytest.mark.parametrize(("count", "photos"), [(8, 20), (40, 17), (24, 5), (100, 1)])
def test_fault_1_folders_of_many_photos_alarm_as_often_as_asked(
    with_cohort: Model, tmp_path: Path, fusion: str, count: int, photos: int
) -> None:
    with gallery_of(tmp_path / "g", with_cohort, count, photos, fusion) as gallery:
        for asked in (0.1, 0.01):
            threshold = identification_threshold(with_cohort, gallery, asked)
            low, high = threshold.ci95 or (1, 0)
            assert (threshold.measured, threshold.way, threshold.kind) == (True, "cohort", "gallery")
            assert low / 1.15 < got(gallery, threshold.value) < high * 1.15


def test_fault_1_without_a_cohort_it_is_refused_and_not_guessed(model: Model, tmp_path: Path) -> None:
    with (
        gallery_of(tmp_path / "g", model, 24, 5) as gallery,
        pytest.raises(CalibrationError, match=r"calibrate --strangers DIR.*models calibrate drawn --photos DIR"),
    ):
        identification_threshold(model, gallery, 0.1)


@pytest.mark.slow
def test_fault_2_a_calibration_knows_that_the_gallery_changed_and_goes_along(
    with_cohort: Model, tmp_path: Path
) -> None:
    with gallery_of(tmp_path / "g", with_cohort, 24, 1, "max") as gallery:
        engine: Any = DrawnEngine(with_cohort, *people(800, 1, 77))
        calibrate_gallery(engine, gallery, [], faces="largest")
        before = identification_threshold(with_cohort, gallery, 0.1)
        assert (before.way, before.measured) == ("strangers", True)
        assert 0.08 < got(gallery, before.value) < 0.125

        enrol(gallery, *people(24, 20, 3), range(1, 19))
        assert got(gallery, before.value) > 0.2, "the old threshold does not hold any more"
        after = identification_threshold(with_cohort, gallery, 0.1)
        assert (after.way, after.measured) == ("carried", False)
        low, high = after.ci95 or (1, 0)
        assert low < got(gallery, after.value) < high


def test_strangers_whose_photos_are_enrolled_measure_nothing(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gallery_of(tmp_path / "g", model, 24, 1) as gallery:
        engine: Any = DrawnEngine(model, *people(800, 1, 77))
        (own, *_) = gallery.templates()
        found = replace(engine.embed([], faces="largest"), digests=(b"x" * 32,) * 799 + (own.source_digest,))
        monkeypatch.setattr(engine, "embed", lambda photos, faces, each_once: found, raising=False)
        with pytest.raises(CalibrationError, match="1 of the 800 faces of strangers, such as that on photos/"):
            calibrate_gallery(engine, gallery, [], faces="largest")
        assert gallery.calibrations() == []
        gallery.remove(own.identity_id)  # somebody who has left is a stranger
        assert calibrate_gallery(engine, gallery, [], faces="largest").searches == 800


def test_people_who_are_enrolled_twice_are_no_pairs_of_different_people(model: Model, tmp_path: Path) -> None:
    with gallery_of(tmp_path / "g", model, 320, 1) as gallery:
        again, _ = people(320, 20, 3)
        gallery.add([photo(f"again {i}", f"again {i}", vector=again[20 * i]) for i in range(8)])
        engine: Any = DrawnEngine(model, *people(60, 1, 77))
        outcome = calibrate_gallery(engine, gallery, [], faces="largest")
        twice = {(one.first_id, one.second_id) for one in outcome.suspected_duplicates if one.similarity > 0.9}
        assert twice == {(1 + i, 321 + i) for i in range(8)}
        assert verification_threshold(model, gallery, 1e-4).value < 0.9


def test_fault_2_without_a_cohort_the_old_calibration_is_refused(model: Model, tmp_path: Path) -> None:
    with gallery_of(tmp_path / "g", model, 24, 1) as gallery:
        engine: Any = DrawnEngine(model, *people(800, 1, 77))
        calibrate_gallery(engine, gallery, [], faces="largest")
        assert identification_threshold(model, gallery, 0.1).way == "strangers"
        with pytest.raises(CalibrationError, match="nothing has been measured"):
            identification_threshold(model, gallery, 0.1, detector="another")
        (own,) = gallery_rows(model, gallery, [0.1], [], detector="d" * 64)
        (other,) = gallery_rows(model, gallery, [0.1], [], detector="another")
        assert (own["basis"], other["basis"]) == ("measured", "refused")
        enrol(gallery, *people(24, 20, 3), range(1, 3))
        with pytest.raises(CalibrationError, match="type `faceid calibrate"):
            identification_threshold(model, gallery, 0.1)


def test_strangers_that_are_kept_measure_the_gallery_whenever_it_changes(with_cohort: Model, tmp_path: Path) -> None:
    with gallery_of(tmp_path / "g", with_cohort, 24, 1, "max") as gallery:
        engine: Any = DrawnEngine(with_cohort, *people(800, 1, 77))
        calibrate_gallery(engine, gallery, [], faces="largest", keep_strangers=True)
        enrol(gallery, *people(24, 20, 3), range(1, 19))
        threshold = identification_threshold(with_cohort, gallery, 0.1)
        assert (threshold.way, threshold.measured, threshold.trials) == ("strangers", True, 800)
        low, high = threshold.ci95 or (1, 0)
        assert low < got(gallery, threshold.value) < high


def test_strangers_that_another_detector_found_are_kept_for_it_alone(model: Model, tmp_path: Path) -> None:
    with gallery_of(tmp_path / "g", model, 24, 1) as gallery:
        engine: Any = DrawnEngine(model, *people(800, 1, 77))
        calibrate_gallery(engine, gallery, [], faces="largest", keep_strangers=True)
        enrol(gallery, *people(24, 20, 3), range(1, 3))
        engine.detector_digest = "e" * 64
        with pytest.raises(CalibrationError, match="nothing has been measured"):
            identification_threshold(model, gallery, 0.1, detector=engine.detector_digest)
        calibrate_gallery(engine, gallery, [], faces="largest")  # without keeping any
        for detector, way in (("d" * 64, "strangers"), ("e" * 64, "strangers"), (None, "strangers")):
            assert identification_threshold(model, gallery, 0.1, detector=detector).way == way
        enrol(gallery, *people(24, 20, 3), range(3, 4))
        assert identification_threshold(model, gallery, 0.1, detector="d" * 64).measured
        with pytest.raises(CalibrationError, match="nothing has been measured"):
            identification_threshold(model, gallery, 0.1, detector="e" * 64)


@pytest.mark.parametrize("fusion", ["max", "mean"])
def test_who_is_enrolled_since_is_no_stranger_any_more(model: Model, tmp_path: Path, fusion: str) -> None:
    with gallery_of(tmp_path / "g", model, 24, 1, fusion) as gallery:
        engine: Any = DrawnEngine(model, *people(300, 2, 77))  # two photos of each
        calibrate_gallery(engine, gallery, [], faces="largest", keep_strangers=True)
        before = identification_threshold(model, gallery, 0.01)
        vectors, labels = engine.vectors, engine.labels
        hired = [photo(f"new {labels[i]}", f"photo of {i}", vector=vectors[i]) for i in range(0, 20, 2)]
        more = [photo(f"new {labels[i]}", f"more of {i}", vector=vectors[-i - 1]) for i in range(0, 20, 2)]
        gallery.add([*hired, *more])
        after = identification_threshold(model, gallery, 0.01)
        assert after.trials == 560, "twenty people, each with the other photo"
        assert after.data == "560 faces of strangers, kept (40 of people who are enrolled by now left out)"
        assert abs(after.value - before.value) < 0.1
        for identity in gallery.identities()[24:]:
            gallery.remove(identity.id)
        assert identification_threshold(model, gallery, 0.01).trials == 600


def test_too_few_strangers_for_a_rate_leave_it_to_the_cohort(with_cohort: Model, tmp_path: Path) -> None:
    with gallery_of(tmp_path / "g", with_cohort, 24, 1) as gallery:
        engine: Any = DrawnEngine(with_cohort, *people(60, 1, 77))
        calibrate_gallery(engine, gallery, [], faces="largest")
        assert identification_threshold(with_cohort, gallery, 0.1).way == "strangers"
        assert identification_threshold(with_cohort, gallery, 0.01).way == "cohort"


def test_fault_3_new_galleries_have_the_fusion_that_measured_best(model: Model, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", ModelBinding("drawn", model.digest, DIMENSION)) as gallery:
        assert gallery.fusion == DEFAULT_FUSION == "mean"


def test_fault_4_the_next_step_is_said_with_its_number(with_cohort: Model, tmp_path: Path) -> None:
    with gallery_of(tmp_path / "g", with_cohort, 24, 1) as gallery:
        line = threshold_line(with_cohort, gallery)
        assert "measured (this gallery, the model's cohort: 2,000 strangers" in line
        assert "300 photos of strangers" in line
        engine: Any = DrawnEngine(with_cohort, *people(800, 1, 77))
        calibrate_gallery(engine, gallery, [], faces="largest")
        assert "3,200 strangers' photos would halve the interval" in threshold_line(with_cohort, gallery)
        enrol(gallery, *people(24, 20, 3), range(1, 3))
        line = describe(identification_threshold(with_cohort, gallery, 0.1))
        assert "carried along by the model's cohort (800 faces of strangers, before the gallery changed)" in line


def test_the_next_step_after_strangers_that_are_kept_keeps_more_of_them(with_cohort: Model, tmp_path: Path) -> None:
    """More that are not kept would come behind those that are, and change nothing."""
    with gallery_of(tmp_path / "g", with_cohort, 24, 1) as gallery:
        engine: Any = DrawnEngine(with_cohort, *people(800, 1, 77))
        calibrate_gallery(engine, gallery, [], faces="largest", keep_strangers=True)
        assert "`faceid calibrate --strangers DIR --keep-strangers`" in threshold_line(with_cohort, gallery)


def test_all_of_them_is_a_hundred_percent_and_no_power_of_ten() -> None:
    every = replace(user_threshold(0.5), target_value=0.999, ci95=(0.001, 1.0), way="table")
    assert "95 % interval 0.1 % to 100 %" in describe(every)


def test_fault_5_a_probability_is_given_without_any_calibration(with_cohort: Model, tmp_path: Path) -> None:
    with gallery_of(tmp_path / "g", with_cohort, 24, 3) as gallery:
        law = probability_law(with_cohort, gallery, "d" * 64)
        assert law is not None
        own, _ = people(24, 20, 3)
        told = [match_probability(law, one.candidates[0].similarity, 0.0) for one in gallery.search(own[3::20], 1)]
        strange = [match_probability(law, one.candidates[0].similarity, 0.0) for one in gallery.search(FRESH[:200], 1)]
        assert np.mean(told) > 0.9
        assert np.mean(strange) < 0.2


def test_a_probability_that_was_fitted_under_another_fusion_is_not_told(model: Model, tmp_path: Path) -> None:
    with gallery_of(tmp_path / "g", model, 60, 3, "mean") as gallery:
        engine: Any = DrawnEngine(model, *people(60, 1, 77))
        calibrate_gallery(engine, gallery, [], faces="largest")
        law = probability_law(model, gallery, engine.detector_digest)
        assert law is not None
        gallery.set_fusion("max")
        assert probability_law(model, gallery, engine.detector_digest) is None
        gallery.set_fusion("mean")
        assert probability_law(model, gallery, engine.detector_digest) == law


def test_a_probability_that_was_fitted_with_another_detector_is_not_told(model: Model, tmp_path: Path) -> None:
    with gallery_of(tmp_path / "g", model, 60, 3) as gallery:
        engine: Any = DrawnEngine(model, *people(60, 1, 77))
        calibrate_gallery(engine, gallery, [], faces="largest")
        assert probability_law(model, gallery, engine.detector_digest) is not None
        assert probability_law(model, gallery, "e" * 64) is None


def test_fault_6_an_empty_gallery_says_that_nobody_is_enrolled(with_cohort: Model, tmp_path: Path) -> None:
    with (
        Gallery.create(tmp_path / "g", ModelBinding("drawn", with_cohort.digest, DIMENSION)) as gallery,
        pytest.raises(CalibrationError, match=r"nobody is enrolled in .*faceid enroll PEOPLE_DIR"),
    ):
        identification_threshold(with_cohort, gallery, 0.1)


def test_fault_7_the_binding_is_looked_at_before_any_calibration(model: Model, tmp_path: Path) -> None:
    with (
        Gallery.create(tmp_path / "g", ModelBinding("other", "e" * 64, DIMENSION)) as gallery,
        pytest.raises(ModelMismatch, match="bound to the model 'other'") as refused,
    ):
        identification_threshold(model, gallery, 0.1)
    assert refused.value.exit_code == 4


def test_several_photos_of_one_unknown_have_a_rate_of_their_own(with_cohort: Model, tmp_path: Path) -> None:
    with gallery_of(tmp_path / "g", with_cohort, 24, 2) as gallery:
        threshold = identification_threshold(with_cohort, gallery, 0.1, photos=3)
        fresh, _ = people(2000, 3, 999)
        together = fresh.reshape(2000, 3, -1).mean(axis=1)
        together /= np.linalg.norm(together, axis=1, keepdims=True)
        rate = np.mean([one.candidates[0].similarity >= threshold.value for one in gallery.search(together, 1)])
        low, high = threshold.ci95 or (1, 0)
        assert low / 1.15 < rate < high * 1.15


def test_one_photo_a_person_may_still_use_a_table_made_so(model: Model, tmp_path: Path) -> None:
    few: Any = DrawnEngine(model, *people(90, 1, 50))
    calibrate_model_from_photos(few, [], "drawn people", faces="largest")
    assert model_zoo.load_cohort(model) is None, "90 people are no cohort"
    with gallery_of(tmp_path / "g", model, 30, 1, "max") as gallery:
        assert identification_threshold(model, gallery, 0.1).way == "table"
        gallery.add([photo("p0", "another photo", vector=unit_vectors(1, DIMENSION, 8)[0])])
        with pytest.raises(CalibrationError):
            identification_threshold(model, gallery, 0.1)


@pytest.mark.slow
def test_a_decision_on_context_is_carried_along_by_scores_of_its_own(with_cohort: Model, tmp_path: Path) -> None:
    with gallery_of(tmp_path / "g", with_cohort, 24, 1, "max") as gallery:
        gallery.set_decided_on("context")
        engine: Any = DrawnEngine(with_cohort, *people(800, 1, 77))
        calibrate_gallery(engine, gallery, [], faces="largest")
        before = identification_threshold(with_cohort, gallery, 0.1)
        assert (before.way, before.on) == ("strangers", "context")
        enrol(gallery, *people(24, 20, 3), range(1, 19))
        after = identification_threshold(with_cohort, gallery, 0.1)
        assert (after.way, after.on) == ("carried", "context")
        found = gallery.search(FRESH, LISTED)
        adjusted = on_context(np.array([[one.similarity for one in each.candidates] for each in found], np.float32))
        low, high = after.ci95 or (1, 0)
        assert low < (adjusted >= after.value).mean() < high
        gallery.set_decided_on("similarity")
        assert identification_threshold(with_cohort, gallery, 0.1).way == "cohort", "that calibration does not count"


def test_a_handful_of_people_replace_no_table(model: Model) -> None:
    some: Any = DrawnEngine(model, *people(90, 1, 50))
    few: Any = DrawnEngine(model, *people(4, 1, 51))
    calibrate_model_from_photos(some, [], "drawn people", faces="largest")
    with pytest.raises(CalibrationError, match="4 people make 6 pairs to measure with, it takes 30"):
        calibrate_model_from_photos(few, [], "a handful", faces="largest")
    assert {one.data for one in model_zoo.load_calibrations(model)} == {"drawn people"}


def test_a_table_of_similarities_is_no_threshold_on_context(model: Model, tmp_path: Path) -> None:
    few: Any = DrawnEngine(model, *people(90, 1, 50))
    calibrate_model_from_photos(few, [], "drawn people", faces="largest")
    with gallery_of(tmp_path / "g", model, 30, 1, "max") as gallery:
        gallery.set_decided_on("context")
        with pytest.raises(CalibrationError, match="nothing has been measured"):
            identification_threshold(model, gallery, 0.1)
