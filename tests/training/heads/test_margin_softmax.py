"""Softmax over cosines with a margin: pytorch-metric-learning is the oracle, AdaFace is worked out slowly."""

import math

import pytest
import torch
from pytorch_metric_learning import losses
from torch import Tensor, nn

from training.heads.adaface import AdaFace
from training.heads.arcface import ArcFace
from training.heads.cosface import CosFace
from training.heads.head import SphereHead
from training.heads.l_softmax import LSoftmax
from training.heads.normalised_softmax import NormalisedSoftmax
from training.heads.softmax import Softmax
from training.schedules import Annealing

DIMENSION, CLASSES = 8, 6


def batch(count: int = 40) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return 3 * torch.randn(count, DIMENSION, generator=random), torch.arange(count) % CLASSES


def assert_same_loss_and_gradients(head: SphereHead | LSoftmax, oracle: nn.Module) -> None:
    weight = torch.nn.functional.normalize(head.weight.detach())
    with torch.no_grad():
        head.weight.copy_(weight)
        oracle.W.copy_(weight.t())  # type: ignore[operator]
    embeddings, labels = batch()
    mine, theirs = embeddings.clone().requires_grad_(), embeddings.clone().requires_grad_()
    loss, expected = head(mine, labels), oracle(theirs, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    loss.backward()
    expected.backward()
    assert mine.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("margin", [0.2, 0.35])
def test_cosface_is_the_librarys(margin: float) -> None:
    torch.manual_seed(0)
    oracle = losses.CosFaceLoss(CLASSES, DIMENSION, margin=margin, scale=30)
    assert_same_loss_and_gradients(CosFace(DIMENSION, CLASSES, margin=margin, scale=30), oracle)


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.2])
def test_arcface_is_the_librarys_also_beyond_pi_minus_m(margin: float) -> None:
    torch.manual_seed(0)
    oracle = losses.ArcFaceLoss(CLASSES, DIMENSION, margin=math.degrees(margin), scale=30)
    head = ArcFace(DIMENSION, CLASSES, margin=margin, scale=30)
    embeddings, labels = batch()
    own = head.cosines(embeddings).gather(1, labels[:, None])
    assert margin < 1 or (own < -math.cos(margin)).any()  # the case beyond is in the batch
    assert_same_loss_and_gradients(head, oracle)


def test_normalised_softmax_is_the_librarys() -> None:
    torch.manual_seed(0)
    oracle = losses.NormalizedSoftmaxLoss(CLASSES, DIMENSION, temperature=1 / 30)
    assert_same_loss_and_gradients(NormalisedSoftmax(DIMENSION, CLASSES, scale=30), oracle)


@pytest.mark.parametrize("margin", [2, 3, 4])
def test_l_softmax_without_lambda_is_the_librarys(margin: int) -> None:
    torch.manual_seed(0)
    oracle = losses.LargeMarginSoftmaxLoss(CLASSES, DIMENSION, margin=margin, scale=1)
    head = LSoftmax(DIMENSION, CLASSES, margin=margin, annealing=Annealing(base=0, minimum=0))
    assert_same_loss_and_gradients(head, oracle)


def test_l_softmax_weighs_by_the_length_of_the_centre_as_well() -> None:
    head = LSoftmax(2, 2, margin=2, annealing=Annealing(base=0, minimum=0))
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    logits = head.logits(torch.tensor([[2.0, 2.0]]), torch.tensor([0]))
    # theta = 45 degrees: psi = cos 90 degrees = 0, times 3 and sqrt 8; the other is 2 as it stands.
    torch.testing.assert_close(logits.detach(), torch.tensor([[0.0, 2.0]]), atol=1e-5, rtol=0)


def test_softmax_is_a_linear_layer_and_cross_entropy() -> None:
    head = Softmax(DIMENSION, CLASSES)
    nn.init.normal_(head.bias)
    embeddings, labels = batch()
    expected = nn.functional.cross_entropy(embeddings @ head.weight.t() + head.bias, labels)
    torch.testing.assert_close(head(embeddings, labels), expected)


@pytest.mark.parametrize(
    ("length", "angular", "additive"),
    [(20.0, 0.0, 0.4), (100.0, -0.4 * 0.333 * 80 / 100.001, 0.4 + 0.4 * 0.333 * 80 / 100.001)],
)
def test_adaface_turns_long_embeddings_from_angular_to_additive(length: float, angular: float, additive: float) -> None:
    torch.manual_seed(0)
    head = AdaFace(DIMENSION, CLASSES, scale=30).eval()
    embedding = length * torch.nn.functional.normalize(torch.randn(1, DIMENSION))
    label = torch.tensor([2])
    cosine = head.cosines(embedding)[0, 2].item()
    expected = 30 * (math.cos(math.acos(cosine) + angular) - additive)
    assert head.logits(embedding, label)[0, 2].item() == pytest.approx(expected, abs=1e-4)


def test_adaface_follows_the_lengths_of_the_batches_in_training_only() -> None:
    head = AdaFace(DIMENSION, CLASSES)
    embeddings, labels = batch()
    lengths = embeddings.norm(dim=1)
    head(embeddings, labels)
    assert head.mean.item() == pytest.approx(20 + 0.01 * (lengths.mean().item() - 20))
    assert head.std.item() == pytest.approx(100 + 0.01 * (lengths.std().item() - 100))
    before = head.mean.clone()
    head.eval()(embeddings, labels)
    torch.testing.assert_close(head.mean, before)
