"""What a step sees depends on the seed and the step alone, not on who prepares it."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.tiny_run import SIDE
from training.augment import Augmentation
from training.data.batches import Batches, stream
from training.data.faces import FaceSource, Selection
from training.data.pack import read_packs
from training.errors import DataError


@pytest.fixture(scope="module")
def faces(packs: Path) -> FaceSource:
    return read_packs([packs / "training.tar"], side=SIDE)


def batches(faces: FaceSource, *, size: int = 16, shares: int = 2, photos: int = 0, seed: int = 1) -> Batches:
    return Batches(
        faces,
        size=size,
        shares=shares,
        photos_per_identity=photos,
        input_size=(16, 16),
        augmentation=Augmentation(blur=0.5),
        seed=seed,
    )


def test_an_epoch_shows_every_face_but_the_last_few_once_and_the_next_in_another_order(faces: FaceSource) -> None:
    epochs = [np.concatenate([batches(faces).chosen(4 * epoch + step) for step in range(1, 5)]) for epoch in range(2)]
    assert [len(set(epoch)) for epoch in epochs] == [64, 64]
    assert not np.array_equal(*epochs)


def test_a_step_is_the_same_asked_first_or_last_and_another_with_another_seed(faces: FaceSource) -> None:
    one, other = batches(faces), batches(faces)
    for step in range(1, 8):
        one.chosen(step)
    assert np.array_equal(one.chosen(3), other.chosen(3))
    assert np.array_equal(one.crops(3, 1), other.crops(3, 1))
    assert not np.array_equal(one.chosen(3), batches(faces, seed=2).chosen(3))


def test_shares_together_are_the_batch(faces: FaceSource) -> None:
    plain = Augmentation(flip=0, shift=0)
    for shares in (1, 2, 3):
        drawn = Batches(
            faces, size=16, shares=shares, photos_per_identity=0, input_size=(16, 16), augmentation=plain, seed=1
        )
        parts = [drawn.crops(2, share) for share in range(shares)]
        assert sum(len(part) for part in parts) == 16
        whole = batches(faces, shares=1)
        assert np.array_equal(whole.chosen(2), drawn.chosen(2))


@pytest.mark.parametrize("workers", [0, 2])
def test_worker_processes_make_the_very_crops_that_the_trainer_would(faces: FaceSource, workers: int) -> None:
    drawn = batches(faces, shares=4)
    steps = range(3, 8)
    made = [[make() for make in shares] for shares in stream(drawn, steps, [2, 3], workers=workers, pin=False)]
    assert len(made) == 5
    for step, shares in zip(steps, made, strict=True):
        for share, crops in zip([2, 3], shares, strict=True):
            assert crops.dtype == np.uint8
            assert np.array_equal(crops, drawn.crops(step, share))


def test_a_batch_of_identities_has_so_many_photos_of_each(faces: FaceSource) -> None:
    for step in range(1, 10):
        chosen = batches(faces, photos=4).chosen(step)
        people, counts = np.unique(faces.labels[chosen], return_counts=True)
        assert len(people) == 4
        assert set(counts) == {4}
        assert len(set(chosen)) == 16  # everyone has six photos: none twice


def test_people_of_whom_no_face_is_among_some_of_the_faces_are_not_drawn(faces: FaceSource) -> None:
    kept = np.flatnonzero(faces.labels % 2 == 1)
    some = Selection(faces, kept, faces.labels[kept], faces.identities)
    for step in range(1, 10):
        assert len(np.unique(some.labels[batches(some, photos=4).chosen(step)])) == 4


def test_more_people_than_there_are_fill_no_batch(faces: FaceSource) -> None:
    with pytest.raises(DataError, match="shows 16 people, 1 photos of each; the faces show"):
        batches(faces, photos=1)


def test_someone_with_fewer_photos_shows_each_before_any_again(faces: FaceSource) -> None:
    chosen = batches(faces, photos=8).chosen(1)
    for person in set(faces.labels[chosen]):
        shown = chosen[faces.labels[chosen] == person]
        assert len(set(shown)) == 6
        assert len(shown) == 8
