"""`faceid embed`: photos to a feature file that benchmarks read."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.faceid.cli.conftest import Run


def test_features_labels_and_paths_stand_side_by_side(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    target = tmp_path / "features.npz"
    outcome = run("embed", lfw_people, "-o", target, "--labels", "--model", "mobilefacenet", "--faces", "centre")
    assert outcome.code == 0
    with np.load(target, allow_pickle=False) as features:
        vectors, labels, paths = features["features"], features["labels"], features["paths"]
    assert vectors.shape == (36, 128)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert all(Path(path).parent.name == label for path, label in zip(paths, labels, strict=True))
    similarity = vectors @ vectors.T
    same = labels[:, None] == labels
    off_diagonal = ~np.eye(36, dtype=bool)
    assert similarity[same & off_diagonal].mean() > similarity[~same].mean() + 0.3


def test_a_broken_photo_does_not_stop_the_rest(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no photo")
    photo = next(lfw_people.glob("*/*.jpg"))
    settings = ("--model", "mobilefacenet", "--faces", "centre")
    outcome = run("embed", tmp_path / "broken.jpg", photo, "-o", tmp_path / "f.npz", *settings)
    assert outcome.code == 3
    assert "broken.jpg" in outcome.stderr
    with np.load(tmp_path / "f.npz", allow_pickle=False) as features:
        assert features["paths"].tolist() == [str(photo)]
        assert features["labels"].tolist() == [""]


def test_without_a_face_the_file_of_before_stays(run: Run, tmp_path: Path) -> None:
    (tmp_path / "f.npz").write_bytes(b"of an earlier run")
    (tmp_path / "photos").mkdir()
    (tmp_path / "broken.jpg").write_text("no photo")
    for photos in (tmp_path / "photos", tmp_path / "broken.jpg"):
        outcome = run("embed", photos, "-o", tmp_path / "f.npz", "--model", "mobilefacenet")
        assert (outcome.code, "f.npz was not written: no photo gave a face" in outcome.stderr) == (1, True)
    assert "broken.jpg: not a photo" in outcome.stderr
    assert (tmp_path / "f.npz").read_bytes() == b"of an earlier run"
    assert not (tmp_path / "f.npz.parts").exists()


def test_a_pipe_is_refused_before_any_photo_is_looked_at(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    outcome = run("embed", tmp_path / "nobody-looks.jpg", "-o", tmp_path / "pipe")
    assert outcome.code == 2
    assert "it is a pipe; give the path of a file" in " ".join(outcome.stderr.split())
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("command", [["embed"], ["benchmark", "features"]])
def test_a_photo_is_not_taken_for_the_file_to_write(run: Run, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(b"the only copy")
    outcome = run(*command, "-o", tmp_path / "a.jpg", tmp_path)  # as of `-o *.jpg`
    assert outcome.code == 2
    assert "does not end in .npz" in " ".join(outcome.stderr.split())
    assert (tmp_path / "a.jpg").read_bytes() == b"the only copy"


def test_a_link_leads_to_the_file_that_is_written(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    (tmp_path / "link.npz").symlink_to("real.npz")
    photo = next(lfw_people.glob("*/*.jpg"))
    settings = ("--model", "mobilefacenet", "--faces", "centre")
    outcome = run("embed", photo, "-o", tmp_path / "link.npz", *settings)
    assert outcome.code == 0
    assert (tmp_path / "link.npz").is_symlink()
    with np.load(tmp_path / "real.npz", allow_pickle=False) as features:
        assert features["paths"].tolist() == [str(photo)]
