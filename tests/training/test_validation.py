"""The figures that steer a run are right where the answer is known."""

import numpy as np
import pytest

from training.validation import validate


def people(count: int, photos: int, noise: float, dimension: int = 64) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(count, dimension)).repeat(photos, 0)
    embeddings = centres + noise * random.normal(size=centres.shape)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings.astype(np.float32), np.arange(count).repeat(photos)


def test_people_far_apart_are_never_confused() -> None:
    figures = validate(*people(50, 8, noise=0.1))
    # A threshold of nine folds lies at their lowest mated pair, under which one of the tenth may fall.
    assert figures.accuracy > 0.999
    assert (figures.tar, figures.rank1) == (1, 1)


def test_embeddings_that_say_nothing_do_as_well_as_chance() -> None:
    embeddings, labels = people(600, 4, noise=1000)
    figures = validate(embeddings, labels)
    assert figures.accuracy == pytest.approx(0.5, abs=0.03)
    assert figures.tar == pytest.approx(1e-3, abs=1e-3)
    assert figures.rank1 == pytest.approx(1 / 600, abs=2e-3)


def test_more_noise_lowers_every_figure() -> None:
    less, more = (validate(*people(50, 8, noise=noise)) for noise in (1.0, 2.0))
    assert more.accuracy < less.accuracy
    assert more.tar < less.tar
    assert more.rank1 < less.rank1


def test_collapsed_embeddings_earn_nothing_at_a_low_far() -> None:
    """All similarities equal: accepting one accepts all, so TAR at FAR 1e-3 is 0, not 1."""
    labels = np.arange(20).repeat(5)
    assert validate(np.tile(np.eye(1, 8, dtype=np.float32), (100, 1)), labels).tar == 0


def test_the_order_of_the_photos_within_the_array_changes_tar_not_at_all() -> None:
    embeddings, labels = people(30, 6, noise=1.5)
    order = np.random.default_rng(3).permutation(len(labels))
    assert validate(embeddings[order], labels[order]).tar == pytest.approx(validate(embeddings, labels).tar, abs=1e-6)
