"""Targets as a file: the same directions as the teacher's own, found by the names of the faces."""

import io
import resource
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.training.tiny_run import SIDE, config, write_teacher
from tests.training.tiny_run import rows as rows_of
from training.checkpoint import read_checkpoint
from training.data.faces import leave_out
from training.data.opening import open_training
from training.data.pack import read_packs
from training.errors import ConfigError, DataError
from training.targets import FORMAT, make_targets, read_targets, write_targets
from training.teacher import teacher_embeddings
from training.trainer import CHECKPOINT, TRAINING_LOG, run


def test_targets_are_what_a_run_with_the_teacher_matches(packs: Path, tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher.safetensors")
    distill = {"teacher": str(teacher.path), "weight": 5, "components": 8}
    settings = config(packs, tmp_path, head=None, distill=distill, network=network())
    file = tmp_path / "targets.safetensors"
    assert make_targets(settings, file, io.StringIO()) == 72
    run(settings, tmp_path / "run", io.StringIO())
    faces = open_training(settings.data)
    rows = teacher_embeddings(str(teacher.path), faces, tmp_path, io.StringIO())
    aims = rows @ read_checkpoint(tmp_path / "run" / CHECKPOINT).distillation["axes"].numpy()
    cosines = (read_targets(file, faces) * aims).sum(1) / np.linalg.norm(aims, axis=1)
    assert cosines.min() > 0.9999


@pytest.mark.slow
def test_a_run_learns_from_targets_alone(packs: Path, tmp_path: Path) -> None:
    faces = read_packs([packs / "training.tar"], side=SIDE)
    of_people = np.random.default_rng(3).normal(size=(12, 8)).astype(np.float32)
    write_targets(tmp_path / "targets", faces, of_people[faces.labels], "teacher")
    distill = {"targets": str(tmp_path / "targets")}
    run(config(packs, tmp_path, head=None, distill=distill, network=network(), epochs=9), tmp_path, io.StringIO())
    losses = [float(row["loss"]) for row in rows_of(tmp_path / TRAINING_LOG)]
    assert losses[-1] < 0.7 * losses[0]


def test_targets_are_found_by_name_in_any_order_and_number(packs: Path, tmp_path: Path) -> None:
    faces = read_packs([packs / "training.tar"], side=SIDE)
    aims = np.random.default_rng(3).normal(size=(len(faces.labels), 16)).astype(np.float32)
    write_targets(tmp_path / "targets", faces, aims, "teacher")
    fewer = leave_out(faces, {faces.name(0), faces.name(7)})
    rows = read_targets(tmp_path / "targets", fewer)
    unit = aims[fewer.kept] / np.linalg.norm(aims[fewer.kept], axis=1, keepdims=True)
    assert (rows * unit).sum(1).min() > 0.9999


def test_a_face_without_a_target_is_named(packs: Path, tmp_path: Path) -> None:
    faces = read_packs([packs / "training.tar"], side=SIDE)
    fewer = leave_out(faces, {faces.name(3)})
    write_targets(tmp_path / "targets", fewer, np.ones((len(fewer.labels), 4), np.float32), "teacher")
    with pytest.raises(DataError, match=rf"no target for 1 of {len(faces.labels)} faces, '{faces.name(3)}' for one"):
        read_targets(tmp_path / "targets", faces)


@pytest.mark.parametrize(
    ("codes", "form", "text"),
    [
        (np.ones((72, 4), np.int8), "another", "holds no targets"),
        (np.ones((72, 4), np.float32), FORMAT, "do not match"),
        (np.ones((71, 4), np.int8), FORMAT, "do not match"),
        (np.zeros((72, 4), np.int8), FORMAT, "points nowhere"),
    ],
)
def test_a_file_that_is_something_else_is_refused(packs: Path, tmp_path: Path, codes, form: str, text: str) -> None:
    faces = read_packs([packs / "training.tar"], side=SIDE)
    good = tmp_path / "good"
    write_targets(good, faces, np.ones((72, 4), np.float32), "teacher")
    save_file({"codes": codes, "names": load_file(good)["names"]}, tmp_path / "bad", {"format": form})
    with pytest.raises(DataError, match=text):
        read_targets(tmp_path / "bad", faces)


@pytest.mark.parametrize("text", [b"", b"no safetensors"])
def test_a_torn_file_is_refused_by_name(packs: Path, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "torn").write_bytes(text)
    with pytest.raises(DataError, match=r"cannot read the targets .*torn"):
        read_targets(tmp_path / "torn", read_packs([packs / "training.tar"], side=SIDE))


def test_what_cannot_be_written_leaves_the_targets_of_before(packs: Path, tmp_path: Path) -> None:
    faces = read_packs([packs / "training.tar"], side=SIDE)
    path = tmp_path / "targets"
    path.write_bytes(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**12, hard))
    try:
        with pytest.raises(DataError, match="targets could not be written"):
            write_targets(path, faces, np.ones((len(faces.labels), 512), np.float32), "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"before"


def test_without_a_teacher_there_is_nothing_to_write(packs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"names no distill\.teacher"):
        make_targets(config(packs, tmp_path), tmp_path / "targets", io.StringIO())


def network() -> dict[str, object]:
    return {
        "name": "sphereface4",
        "arguments": {"input_size": [16, 16], "dimension": 8, "width": 0.125, "batch_norm": True},
    }
