"""Learning from a better network: the loss, what is computed once, and a run that is taught by a teacher alone."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from faceid.models.embedding import Embedder
from faceid.models.model_file import Model, ModelSpec, write_model
from faceid.models.networks import build_network
from faceid.vision.alignment import reference_points
from tests.training.tiny_run import SIDE, config, record, rows
from training.augment import centre_crops
from training.checkpoint import read_checkpoint
from training.data.faces import leave_out
from training.data.pack import read_packs
from training.distillation import Distillation, class_centres, teacher_embeddings
from training.errors import ConfigError
from training.trainer import CHECKPOINT, TRAINING_LOG, run


def write_teacher(path: Path, *, shift: float = 0.0, seed: int = 5, width: float = 0.125) -> Model:
    """A small network with weights that were drawn, of another dimension and input size than the student."""
    torch.manual_seed(seed)
    network = build_network("sphereface4", input_size=(32, 32), dimension=12, width=width)
    spec = ModelSpec(
        name=path.stem,
        architecture="sphereface4",
        arguments={"input_size": [32, 32], "dimension": 12, "width": width},
        input_size=(32, 32),
        colour="rgb",
        mean=127.5,
        std=128.0,
        reference_points=reference_points(32, 32) + np.float32(shift),
        flip="none",
        dimension=12,
        head="none",
        training_data="none",
        accuracies=(),
        calibrations=(),
        licence="none",
    )
    return write_model(path, spec, {name: tensor.numpy() for name, tensor in network.state_dict().items()})


def test_the_loss_is_one_minus_the_mean_cosine() -> None:
    embeddings = torch.tensor([[3.0, 0.0], [0.0, 5.0], [1.0, 1.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, -1.0], [1.0, 0.0]])
    expected = 1 - (1 - 1 + 2**-0.5) / 3
    assert Distillation(2, 2)(embeddings, targets).item() == pytest.approx(expected)


def test_the_length_of_an_embedding_gets_no_gradient() -> None:
    embeddings = torch.randn(4, 6, requires_grad=True)
    Distillation(6, 6)(embeddings, torch.nn.functional.normalize(torch.randn(4, 6))).backward()
    assert embeddings.grad is not None
    assert torch.allclose((embeddings.grad * embeddings).sum(1), torch.zeros(4), atol=1e-7)


def test_other_sizes_are_projected_and_the_projection_learns() -> None:
    distillation = Distillation(6, 3)
    loss = distillation(torch.randn(4, 6), torch.nn.functional.normalize(torch.randn(4, 3)))
    loss.backward()
    (projection,) = distillation.parameters()
    assert projection.shape == (3, 6)
    assert projection.grad is not None
    assert projection.grad.abs().max() > 0


def test_a_persons_centre_is_the_unit_mean_of_the_teachers_embeddings() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    centres = class_centres(targets, torch.tensor([1, 1, 0]), 2)
    assert torch.allclose(centres, torch.tensor([[0.6, 0.8], [0.5**0.5, 0.5**0.5]]))


def test_a_head_beside_a_teacher_starts_at_the_teachers_centres(packs: Path, tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher.safetensors")
    network = {
        "name": "sphereface4",
        "arguments": {"input_size": [16, 16], "dimension": 12, "width": 0.125, "batch_norm": True},
    }
    settings = config(
        packs,
        tmp_path,
        network=network,
        distill={"teacher": str(teacher.path)},
        optimiser={"peak_rate": 1e-9, "warmup_epochs": 0.0, "weight_decay": 0.0},
        epochs=1,
    )
    run(settings, tmp_path / "run", io.StringIO())
    faces = read_packs([packs / "training.tar"], side=SIDE)
    targets = torch.from_numpy(teacher_embeddings(str(teacher.path), faces, tmp_path / "run", io.StringIO()))
    centres = class_centres(targets, torch.from_numpy(faces.labels), len(faces.identities))
    weight = read_checkpoint(tmp_path / "run" / CHECKPOINT).head["weight"]
    assert torch.allclose(weight, centres, atol=1e-5)


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
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:200])
    again = teacher_embeddings(str(model.path), faces, tmp_path / "cache", io.StringIO())
    assert np.array_equal(first, again)


def test_a_teacher_with_other_reference_points_is_refused(packs: Path, tmp_path: Path) -> None:
    model = write_teacher(tmp_path / "teacher.safetensors", shift=2)
    faces = read_packs([packs / "validation.tar"], side=SIDE)
    with pytest.raises(ConfigError, match="other reference points"):
        teacher_embeddings(str(model.path), faces, tmp_path / "cache", io.StringIO())


def test_a_run_without_head_comes_near_its_teacher(packs: Path, tmp_path: Path) -> None:
    model = write_teacher(tmp_path / "teacher.safetensors")
    distill = {"teacher": str(model.path), "weight": 2.0}
    run(config(packs, tmp_path, head=None, distill=distill, epochs=12), tmp_path / "run", io.StringIO())
    losses = [float(row["loss"]) for row in rows(tmp_path / "run" / TRAINING_LOG)]
    assert losses[-1] < 0.5 * losses[0]
    checkpoint = read_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert checkpoint.head == {}
    assert checkpoint.distillation["projection.weight"].shape == (12, 8)


def test_head_and_teacher_are_logged_beside_their_sum(packs: Path, tmp_path: Path) -> None:
    model = write_teacher(tmp_path / "teacher.safetensors")
    settings = config(packs, tmp_path, distill={"teacher": str(model.path), "weight": 3}, epochs=1)
    run(settings, tmp_path / "run", io.StringIO())
    for row in rows(tmp_path / "run" / TRAINING_LOG):
        assert float(row["loss"]) == pytest.approx(float(row["head"]) + float(row["distillation"]), rel=1e-4)


def test_a_config_with_nothing_to_learn_from_is_refused(packs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give a head, a distill section, or both"):
        config(packs, tmp_path, head=None)
    assert record(packs)["head"] is not None
