"""The `.bin` sets: pairs in ten folds, embedded by whatever network is given."""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.formats.insightface_bin import ImagePairs
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.verification import verification

PAIRS = 600


def cosine_pairs(scores: np.ndarray, same: np.ndarray) -> tuple[ImagePairs, np.ndarray]:
    """Images that name themselves, and the features that give each pair its score."""
    rows = np.zeros((2 * len(scores), 2), np.float32)
    rows[0::2, 0] = 1
    rows[1::2] = np.stack([scores, np.sqrt(1 - scores**2)], axis=1)
    return ImagePairs(tuple(b"%d" % n for n in range(len(rows))), same), rows


def test_a_fold_with_one_wrong_pair_of_sixty() -> None:
    same = np.arange(PAIRS) % 2 == 0
    scores = np.where(same, 0.9, 0.1).astype(np.float32)
    scores[[0, 61]] = 0.1, 0.9  # a missed pair in the first fold, a false accept in the second
    pairs, rows = cosine_pairs(scores, same)
    asked = []

    def embed(images: Sequence[bytes]) -> np.ndarray:
        asked.append(len(images))
        return rows[[int(image) for image in images]]

    results = verification(pairs, embed, "lfw.bin")
    assert sum(asked) == 2 * PAIRS
    assert max(asked) <= 512
    for accuracy in results.accuracy:
        assert accuracy.folds == pytest.approx((59 / 60, 59 / 60, *[1.0] * 8)), accuracy.convention
        assert (accuracy.right.hits, accuracy.right.trials) == (598, 600)
        assert accuracy.right.ci95_clustered is None  # nobody knows whose images they are
    # FAR 0.01 of 300 strangers allows three: the threshold lies just above 0.1.
    (row,) = results.verification
    assert (row.false_accepts, row.impostor_trials, row.tar.hits, row.tar.trials) == (1, 300, 299, 300)
    assert row.tar.ci95_clustered is None
    assert results.notes == ("equal error rate 0.333 % at threshold 0.9000",)
    assert [refusal.needed for refusal in results.refusals] == [3000]
    assert (results.worst_errors[0].probe, results.worst_errors[0].other) == ("0", "1")


def test_pairs_that_ten_folds_do_not_share_evenly_are_cut_as_insightface_cuts_them() -> None:
    same = np.arange(23) % 2 == 0
    pairs, rows = cosine_pairs(np.where(same, 0.9, 0.1).astype(np.float32), same)
    rows[12] = np.nan  # pair 6, which is mated, is missed: the first of three in the third fold
    results = verification(pairs, lambda images: rows[[int(image) for image in images]], "own.bin")
    # scikit-learn's KFold: the first 23 % 10 folds have a pair more than the others.
    assert results.accuracy[0].folds == pytest.approx((1, 1, 2 / 3, *[1] * 7))


def test_an_image_that_cannot_be_read_makes_its_pair_not_accepted() -> None:
    same = np.arange(PAIRS) % 2 == 0
    pairs, rows = cosine_pairs(np.where(same, 0.9, 0.1).astype(np.float32), same)
    rows[[0, 2]] = np.nan  # of one mated and of one non-mated pair
    results = verification(pairs, lambda images: rows[[int(image) for image in images]], "lfw.bin")
    assert results.accuracy[0].folds[0] == pytest.approx(59 / 60)
    assert results.notes[0] == "2 images could not be read: their pairs count as not accepted"
    with pytest.raises(ProtocolError, match="none of the 1200 images"):
        verification(pairs, lambda images: np.full((len(images), 2), np.nan, np.float32), "lfw.bin")


def test_fewer_pairs_than_folds_are_an_error() -> None:
    pairs, rows = cosine_pairs(np.full(9, 0.5, np.float32), np.ones(9, bool))
    with pytest.raises(ProtocolError, match="9 pairs are too few"):
        verification(pairs, lambda images: rows, "lfw.bin")
