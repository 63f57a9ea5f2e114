"""SphereFace-R: forward the margin, backward the plain cosine; angles by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from training.heads.head import detach_margin
from training.heads.sphereface_r import Normalisation, SphereFaceR, Version

DIMENSION, CLASSES = 8, 6


def batch(count: int = 30) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return 3 * torch.randn(count, DIMENSION, generator=random), torch.arange(count) % CLASSES


def at_angles(own: float, other: float) -> tuple[Tensor, Tensor, Tensor]:
    """Centres in the plane at `own` and `other` radians from one embedding of length 5."""
    centres = torch.tensor([[math.cos(own), math.sin(own)], [math.cos(other), math.sin(other)]])
    return centres, torch.tensor([[5.0, 0.0]]), torch.tensor([0])


@pytest.mark.parametrize(
    ("version", "own", "other"),
    [("v1", math.cos(1.5 * 0.8), math.cos(2.0)), ("v2", math.cos(0.8), math.cos(2.0 / 1.5))],
)
def test_the_margin_stands_on_the_target_or_on_the_others(version: Version, own: float, other: float) -> None:
    centres, embedding, label = at_angles(0.8, 2.0)
    head = SphereFaceR(2, 2, version=version, margin=1.5, scale=10)
    with torch.no_grad():
        head.weight.copy_(centres)
    expected = torch.tensor([[10 * own, 10 * other]])
    torch.testing.assert_close(head.logits(embedding, label).detach(), expected, rtol=1e-5, atol=1e-5)


def test_v1_stops_at_the_opposite() -> None:
    centres, embedding, label = at_angles(2.5, 1.0)
    head = SphereFaceR(2, 2, version="v1", margin=1.5, scale=10)
    with torch.no_grad():
        head.weight.copy_(centres)
    assert head.logits(embedding, label)[0, 0].item() == pytest.approx(-10)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_with_detachment_the_gradient_is_that_of_the_plain_cosines_under_the_margins_probabilities(
    version: Version,
) -> None:
    torch.manual_seed(0)
    head = SphereFaceR(DIMENSION, CLASSES, version=version, margin=1.4, scale=30, weight=30)
    embeddings, labels = batch()
    embeddings.requires_grad_()
    head(embeddings, labels).backward()

    plain = embeddings.detach().clone().requires_grad_()
    weight = head.weight.detach().clone().requires_grad_()
    cosines = nn.functional.normalize(plain) @ nn.functional.normalize(weight).t()
    probabilities = head.logits(plain, labels).detach().softmax(1)
    pull = probabilities - nn.functional.one_hot(labels, CLASSES)
    (30 * pull * cosines).sum().div(len(labels)).backward()
    torch.testing.assert_close(embeddings.grad, plain.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(head.weight.grad, weight.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_without_detachment_the_margin_is_differentiated(version: Version) -> None:
    torch.manual_seed(0)
    head = SphereFaceR(DIMENSION, CLASSES, version=version, margin=1.4, detach=False).double().eval()
    embeddings, labels = batch(4)
    start = embeddings.double()

    def loss(vectors: Tensor) -> Tensor:
        directions, centres = nn.functional.normalize(vectors), nn.functional.normalize(head.weight)
        return nn.functional.cross_entropy(60 * head.with_margin(directions @ centres.t(), labels), labels)

    assert torch.autograd.gradcheck(loss, (start.requires_grad_(),))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_margin_of_1_is_softmax_over_cosines(version: Version) -> None:
    torch.manual_seed(0)
    head = SphereFaceR(DIMENSION, CLASSES, version=version, margin=1, scale=30, weight=30)
    embeddings, labels = batch()
    expected = nn.functional.cross_entropy(30 * head.cosines(embeddings), labels)
    torch.testing.assert_close(head(embeddings, labels), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalisation", ["none", "soft"])
def test_without_hard_normalisation_the_length_is_the_scale(normalisation: Normalisation) -> None:
    head = SphereFaceR(DIMENSION, CLASSES, normalisation=normalisation, margin=1.2, scale=30, weight=50)
    hard = SphereFaceR(DIMENSION, CLASSES, margin=1.2, scale=7)
    hard.load_state_dict(head.state_dict())
    embeddings, labels = batch()
    embeddings = 7 * nn.functional.normalize(embeddings)
    torch.testing.assert_close(head.logits(embeddings, labels), hard.logits(embeddings, labels))
    entropy = nn.functional.cross_entropy(hard.logits(embeddings, labels), labels)
    expected = entropy if normalisation == "none" else 50 / 30 * entropy + 0.01 * (30 - 7)
    torch.testing.assert_close(head(embeddings, labels), expected)


def test_detachment_has_the_value_of_one_and_the_slope_of_the_other() -> None:
    cosine = torch.tensor([0.3], requires_grad=True)
    result = detach_margin(cosine**2, cosine)
    assert result.item() == pytest.approx(0.09)
    result.backward()
    assert cosine.grad is not None
    assert cosine.grad.item() == 1


def test_an_unknown_version_normalisation_or_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="'v1' or 'v2'"):
        SphereFaceR(2, 2, version="v3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'none', 'hard' or 'soft'"):
        SphereFaceR(2, 2, normalisation="l2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="factor of 1 or more"):
        SphereFaceR(2, 2, margin=0.5)
