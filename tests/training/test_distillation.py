"""Learning from a better network: the loss, what is computed once, and a run that is taught by a teacher alone."""

import dataclasses
import io
from pathlib import Path

import pytest
import torch

from tests.training.tiny_run import SIDE, config, record, rows, write_teacher
from training.checkpoint import read_checkpoint
from training.config import DistillConfig
from training.data.pack import read_packs
from training.distillation import Distillation, class_centres, even_axes
from training.errors import ConfigError
from training.export import export_model
from training.targets import make_targets
from training.teacher import teacher_embeddings
from training.trainer import CHECKPOINT, TRAINING_LOG, run


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
    assert torch.allclose(weight, centres, atol=1e-3)  # targets are kept in float16


@pytest.mark.slow
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


def test_even_axes_keep_the_cosines_that_the_principal_ones_keep_and_share_them_evenly() -> None:
    spread = torch.randn(2000, 12) * 0.7 ** torch.arange(12)
    targets = torch.nn.functional.normalize(spread @ torch.linalg.qr(torch.randn(12, 12))[0])
    axes = even_axes(targets, 8)
    assert torch.allclose(axes.T @ axes, torch.eye(8), atol=1e-5)
    aims = targets @ axes
    principal = targets @ torch.linalg.svd(targets, full_matrices=False).Vh[:8].T
    assert torch.allclose(aims @ aims.T, principal @ principal.T, atol=1e-4)
    shares = aims.square().mean(0)
    assert torch.allclose(shares, shares.mean().expand(8), rtol=1e-3)


def test_axes_that_are_no_power_of_two_are_refused() -> None:
    for count in (6, 16, 0):
        with pytest.raises(ValueError, match="power of two"):
            even_axes(torch.eye(12), count)


@pytest.mark.slow
def test_a_run_matches_its_teacher_along_the_axes_it_keeps_and_the_next_run_takes_them_over(
    packs: Path, tmp_path: Path
) -> None:
    model = write_teacher(tmp_path / "teacher.safetensors")
    distill = {"teacher": str(model.path), "weight": 2.0, "components": 8}
    run(config(packs, tmp_path, distill=distill, head=None, epochs=12), tmp_path / "run", io.StringIO())
    losses = [float(row["loss"]) for row in rows(tmp_path / "run" / TRAINING_LOG)]
    assert losses[-1] < 0.5 * losses[0]
    lessons = read_checkpoint(tmp_path / "run" / CHECKPOINT).distillation
    assert {name: tensor.shape for name, tensor in lessons.items()} == {"axes": (12, 8)}
    more = record(packs)["data"] | {"fewest_photos": 1, "unlabelled": [str(packs / "validation.tar")]}  # type: ignore[operator]
    more["validation"] = [str(packs / "validation.tar")]
    after = config(packs, tmp_path, data=more, distill=distill, epochs=1, initial=str(tmp_path / "run" / CHECKPOINT))
    run(after, tmp_path / "next", io.StringIO())
    assert torch.equal(read_checkpoint(tmp_path / "next" / CHECKPOINT).distillation["axes"], lessons["axes"])


@pytest.mark.slow
@pytest.mark.parametrize("given", ["teacher", "targets"])
def test_from_a_model_file_the_linear_layer_is_fitted_to_the_axes_of_the_new_run(
    given: str, packs: Path, tmp_path: Path
) -> None:
    """The file does not tell which axes its embeddings match: copied, the layer would match other ones."""
    model = write_teacher(tmp_path / "teacher.safetensors")
    distill = {"teacher": str(model.path), "weight": 2.0, "components": 8}
    run(config(packs, tmp_path, distill=distill, head=None, epochs=12), tmp_path / "run", io.StringIO())
    exported = export_model(tmp_path / "run", tmp_path / "exported.safetensors", training_data="packs", licence="none")
    after = config(packs, tmp_path, distill=distill, head=None, epochs=1, seed=2, initial=str(exported.path))
    if given == "targets":
        make_targets(after, tmp_path / "targets", io.StringIO())
        targets = DistillConfig(targets=tmp_path / "targets", weight=2.0)
        after = dataclasses.replace(after, distill=targets)
    said = io.StringIO()
    run(after, tmp_path / "next", said)
    assert "the linear layer begins at the least-squares fit to the teacher" in said.getvalue()
    last = float(rows(tmp_path / "run" / TRAINING_LOG)[-1]["loss"])
    assert float(rows(tmp_path / "next" / TRAINING_LOG)[0]["loss"]) < 1.5 * last
