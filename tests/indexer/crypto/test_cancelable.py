"""The rotation of a gallery: orthogonal, the same wherever it is made, another for each key and each gallery."""

from pathlib import Path

import numpy as np
import pytest

from indexer.crypto.cancelable import LARGEST, Turning, new_turning, turning_of
from indexer.crypto.keys import KeyVariable
from indexer.errors import GalleryError, KeyMissing, VectorError, WrongKey
from indexer.records import Turn
from indexer.search.scores import canonical_scores
from tests.indexer.made_up_people import unit_vectors

HERE = Path("staff")
MARK = Turn("0" * 16, b"s" * 16)


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("ONE", "01" * 32)
    monkeypatch.setenv("OTHER", "02" * 32)
    return KeyVariable("ONE")


@pytest.mark.parametrize("dimension", [1, 2, 16, 512])
def test_it_is_orthogonal_and_not_the_identity(dimension):
    matrix = Turning(MARK, b"secret").matrix(dimension)
    assert np.abs(matrix @ matrix.T - np.eye(dimension)).max() < 1e-12
    assert dimension == 1 or np.abs(matrix - np.eye(dimension)).max() > 0.1


def test_it_is_drawn_from_all_rotations_alike():
    first = np.array([Turning(MARK, bytes([n])).matrix(3)[:, 0] for n in range(250)])
    assert np.abs(first.mean(axis=0)).max() < 4 / np.sqrt(3 * 250)
    assert np.abs(first.T @ first / 250 - np.eye(3) / 3).max() < 0.1


def test_the_same_secret_makes_the_same_rotation_for_good():
    golden = [[0.689044, -0.724719], [-0.724719, -0.689044]]
    assert np.round(Turning(MARK, b"secret").matrix(2), 6).tolist() == golden


@pytest.mark.slow
def test_scores_are_the_plain_ones_within_the_rounding_of_float32():
    vectors = unit_vectors(400, 512)
    plain = canonical_scores(vectors[:, None], vectors[None])
    turned = Turning(MARK, b"secret").turned(vectors)
    assert np.abs(canonical_scores(turned[:, None], turned[None]) - plain).max() < 2e-7
    back = Turning(MARK, b"secret").turned_back(turned)
    assert np.abs(back - vectors).max() < 1e-7


def test_a_vector_is_turned_alike_in_whatever_batch():
    vectors, turning = unit_vectors(300, 128), Turning(MARK, b"secret")
    together = turning.turned(vectors)
    assert np.array_equal(together, np.concatenate([turning.turned(one[None]) for one in vectors]))


def test_turning_on_is_turning_back_and_turning_anew():
    vectors, one, other = unit_vectors(50, 64), Turning(MARK, b"one"), Turning(MARK, b"other")
    assert np.abs(other.turned_on(one.turned(vectors), one) - other.turned(vectors)).max() < 2e-7
    assert np.array_equal(other.turned_on(vectors, None), other.turned(vectors))


def test_two_galleries_of_one_key_are_turned_differently(key):
    one, other = new_turning(HERE, key), new_turning(HERE, key)
    assert one.mark.key_id == other.mark.key_id
    assert np.abs(one.matrix(16) - other.matrix(16)).max() > 0.1
    assert np.array_equal(turning_of(HERE, one.mark, key).matrix(16), one.matrix(16))


def test_without_its_key_or_with_another_one_it_is_refused(key):
    mark = new_turning(HERE, key).mark
    with pytest.raises(KeyMissing, match=f"turned by the key {mark.key_id}: say where that key is"):
        turning_of(HERE, mark, None)
    with pytest.raises(WrongKey, match=f"turned by the key {mark.key_id}, and the key at hand is"):
        turning_of(HERE, mark, KeyVariable("OTHER"))
    with pytest.raises(GalleryError, match="lie as the model gave them"):
        turning_of(HERE, None, key)
    assert turning_of(HERE, None, None) is None


def test_vectors_that_are_far_too_long_are_refused():
    with pytest.raises(VectorError, match=f"{LARGEST + 1} numbers are not turned"):
        Turning(MARK, b"secret").matrix(LARGEST + 1)


def test_its_secret_is_not_shown():
    assert "secret" not in repr(Turning(MARK, b"secret"))
