"""Losses over the pairs of a batch: triplet with semi-hard negatives, contrastive, and repelling centres."""

import math

import pytest
import torch
from pytorch_metric_learning import losses
from torch import Tensor, nn

from training.heads.contrastive import Contrastive
from training.heads.softmax import Softmax
from training.heads.sphereface_plus import SphereFacePlus
from training.heads.triplet import Triplet


def circle(*degrees: float) -> Tensor:
    radians = torch.tensor(degrees) * math.pi / 180
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def squared(degrees: float) -> float:
    return 2 - 2 * math.cos(math.radians(degrees))


def test_the_negative_is_the_nearest_one_beyond_the_positive() -> None:
    # From the anchor at 0: positive at 40, negatives at 30 (nearer than the positive), 50 and 90.
    embeddings, labels = circle(0, 40, -30, 50, 90), torch.tensor([0, 0, 1, 2, 3])
    head = Triplet(2, 4, margin=0.5)
    from_0 = max(0.0, squared(40) - squared(50) + 0.5)
    from_40 = max(0.0, squared(40) - squared(50) + 0.5)  # from 40: 50 is 10 away (nearer), 90 is 50 away
    assert head(embeddings, labels).item() == pytest.approx((from_0 + from_40) / 2, abs=1e-5)


def test_without_a_negative_beyond_the_farthest_is_taken() -> None:
    embeddings, labels = circle(0, 120, 20, 70), torch.tensor([0, 0, 1, 2])
    from_0 = squared(120) - squared(70) + 0.2
    from_120 = squared(120) - squared(100) + 0.2
    assert Triplet(2, 3)(embeddings, labels).item() == pytest.approx((from_0 + from_120) / 2, abs=1e-5)


def test_a_batch_without_a_pair_costs_nothing_and_can_be_differentiated() -> None:
    embeddings = circle(0, 50, 100).requires_grad_()
    loss = Triplet(2, 3)(embeddings, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.item() == 0
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()


def test_triplet_is_the_librarys_over_the_same_triplets() -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(24, 8), torch.arange(24) % 4
    directions = nn.functional.normalize(embeddings)
    distances = torch.cdist(directions, directions) ** 2
    chosen: list[tuple[int, int, int]] = []
    for a in range(24):
        for p in range(24):
            if a == p or labels[a] != labels[p]:
                continue
            negatives = [n for n in range(24) if labels[n] != labels[a]]
            beyond = [n for n in negatives if distances[a, n] > distances[a, p]]
            nearest = min(beyond, key=lambda n: float(distances[a, n])) if beyond else None
            chosen.append((a, p, nearest if nearest is not None else max(negatives, key=lambda n: distances[a, n])))
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.reducers import MeanReducer

    oracle = losses.TripletMarginLoss(margin=0.2, distance=LpDistance(power=2), reducer=MeanReducer())
    expected = oracle(embeddings, labels, tuple(torch.tensor(chosen).T))
    torch.testing.assert_close(Triplet(8, 4)(embeddings, labels), expected, rtol=1e-4, atol=1e-5)


def test_contrastive_draws_same_pairs_together_and_pushes_near_strangers_away() -> None:
    embeddings, labels = 3 * circle(0, 60, 90), torch.tensor([0, 0, 1])
    head = Contrastive(2, 2, margin=1.2, weight=0.5)
    same = squared(60) / 2
    apart = [max(0.0, 1.2 - math.sqrt(squared(degrees))) ** 2 / 2 for degrees in (90, 30)]
    expected = same + sum(apart) / 2
    assert head.pair_loss(embeddings, labels).item() == pytest.approx(expected, abs=1e-5)
    plain = Softmax(2, 2)
    plain.load_state_dict(head.state_dict())
    torch.testing.assert_close(head(embeddings, labels), plain(embeddings, labels) + 0.5 * expected)


def test_contrastive_is_finite_where_strangers_coincide() -> None:
    embeddings = circle(10, 10).requires_grad_()
    Contrastive(2, 2)(embeddings, torch.tensor([0, 1])).backward()
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()


def test_sphereface_plus_adds_the_energy_of_the_batchs_centres() -> None:
    head = SphereFacePlus(2, 4, energy_weight=0.3)
    with torch.no_grad():
        head.weight.copy_(circle(0, 60, 90, 200))
    labels = torch.tensor([0, 1, 2, 1])
    inverse = [math.radians(degrees) ** -2 for degrees in (60, 90, 30)]
    assert head.energy(labels).item() == pytest.approx(sum(inverse) / 3, rel=1e-4)
    embeddings = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    base = super(SphereFacePlus, head).forward(embeddings, labels)
    torch.testing.assert_close(head(embeddings, labels), base + 0.3 * head.energy(labels))


def test_centres_close_together_are_pushed_apart() -> None:
    head = SphereFacePlus(2, 2)
    with torch.no_grad():
        head.weight.copy_(circle(0, 20))
    head.energy(torch.tensor([0, 1])).backward()
    assert head.weight.grad is not None
    assert head.weight.grad[1, 1] < 0  # downhill is up: away from the other
