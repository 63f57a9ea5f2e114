"""SphereFace2: the published bias values, the loss one classifier at a time, and its gradients."""

import math

import pytest
import torch
from torch import Tensor, nn

from training.heads.sphereface2 import MARGINS, Margin, SphereFace2

DIMENSION, CLASSES = 8, 6


def batch(count: int = 10) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return 3 * torch.randn(count, DIMENSION, generator=random), torch.arange(count) % CLASSES


@pytest.mark.parametrize(("classes", "bias"), [(8631, 5.785), (10572, 5.582), (85742, 3.488)])
def test_the_bias_starts_at_the_published_values(classes: int, bias: float) -> None:
    assert SphereFace2(2, classes).bias.item() == pytest.approx(bias, abs=5e-4)


def test_the_bias_of_the_configuration_for_ms1m() -> None:
    head = SphereFace2(2, 85742, balance=0.8, scale=64, margin=0.5)
    assert head.bias.item() == pytest.approx(6.027, abs=5e-4)


@pytest.mark.parametrize("kind", MARGINS)
def test_with_that_bias_own_and_other_classes_pull_alike_at_right_angles(kind: Margin) -> None:
    classes = 50
    head = SphereFace2(classes + 1, classes, kind=kind)
    with torch.no_grad():
        head.weight.copy_(torch.eye(classes, classes + 1))
    embedding = torch.zeros(1, classes + 1)
    embedding[0, classes] = 1
    logits = head.logits(embedding, torch.tensor([0]))[0]
    own = 0.7 * torch.sigmoid(-logits[0])
    others = 0.3 * torch.sigmoid(logits[1:]).sum()
    assert own.item() == pytest.approx(others.item(), rel=1e-4)


def slow_loss(head: SphereFace2, embeddings: Tensor, labels: Tensor) -> float:
    """Equation 8 and its variants, one binary classifier at a time."""

    def g(z: float) -> float:
        return 2 * ((z + 1) / 2) ** 3 - 1

    total = 0.0
    bias = head.bias.item()
    for x, label in zip(embeddings.double(), labels.tolist(), strict=True):
        for j, w in enumerate(head.weight.detach().double()):
            cosine = float(x @ w / x.norm() / w.norm())
            theta = math.acos(cosine)
            own = j == label
            if head.kind == "C":
                value = g(cosine) + (-head.margin if own else head.margin)
            elif own:
                value = g(math.cos(min(math.pi, theta + head.margin if head.kind == "A" else theta * head.margin)))
            else:
                value = g(cosine)
            logit = 40 * value + bias
            total += (0.7 if own else 0.3) * math.log1p(math.exp(-logit if own else logit))
    return 10 / 40 * total / len(labels)


@pytest.mark.parametrize("kind", MARGINS)
def test_the_loss_is_the_sum_of_binary_classifiers(kind: Margin) -> None:
    torch.manual_seed(0)
    head = SphereFace2(DIMENSION, CLASSES, kind=kind)
    embeddings, labels = batch()
    assert head(embeddings, labels).item() == pytest.approx(slow_loss(head, embeddings, labels), rel=1e-4)


@pytest.mark.parametrize("kind", MARGINS)
def test_the_gradient_is_that_of_plain_cosines_weighted_by_the_classifiers_errors(kind: Margin) -> None:
    torch.manual_seed(0)
    head = SphereFace2(DIMENSION, CLASSES, kind=kind, weight=40)
    embeddings, labels = batch()
    embeddings.requires_grad_()
    head(embeddings, labels).backward()

    plain = embeddings.detach().clone().requires_grad_()
    cosines = nn.functional.normalize(plain) @ nn.functional.normalize(head.weight.detach()).t()
    own = nn.functional.one_hot(labels, CLASSES).bool()
    logits = head.logits(plain.detach(), labels).detach()
    pull = torch.where(own, -0.7 * torch.sigmoid(-logits), 0.3 * torch.sigmoid(logits))
    (40 * pull * cosines).sum().div(len(labels)).backward()
    torch.testing.assert_close(embeddings.grad, plain.grad, rtol=1e-4, atol=1e-6)


def test_an_unknown_kind_or_balance_is_refused() -> None:
    with pytest.raises(ValueError, match="'C', 'A' or 'M'"):
        SphereFace2(2, 3, kind="B")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="between 0 and 1"):
        SphereFace2(2, 3, balance=1.0)
