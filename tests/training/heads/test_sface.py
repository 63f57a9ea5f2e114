"""SFace: the pull along each angle is s w sin theta, and lets go where it should."""

import math

import pytest
import torch
from torch import Tensor

from training.heads.sface import SFace


def turned(own: float, other: float) -> tuple[SFace, Tensor]:
    """One embedding of unit length, its own centre `own` radians to one side, another `other` to the other."""
    head = SFace(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[math.cos(own), math.sin(own)], [math.cos(other), -math.sin(other)]]))
    return head, torch.tensor([[1.0, 0.0]], requires_grad=True)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(("own", "other"), [(0.9, 1.1), (0.87, 1.20), (1.3, 0.7), (0.5, 1.6)])
def test_the_pull_along_each_angle_is_s_w_sin_theta(own: float, other: float) -> None:
    head, embedding = turned(own, other)
    head(embedding, torch.tensor([0])).backward()
    pull = 64 * sigmoid(80 * (own - 0.87)) * math.sin(own)
    push = 64 * sigmoid(-80 * (other - 1.20)) * math.sin(other)
    assert embedding.grad is not None
    # Turning towards the own centre (up) goes away from the other one.
    assert -embedding.grad[0, 1].item() == pytest.approx(pull + push, rel=1e-3, abs=1e-4)
    assert embedding.grad[0, 0].item() == pytest.approx(0, abs=1e-4)


def test_the_loss_is_the_weighted_sum_of_cosines() -> None:
    head, embedding = turned(0.9, 1.1)
    pull, push = sigmoid(80 * (0.9 - 0.87)), sigmoid(-80 * (1.1 - 1.20))
    expected = -64 * pull * math.cos(0.9) + 64 * push * math.cos(1.1)
    assert head(embedding, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-4)


def test_a_face_near_its_centre_and_far_from_others_is_left_alone() -> None:
    head, embedding = turned(0.6, 1.5)
    head(embedding, torch.tensor([0])).backward()
    assert embedding.grad is not None
    assert embedding.grad.norm() < 1e-6
