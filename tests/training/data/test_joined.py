"""Labelled and unlabelled faces in one set: each is found at its place, and nobody is invented."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.tiny_run import SIDE
from training.data.faces import UNKNOWN, leave_out, mislabel, with_photos
from training.data.joined import Joined
from training.data.pack import Pack, read_packs


@pytest.fixture(scope="module")
def parts(packs: Path) -> tuple[Pack, Pack]:
    labelled, unlabelled = (read_packs([packs / f"{name}.tar"], side=SIDE) for name in ("training", "validation"))
    return labelled, unlabelled


def test_faces_are_read_and_named_from_the_set_they_lie_in(parts: tuple[Pack, Pack]) -> None:
    labelled, unlabelled = parts
    joined = Joined(labelled, unlabelled)
    first = len(labelled.labels)
    chosen = np.array([first + 4, 0, first, 5])
    expected = np.stack([unlabelled.images[4], labelled.images[0], unlabelled.images[0], labelled.images[5]])
    assert np.array_equal(joined.read(chosen), expected)
    assert [joined.name(int(index)) for index in chosen] == [
        unlabelled.name(4),
        labelled.name(0),
        unlabelled.name(0),
        labelled.name(5),
    ]
    assert sorted(joined.order(np.random.default_rng(1))) == list(range(first + len(unlabelled.labels)))


def test_the_unlabelled_are_of_nobody_and_stay_so_when_some_faces_are_left_out(parts: tuple[Pack, Pack]) -> None:
    labelled, unlabelled = parts
    joined = Joined(labelled, unlabelled)
    assert joined.identities == labelled.identities
    first_person = {labelled.name(index) for index in range(6)}
    rest = with_photos(leave_out(joined, first_person | {unlabelled.name(2)}), 6)
    assert rest.identities == labelled.identities[1:]
    assert (rest.labels == UNKNOWN).sum() == len(unlabelled.labels) - 1
    assert np.array_equal(rest.labels[rest.labels != UNKNOWN], labelled.labels[6:] - 1)


def test_shuffled_labels_leave_the_unlabelled_alone(parts: tuple[Pack, Pack]) -> None:
    labelled, unlabelled = parts
    noisy = mislabel(Joined(labelled, unlabelled), 1.0, seed=3)
    first = len(labelled.labels)
    assert (noisy.labels[first:] == UNKNOWN).all()
    assert np.array_equal(np.sort(noisy.labels[:first]), labelled.labels)
    assert not np.array_equal(noisy.labels[:first], labelled.labels)
