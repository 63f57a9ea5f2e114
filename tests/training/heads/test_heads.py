"""What holds for every head: built by name, finite everywhere on the sphere, and able to learn."""

import math

import pytest
import torch
from torch import Tensor

from training.heads import HEADS, build_head
from training.heads.head import SphereHead

DIMENSION, CLASSES = 8, 6
CLASSIFIERS = [name for name in HEADS if name != "triplet"]


def batch(count: int = 12) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return 3 * torch.randn(count, DIMENSION, generator=random), torch.arange(count) % CLASSES


@pytest.mark.parametrize("name", HEADS)
def test_every_head_is_built_by_name_and_gives_one_finite_loss(name: str) -> None:
    torch.manual_seed(0)
    head = build_head(name, DIMENSION, CLASSES, steps=100)
    loss = head(*batch())
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_an_unknown_head_or_argument_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown head 'magface'.*sphereface2"):
        build_head("magface", DIMENSION, CLASSES, steps=100)
    with pytest.raises(ValueError, match=r"cosface does not take.*slope"):
        build_head("cosface", DIMENSION, CLASSES, steps=100, slope=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", HEADS)
def test_loss_and_gradients_are_finite_at_no_angle_and_at_the_opposite(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    head = build_head(name, DIMENSION, CLASSES, steps=100)
    head.at_step(100)
    labels = torch.tensor([0, 0, 1, 1])
    centre = head.weight.detach() if hasattr(head, "weight") else torch.eye(CLASSES, DIMENSION)
    assert isinstance(centre, Tensor)
    same, opposite = 4 * centre[0] / centre[0].norm(), -4 * centre[0] / centre[0].norm()
    embeddings = torch.stack([same, opposite, same, opposite]).to(dtype).requires_grad_()
    loss = head(embeddings, labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()
    for parameter in head.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_step_against_the_gradient_turns_embeddings_towards_their_own_centre(name: str) -> None:
    torch.manual_seed(0)
    head = build_head(name, DIMENSION, CLASSES, steps=100)
    embeddings, labels = batch()
    embeddings.requires_grad_()

    def own_cosine(vectors: Tensor) -> Tensor:
        weight = head.weight
        assert isinstance(weight, Tensor)
        return torch.cosine_similarity(vectors, weight.detach()[labels], dim=1)

    head(embeddings, labels).backward()
    assert embeddings.grad is not None
    step = embeddings.detach() - 1e-2 * embeddings.grad / embeddings.grad.norm()
    assert own_cosine(step).mean() > own_cosine(embeddings.detach()).mean()


@pytest.mark.parametrize("name", [name for name, kind in HEADS.items() if issubclass(kind, SphereHead)])
def test_centres_are_brought_back_to_unit_length_in_training(name: str) -> None:
    head = build_head(name, DIMENSION, CLASSES, steps=100)
    assert isinstance(head, SphereHead)
    with torch.no_grad():
        head.weight.mul_(7)
    head.eval()
    before = head(*batch())
    head.train()
    after = head(*batch())
    torch.testing.assert_close(head.weight.detach().norm(dim=1), torch.ones(CLASSES))
    if name != "adaface":  # its running mean of lengths moves in training
        torch.testing.assert_close(before, after)


def test_a_ramp_brings_the_margin_in_between_two_shares_of_the_run() -> None:
    head = build_head("sphereface_r", DIMENSION, CLASSES, steps=1000, margin=1.5, ramp=[0.1, 0.6])
    values = [head.at_step(step)["margin"] for step in (1, 100, 350, 600, 1000)]
    assert values == pytest.approx([1, 1, 1.25, 1.5, 1.5])


def test_without_a_ramp_the_margin_is_there_from_the_first_step() -> None:
    assert build_head("sphereface_r", DIMENSION, CLASSES, steps=10, margin=1.5).at_step(1) == {"margin": 1.5}
    assert math.isclose(build_head("asoftmax", 8, 6, steps=10).at_step(1)["lambda"], 1000 / 1.12)
