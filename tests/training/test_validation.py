"""The figures that steer a run are right where the answer is known."""

import numpy as np
import pytest

from training.errors import DataError
from training.validation import _fnir, validate


def people(count: int, photos: int, noise: float, dimension: int = 64) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(count, dimension)).repeat(photos, 0)
    embeddings = centres + noise * random.normal(size=centres.shape)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings.astype(np.float32), np.arange(count).repeat(photos)


def test_people_far_apart_are_never_confused() -> None:
    figures = validate(*people(100, 8, noise=0.1))
    # A threshold of nine folds lies at their lowest mated pair, under which one of the tenth may fall.
    assert figures.accuracy > 0.999
    assert (figures.tar, figures.low_tar, figures.rank1, figures.fnir) == (1, 1, 1, 0)


def test_embeddings_that_say_nothing_do_as_well_as_chance() -> None:
    embeddings, labels = people(600, 4, noise=1000)
    figures = validate(embeddings, labels)
    assert figures.accuracy == pytest.approx(0.5, abs=0.03)
    assert figures.tar == pytest.approx(1e-3, abs=1e-3)
    assert figures.rank1 == pytest.approx(1 / 600, abs=2e-3)


def test_more_noise_lowers_every_figure() -> None:
    less, more = (validate(*people(100, 8, noise=noise)) for noise in (1.0, 2.0))
    assert more.accuracy < less.accuracy
    assert more.tar < less.tar
    assert more.rank1 < less.rank1
    assert more.low_tar < less.low_tar
    assert more.fnir > less.fnir
    assert less.is_better_than(more)
    assert not more.is_better_than(less)


@pytest.mark.parametrize("labels", [[0] * 8, list(range(8))], ids=["one person", "one photo each"])
def test_people_who_make_no_pairs_are_refused(labels: list[int]) -> None:
    with pytest.raises(DataError, match="two photos or more each"):
        validate(people(8, 1, noise=1.0)[0], np.array(labels))


def test_where_nobody_who_is_enrolled_has_another_photo_there_is_no_fnir() -> None:
    labels = np.array([0] + [1] * 400)
    assert np.isnan(validate(people(401, 1, noise=1.0)[0], labels).fnir)


def test_collapsed_embeddings_earn_nothing_at_a_low_far() -> None:
    """All similarities equal: accepting one accepts all, so TAR at FAR 1e-3 is 0, not 1."""
    labels = np.arange(20).repeat(5)
    assert validate(np.tile(np.eye(1, 8, dtype=np.float32), (100, 1)), labels).tar == 0


def test_the_order_of_the_photos_within_the_array_changes_tar_not_at_all() -> None:
    embeddings, labels = people(30, 6, noise=1.5)
    order = np.random.default_rng(3).permutation(len(labels))
    assert validate(embeddings[order], labels[order]).tar == pytest.approx(validate(embeddings, labels).tar, abs=1e-6)


def test_where_trials_are_too_few_for_a_rate_the_accuracy_decides() -> None:
    better, worse = (validate(*people(10, 4, noise=noise)) for noise in (0.5, 3.0))
    assert np.isnan([better.low_tar, better.fnir]).all()
    assert better.is_better_than(worse)
    assert "too few trials" in better.text()


def test_half_of_the_people_are_strangers_and_the_fnir_is_that_of_a_loop() -> None:
    embeddings, labels = people(80, 10, noise=2.0)
    random = np.random.default_rng(7)
    similarities = embeddings @ embeddings.T
    measured = _fnir(similarities, labels, np.random.default_rng(7))
    known = set(random.permutation(np.unique(labels))[:40])
    order = random.permutation(len(labels))
    enrolled = {label: next(i for i in order if labels[i] == label) for label in known}
    best: dict[bool, list[tuple[float, bool]]] = {True: [], False: []}
    for probe in set(range(len(labels))) - set(enrolled.values()):
        found = max(enrolled, key=lambda label: similarities[probe, enrolled[label]])
        best[labels[probe] in known].append((similarities[probe, enrolled[found]], found == labels[probe]))
    alarms = sorted((score for score, _ in best[False]), reverse=True)
    threshold = alarms[int(0.01 * len(alarms))]  # that many lie above it
    expected = np.mean([not right or score <= threshold for score, right in best[True]])
    assert measured == pytest.approx(expected, abs=0.01)
