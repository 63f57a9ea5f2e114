"""Faces under the wrong name are found, and the list of them can be left out of a run."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from indexer.records import FloatMatrix
from tests.training.tiny_run import config, write_teacher
from training.commands import train
from training.data.faces import Ints, read_names
from training.errors import DataError
from training.research.label_noise import find_label_noise


def on_circle(*degrees: float) -> FloatMatrix:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def crowd(wrong: float) -> tuple[FloatMatrix, Ints, Ints]:
    """60 people with 12 photos each, some 35 degrees from their centre; a share has another person's name."""
    random = np.random.default_rng(0)
    truth = np.arange(60).repeat(12)
    embeddings = random.normal(size=(60, 64))[truth] + 0.7 * random.normal(size=(720, 64))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = truth.copy()
    changed = random.random(720) < wrong
    labels[changed] = (labels[changed] + random.integers(1, 60, changed.sum())) % 60
    return embeddings.astype(np.float32), labels, truth


def test_of_people_with_a_face_each_nobody_is_judged() -> None:
    with pytest.raises(DataError, match="two faces or more"):
        find_label_noise(on_circle(0, 90), np.array([0, 1]))


def test_angles_are_those_to_the_other_photos_of_the_person_and_to_the_nearest_other_person() -> None:
    noise = find_label_noise(on_circle(0, 20, 10, 90, 100), np.array([0, 0, 0, 1, 1]), limit=45)
    assert noise.own_angle == pytest.approx([15, 15, 0, 10, 10], abs=0.05)
    assert noise.nearest.tolist() == [1, 1, 1, 0, 0]
    assert noise.nearest_angle == pytest.approx([95, 75, 85, 80, 90], abs=0.05)
    assert not noise.suspect.any()


def test_a_face_among_other_people_is_a_suspect_and_spoils_no_centre() -> None:
    noise = find_label_noise(on_circle(0, 2, 4, 92, 90, 94, 88), np.array([0, 0, 0, 0, 1, 1, 1]), limit=40)
    assert noise.suspect.tolist() == [False, False, False, True, False, False, False]
    assert noise.own_angle[0] == pytest.approx(3, abs=1e-2)  # the suspect is not in its centre any more


def test_two_photos_that_disagree_are_both_suspects() -> None:
    noise = find_label_noise(on_circle(0, 120, 200, 202, 204), np.array([0, 0, 1, 1, 1]), limit=40)
    assert noise.suspect.tolist() == [True, True, False, False, False]


def test_someone_with_one_photo_is_not_judged() -> None:
    noise = find_label_noise(on_circle(0, 180, 182), np.array([0, 1, 1]))
    assert np.isnan(noise.own_angle[0])
    assert not noise.suspect[0]


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.3])
def test_shuffled_labels_are_found_and_few_right_ones_accused(wrong: float) -> None:
    embeddings, labels, truth = crowd(wrong)
    suspect = find_label_noise(embeddings, labels).suspect
    is_wrong = labels != truth
    assert suspect[~is_wrong].mean() < 0.02
    if wrong:
        assert suspect[is_wrong].mean() > 0.99


def test_the_command_lists_suspects_that_a_config_leaves_out(packs: Path, tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher.safetensors")
    config(packs, tmp_path)
    output = tmp_path / "suspects.txt"
    arguments = ["clean", str(tmp_path / "config.yaml"), "--model", str(teacher.path), "-o", str(output)]
    result = CliRunner().invoke(train, [*arguments, "--limit=-1"])
    assert result.exit_code == 0, result.output
    names = read_names(output)
    assert f"{len(names)} of 72 faces are suspects; limit -1.0 degrees" in result.stdout
    assert len(names) == 72
    assert all(name.startswith("person_") for name in names)
    assert "degrees from its own centre" in output.read_text()
