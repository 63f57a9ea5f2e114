"""The drawn examples of a review are what they are said to be, and the shipped network tells them from faces."""

import numpy as np
import pytest

from faceid.gallery_review import review_examples
from faceid.models.model_zoo import find_model
from faceid.models.review_crops import broken_crops, with_copies
from faceid.models.trial_crops import trial_crops


def test_they_are_the_same_every_time():
    assert (broken_crops(112, 96) == broken_crops(112, 96)).all()
    faces, copies = with_copies(trial_crops(112, 96))
    again = with_copies(trial_crops(112, 96))
    assert faces.shape == copies.shape
    assert (copies == again[1]).all()


def test_a_copy_is_nearly_its_photo():
    faces, copies = with_copies(trial_crops(112, 112))
    assert np.abs(faces.astype(int) - copies).mean() < 20
    assert (faces != copies).any(axis=(1, 2, 3)).all()


@pytest.mark.slow
def test_the_shipped_network_finds_broken_crops_alike_and_copies_the_same():
    examples = review_examples(find_model("sphereface"))
    assert examples.broken is not None
    assert examples.same_photo is not None
    broken = examples.broken.reshape(-1, examples.broken.shape[-1])
    alike = broken @ broken.T - 2 * np.eye(len(broken))
    assert np.median(alike.max(axis=1)) > 0.8
    assert np.median(examples.same_photo) > 0.8 > np.median(examples.own_scores["mean", 1])
