"""YouTube Faces: pairs of videos, each the mean of its frames."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.formats.ytf_splits import SplitsError, read_splits
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.ytf import video_templates, ytf
from faceid.feature_set import FeatureSet, feature_set

HEADINGS = "split number, pair number, first name, second name, is same?, is same\n"


def frames_of(**videos: list[list[float]]) -> FeatureSet:
    """Frames of videos named like Ann_1, unit vectors."""
    rows = np.array([frame for frames in videos.values() for frame in frames], np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    paths = [
        f"aligned/{video.replace('_', '/')}/frame.{number}.jpg"
        for video, frames in videos.items()
        for number in range(len(frames))
    ]
    return feature_set(rows, np.full(len(rows), ""), np.array(paths), Path("ytf.npz"))


def listed(folder: Path, *lines: str) -> Path:
    path = folder / "splits.txt"
    path.write_text(HEADINGS + "\n".join(lines) + "\n")
    return path


def test_a_list_with_and_without_further_columns(tmp_path: Path) -> None:
    pairs = read_splits(
        listed(tmp_path, "1, 1, Ann/0, Ann/3, 1, 1", "2, 2, Ann/0, Bob/1, 0", "", "2, 3, Bob/1, Bob/2, 1")
    )
    assert pairs.first == ("Ann/0", "Ann/0", "Bob/1")
    assert pairs.second == ("Ann/3", "Bob/1", "Bob/2")
    assert pairs.same.tolist() == [True, False, True]
    assert pairs.fold.tolist() == [0, 1, 1]


def test_a_list_without_headings_loses_no_pair(tmp_path: Path) -> None:
    path = listed(tmp_path, "1, 1, Ann/0, Ann/3, 1", "2, 2, Ann/0, Bob/1, 0")
    path.write_text("\ufeff" + path.read_text().removeprefix(HEADINGS), encoding="utf-8")
    assert read_splits(path).second == ("Ann/3", "Bob/1")


@pytest.mark.parametrize(
    "line",
    [
        "1, 1, Ann/0, Ann/3",
        "x, 1, Ann/0, Ann/3, 1",
        "1, 1, Ann/0, Ann/3, same",
        "0, 1, A/0, B/1, 1",
        f"{10**19}, 1, A/0, B/1, 1",
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(SplitsError, match="line 3"):
        read_splits(listed(tmp_path, "1, 1, Ann/0, Ann/3, 1", line))


def test_a_list_of_one_split_or_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SplitsError, match="1 splits"):
        read_splits(listed(tmp_path, "1, 1, Ann/0, Ann/3, 1"))
    with pytest.raises(SplitsError, match="cannot be read"):
        read_splits(tmp_path / "none.txt")


def test_a_template_is_the_mean_of_the_frames_of_unit_length() -> None:
    features = frames_of(Ann_0=[[1, 0], [0, 1]], Ann_1=[[3, 4]])
    templates, frames = video_templates(features, ["Ann/0", "Ann/1", "Bob/0"])
    assert templates[0] == pytest.approx([0.5**0.5, 0.5**0.5])
    assert templates[1] == pytest.approx([0.6, 0.8])
    assert np.isnan(templates[2]).all()
    assert frames == [2, 1, 0]


def test_four_pairs_worked_out_by_hand(tmp_path: Path) -> None:
    features = frames_of(
        Ann_0=[[1, 0], [0, 1]],  # at 45 degrees
        Ann_1=[[1, 1]],
        Bob_0=[[-1, 1]],
        Bob_1=[[-1, 0], [-1, 2]],
        Cy_0=[[0, 1]],
    )
    lines = ["1, 1, Ann/0, Ann/1, 1", "1, 2, Ann/0, Bob/0, 0", "2, 3, Bob/0, Bob/1, 1", "2, 4, Ann/1, Cy/0, 0"]
    results = ytf(features, read_splits(listed(tmp_path, *lines)), "net")
    # Cosines: Ann and Ann 1, Ann and Bob 0; Bob and Bob: (-1, 0) and (-1, 2)/sqrt 5 average to the direction
    # (-(1 + 0.4472), 0.8944), cosine 0.9732 with (-1, 1)/sqrt 2; Ann and Cy 0.7071.
    assert [error.similarity for error in results.worst_errors if error.kind == "missed"] == pytest.approx(
        [0.9732490, 1.0]
    )
    assert [error.similarity for error in results.worst_errors if error.kind == "false_accept"] == pytest.approx(
        [0.7071068, 0.0], abs=1e-6
    )
    # Fold 1's best threshold is 0.5: Cy is accepted; fold 2's lies between 0.7071 and 0.9732: fold 1 is all right.
    assert results.accuracy[0].folds == (1.0, 0.5)
    assert (results.accuracy[0].right.hits, results.accuracy[0].right.trials) == (3, 4)
    assert "7 frames" in results.conventions["template"]


def test_a_video_without_frames_is_counted_and_too_many_are_an_error(tmp_path: Path) -> None:
    features = frames_of(Ann_0=[[1, 0]], Ann_1=[[1, 0]], Bob_0=[[0, 1]])
    lines = ["1, 1, Ann/0, Ann/1, 1", "1, 2, Ann/0, Bob/0, 0", "2, 3, Ann/0, Ann/9, 1", "2, 4, Ann/1, Bob/0, 0"]
    results = ytf(features, read_splits(listed(tmp_path, *lines)), "net")
    assert results.accuracy[0].folds == (1.0, 0.5)
    assert results.notes[0] == "1 videos have no frame with a face: Ann/9"
    with pytest.raises(ProtocolError, match="3 of the 4 videos"):
        ytf(frames_of(Ann_0=[[1, 0]]), read_splits(listed(tmp_path, *lines)), "net")
