"""LFW's protocol: pairs as published, thresholds from the other folds only."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.lfw_engine import half_of
from benchmarks.protocols.lfw import ProtocolError, best_threshold, read_pairs, ten_fold_accuracy


def test_the_official_list_has_ten_folds_of_300_and_300(shared: Path) -> None:
    pairs = read_pairs(shared / "data" / "lfw_pairs.txt")
    assert pairs.first[0] == "Abel_Pacheco/Abel_Pacheco_0001"
    assert pairs.second[0] == "Abel_Pacheco/Abel_Pacheco_0004"
    assert len(pairs.first) == 6000
    for fold in range(10):
        assert pairs.same[pairs.fold == fold].sum() == 300
        assert (~pairs.same[pairs.fold == fold]).sum() == 300


def test_a_line_that_is_no_pair_is_named(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("1\t1\nAnn\t1\t2\nAnn 1 Bob 1\n")
    with pytest.raises(ProtocolError, match="line 3"):
        read_pairs(tmp_path / "pairs.txt")
    (tmp_path / "pairs.txt").write_text("1\t2\nAnn\t1\t2\n")
    with pytest.raises(ProtocolError, match="1 pairs where 1 folds of 2 x 2"):
        read_pairs(tmp_path / "pairs.txt")


def test_accuracy_worked_out_by_hand() -> None:
    # Fold 0: mated 0.9, 0.2; other 0.1, 0.5. Fold 1: mated 0.8, 0.7; other 0.3, 0.4.
    scores = np.array([0.9, 0.2, 0.1, 0.5, 0.8, 0.7, 0.3, 0.4])
    same = np.array([True, True, False, False, True, True, False, False])
    fold = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    result = ten_fold_accuracy(scores, same, fold)
    # Fold 1 alone is parted best between 0.4 and 0.7: at 0.55 fold 0 has 0.9 and 0.1, 0.5 right, 0.2 wrong.
    # Fold 0 alone has 3 of 4 right between 0.5 and 0.9 and between 0.1 and 0.2: the mean of 0.7 and 0.15 is 0.425.
    assert result.thresholds == pytest.approx((0.55, 0.425))
    assert result.folds == (0.75, 1.0)
    assert result.accuracy == 0.875
    assert result.standard_error == pytest.approx(0.125)


def test_a_pair_without_a_score_counts_as_not_accepted() -> None:
    scores = np.array([-np.inf, 0.9, -np.inf, 0.1])
    same = np.array([True, True, False, False])
    assert ten_fold_accuracy(np.tile(scores, 2), np.tile(same, 2), np.repeat([0, 1], 4)).accuracy == 0.75


@given(st.lists(st.tuples(st.integers(-9, 9), st.booleans()), min_size=1, max_size=40))
def test_no_threshold_is_better_than_the_best(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score / 10 for score, _ in pairs])
    same = np.array([is_same for _, is_same in pairs])

    def right(threshold: float) -> int:
        return int(((scores >= threshold) == same).sum())

    grid = np.linspace(-1.05, 1.05, 43)  # between all scores that occur
    found = best_threshold(scores, same)
    tied = [t for t in grid if right(t) == max(map(right, grid))]
    assert min(tied) - 0.06 <= found <= max(tied) + 0.06


def test_the_halves_are_a_fixed_function_of_the_name() -> None:
    # The first bit of SHA-256("Aaron_Peirsol") and of SHA-256("Zach_Parise").
    import hashlib

    for name in ("Aaron_Peirsol", "Zach_Parise", "Gonzalo_Sánchez"):
        bits = bin(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big"))[2:].zfill(256)
        assert half_of(name) == "AB"[int(bits[0])]
