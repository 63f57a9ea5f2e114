"""LFW's protocol: pairs as published, thresholds from the other folds only."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.measurements.lfw_engine import half_of
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.lfw import lfw, read_pairs
from faceid.feature_set import FeatureSet, feature_set


def test_the_official_list_has_ten_folds_of_300_and_300(shared: Path) -> None:
    pairs = read_pairs(shared / "data" / "lfw_pairs.txt")
    assert pairs.first[0] == "Abel_Pacheco/Abel_Pacheco_0001"
    assert pairs.second[0] == "Abel_Pacheco/Abel_Pacheco_0004"
    assert len(pairs.first) == 6000
    for fold in range(10):
        assert pairs.same[pairs.fold == fold].sum() == 300
        assert (~pairs.same[pairs.fold == fold]).sum() == 300


def test_a_line_that_is_no_pair_is_named(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("2\t1\nAnn\t1\t2\nAnn one Bob 1\n" + "Ann\t1\t2\n" * 2)
    with pytest.raises(ProtocolError, match="line 3"):
        read_pairs(tmp_path / "pairs.txt")
    (tmp_path / "pairs.txt").write_text("2\t2\nAnn\t1\t2\n")
    with pytest.raises(ProtocolError, match="1 pairs where 2 folds of 2 x 2"):
        read_pairs(tmp_path / "pairs.txt")


USUAL = "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\nBob\t1\t2\nAnn\t2\tCy\t1\n"


@pytest.mark.parametrize(
    "text",
    [
        USUAL.replace("\t", " "),
        USUAL.replace("\t", "   "),
        USUAL.replace("\t", " \t "),
        USUAL.replace("\n", "\t\n"),
        USUAL.replace("\n", "\t\t \n"),
        USUAL.replace("\n", "\r\n"),
        USUAL + "\n\n  \n\t\n",
        "\n" + USUAL,
        USUAL.replace("\n", "\n\n"),
        "\ufeff" + USUAL,
        USUAL.rstrip("\n"),
        USUAL.replace("Ann\t1\t2", "Ann\t0001\t0002"),
    ],
)
def test_blanks_and_empty_lines_mean_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "usual.txt").write_text(USUAL)
    (tmp_path / "pairs.txt").write_text(text, encoding="utf-8", newline="")
    usual, pairs = (read_pairs(tmp_path / name) for name in ("usual.txt", "pairs.txt"))
    assert (pairs.first, pairs.second, pairs.same.tolist()) == (usual.first, usual.second, usual.same.tolist())


def test_a_name_with_blanks_is_one_name_between_tabs(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(USUAL.replace("Bob", "Bob Lee"))
    assert read_pairs(tmp_path / "pairs.txt").second[1] == "Bob Lee/Bob Lee_0001"


@pytest.mark.parametrize("text", ["0\t0\n", "1\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\n", "-2\t-1\n" + "Ann\t1\t2\n" * 4])
def test_without_other_folds_there_is_no_threshold_and_the_list_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(ProtocolError, match="at least two folds"):
        read_pairs(tmp_path / "pairs.txt")


def features_of(vectors: dict[str, list[float]]) -> FeatureSet:
    rows = np.array(list(vectors.values()), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    paths = np.array([f"photos/{name[:-5]}/{name}.jpg" for name in vectors])
    return feature_set(rows, np.full(len(rows), ""), paths, Path("lfw.npz"))


def test_two_folds_worked_out_by_hand(tmp_path: Path) -> None:
    # Fold 1: Ann's photos agree (cosine 0.8), Ann and Bob do not (0). Fold 2: Bob's agree (0.6), but Cy looks like Ann
    # (0.96), and Dan has no feature, so his pair is not accepted.
    (tmp_path / "pairs.txt").write_text("2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\nBob\t1\t2\nAnn\t2\tCy\t1\n")
    features = features_of(
        {
            "Ann_0001": [1, 0],
            "Ann_0002": [0.8, 0.6],
            "Bob_0001": [0, 1],
            "Bob_0002": [-0.8, 0.6],
            "Cy_0001": [0.936, 0.352],
        }
    )
    results = lfw(features, read_pairs(tmp_path / "pairs.txt"), "net")
    exact = results.accuracy[0]
    assert exact.convention.startswith("exact")
    # Fold 1 is scored at a threshold of fold 2, where accepting all or nothing is best. The later of the two is taken,
    # above 0.96, at which Ann's pair is missed. Fold 2 is scored at fold 1's threshold, half way from 0 to 0.8: Bob's
    # pair is right, Cy is accepted.
    assert exact.folds == (0.5, 0.5)
    assert (exact.right.hits, exact.right.trials, exact.right.ci95_clustered) == (2, 4, None)  # three people
    assert [one.convention.split(":")[0] for one in results.accuracy] == [
        "exact",
        "SphereFace",
        "insightface",
        "opensphere",
    ]
    assert {refusal.needed for refusal in results.refusals} == {300, 3000}
    missed, accepted = results.worst_errors[0], next(e for e in results.worst_errors if e.kind == "false_accept")
    assert (missed.kind, missed.probe, missed.similarity) == ("missed", "photos/Bob/Bob_0001.jpg", pytest.approx(0.6))
    assert accepted.other == "photos/Cy/Cy_0001.jpg"


def test_a_photo_without_a_feature_is_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\nAnn\t2\t3\nAnn\t2\tBob\t1\n")
    features = features_of({"Ann_0001": [1, 0], "Ann_0002": [1, 0.1], "Bob_0001": [0, 1]})
    results = lfw(features, read_pairs(tmp_path / "pairs.txt"), "net")
    assert results.accuracy[0].folds == (1.0, 0.5)  # Ann 2 and 3 are not accepted
    assert results.notes[0] == "1 photos have no feature (no face found): Ann/Ann_0003"
    with pytest.raises(ProtocolError, match="3 of the 4 photos"):
        lfw(features_of({"Ann_0001": [1, 0]}), read_pairs(tmp_path / "pairs.txt"), "net")


def test_pairs_that_are_listed_twice_and_photos_with_themselves_are_said(tmp_path: Path) -> None:
    pairs = "2\t2\nAnn\t1\t2\nAnn\t1\t1\nAnn\t1\tBob\t1\nAnn\t2\tBob\t1\n"
    (tmp_path / "pairs.txt").write_text(pairs + "Ann\t2\t1\nBob\t1\t2\nBob\t1\tAnn\t1\nAnn\t2\tBob\t2\n")
    features = features_of({"Ann_0001": [1, 0], "Ann_0002": [1, 0.1], "Bob_0001": [0, 1], "Bob_0002": [0.1, 1]})
    results = lfw(features, read_pairs(tmp_path / "pairs.txt"), "net")
    assert results.notes[:2] == (
        "2 pairs are listed once more: each counts as often as it is listed",
        "1 pair is of one photo with itself, which any threshold accepts",
    )


def test_the_halves_are_a_fixed_function_of_the_name() -> None:
    # The first bit of SHA-256("Aaron_Peirsol") and of SHA-256("Zach_Parise").
    import hashlib

    for name in ("Aaron_Peirsol", "Zach_Parise", "Gonzalo_Sánchez"):
        bits = bin(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big"))[2:].zfill(256)
        assert half_of(name) == "AB"[int(bits[0])]
