"""What the teacher makes of the faces: right, computed once, and taken up again after a kill."""

import io
from pathlib import Path

import numpy as np
import pytest

from faceid.models.embedding import Embedder
from tests.training.tiny_run import SIDE, write_teacher
from training.augment import centre_crops
from training.data.faces import leave_out
from training.data.joined import Joined
from training.data.pack import read_packs
from training.errors import ConfigError
from training.teacher import teacher_embeddings


def test_the_target_is_the_mean_direction_of_the_face_and_its_mirror_image(packs: Path, tmp_path: Path) -> None:
    model = write_teacher(tmp_path / "teacher.safetensors")
    faces = read_packs([packs / "validation.tar"], side=SIDE)
    targets = teacher_embeddings(str(model.path), faces, tmp_path / "cache", io.StringIO())
    embedder = Embedder(model)
    crops = centre_crops(faces.images, (32, 32))
    both = embedder.embed(crops) + embedder.embed(crops[:, :, ::-1].copy())
    cosines = (targets * both).sum(1) / np.linalg.norm(both, axis=1)
    assert cosines.min() > 0.999  # the teacher may have run in bfloat16
    assert np.linalg.norm(targets, axis=1) == pytest.approx(np.ones(len(targets)), abs=1e-5)


def test_the_teacher_runs_once_for_the_same_faces_and_again_for_others(packs: Path, tmp_path: Path) -> None:
    model = write_teacher(tmp_path / "teacher.safetensors")
    cache = tmp_path / "cache"
    said = []
    for names in (["validation"], ["validation"], ["training"]):
        stream = io.StringIO()
        faces = read_packs([packs / f"{name}.tar" for name in names], side=SIDE)
        assert len(teacher_embeddings(str(model.path), faces, cache, stream)) == len(faces.labels)
        said.append("embeds" in stream.getvalue())
    assert said == [True, False, True]
    other = write_teacher(tmp_path / "other.safetensors", seed=6)
    stream = io.StringIO()
    teacher_embeddings(str(other.path), faces, cache, stream)
    assert "embeds" in stream.getvalue()


def test_a_face_that_is_left_out_does_not_make_the_teacher_run_again(packs: Path, tmp_path: Path) -> None:
    model = write_teacher(tmp_path / "teacher.safetensors")
    faces = read_packs([packs / "validation.tar"], side=SIDE)
    whole = teacher_embeddings(str(model.path), faces, tmp_path / "cache", io.StringIO())
    stream = io.StringIO()
    some = teacher_embeddings(
        str(model.path), leave_out(faces, {faces.name(0), faces.name(9)}), tmp_path / "cache", stream
    )
    assert stream.getvalue() == ""
    assert np.array_equal(some, np.delete(whole, [0, 9], axis=0))


def test_a_torn_cache_is_computed_anew(packs: Path, tmp_path: Path) -> None:
    model = write_teacher(tmp_path / "teacher.safetensors")
    faces = read_packs([packs / "validation.tar"], side=SIDE)
    first = teacher_embeddings(str(model.path), faces, tmp_path / "cache", io.StringIO())
    for file in (tmp_path / "cache").iterdir():
        file.write_bytes(file.read_bytes()[:200])
    again = teacher_embeddings(str(model.path), faces, tmp_path / "cache", io.StringIO())
    assert np.array_equal(first, again)


def test_a_teacher_with_other_reference_points_is_refused(packs: Path, tmp_path: Path) -> None:
    model = write_teacher(tmp_path / "teacher.safetensors", shift=2)
    faces = read_packs([packs / "validation.tar"], side=SIDE)
    with pytest.raises(ConfigError, match="other reference points"):
        teacher_embeddings(str(model.path), faces, tmp_path / "cache", io.StringIO())


def test_without_the_mirror_image_the_target_is_the_crops_own(packs: Path, tmp_path: Path) -> None:
    model = write_teacher(tmp_path / "teacher.safetensors")
    faces = read_packs([packs / "validation.tar"], side=SIDE)
    targets = teacher_embeddings(str(model.path), faces, tmp_path / "cache", io.StringIO(), mirrored=False)
    own = Embedder(model).embed(centre_crops(faces.images, (32, 32)))
    assert (targets * own).sum(1).min() > 0.999  # the teacher may have run in bfloat16


def test_after_a_kill_only_the_rows_that_are_missing_or_half_written_are_computed(packs: Path, tmp_path: Path) -> None:
    model = write_teacher(tmp_path / "teacher.safetensors")
    faces = read_packs([packs / "validation.tar"], side=SIDE)
    whole = teacher_embeddings(str(model.path), faces, tmp_path / "cache", io.StringIO(), mirrored=False)
    (file,) = (tmp_path / "cache").iterdir()
    rows = np.load(file, mmap_mode="r+")
    rows[5] = 0
    rows[7, 2:] = 0
    rows.flush()
    stream = io.StringIO()
    again = teacher_embeddings(str(model.path), faces, tmp_path / "cache", stream, mirrored=False)
    assert "embeds 2 faces" in stream.getvalue()
    assert np.allclose(again, whole, atol=1e-3)


def test_unlabelled_faces_keep_rows_of_their_own(packs: Path, tmp_path: Path) -> None:
    model = write_teacher(tmp_path / "teacher.safetensors")
    labelled, unlabelled = (read_packs([packs / f"{name}.tar"], side=SIDE) for name in ("validation", "training"))
    apart = [teacher_embeddings(str(model.path), faces, tmp_path, io.StringIO()) for faces in (labelled, unlabelled)]
    joined = leave_out(Joined(labelled, unlabelled), {labelled.name(3), unlabelled.name(0)})
    stream = io.StringIO()
    together = teacher_embeddings(str(model.path), joined, tmp_path, stream)
    assert stream.getvalue() == ""
    assert np.array_equal(together, np.delete(np.concatenate(apart), [3, len(labelled.labels)], axis=0))
