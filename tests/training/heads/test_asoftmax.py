"""A-Softmax is the published loss: psi in closed form, lambda, and the gradient of both."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from training.heads import build_head
from training.heads.asoftmax import ASoftmax, psi, psi_slope
from training.schedules import Annealing

Gradient = Literal["true", "released"]
MARGINS = (1, 2, 3, 4)


def psi_by_angle(theta: float, margin: int) -> float:
    """Equation 7 of the paper, word by word."""
    k = min(int(theta * margin / math.pi), margin - 1)
    sign = -1 if k % 2 else 1
    return sign * math.cos(margin * theta) - 2 * k


def head(margin: int = 4, *, lambda_: float = 5.0, gradient: Gradient = "true") -> ASoftmax:
    torch.manual_seed(0)
    annealing = Annealing(base=lambda_, gamma=0, minimum=lambda_)
    built = ASoftmax(8, 6, margin=margin, annealing=annealing, gradient=gradient)
    built.at_step(1)
    return built


def batch(count: int = 5) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return 3 * torch.randn(count, 8, generator=random), torch.randint(0, 6, (count,), generator=random)


def slow_loss(embeddings: Tensor, weight: Tensor, labels: Tensor, margin: int, lambda_: float) -> float:
    """Equations 6 and 8, one sample and one class at a time."""
    losses: list[float] = []
    for x, label in zip(embeddings.double(), labels.tolist(), strict=True):
        length = math.sqrt(float(x @ x))
        logits = []
        for j, row in enumerate(weight.double()):
            cosine = float(x @ row) / length / math.sqrt(float(row @ row))
            score = cosine
            if j == label:
                score = (lambda_ * cosine + psi_by_angle(math.acos(cosine), margin)) / (1 + lambda_)
            logits.append(length * score)
        losses.append(math.log(sum(math.exp(logit) for logit in logits)) - logits[label])
    return sum(losses) / len(losses)


@pytest.mark.parametrize("margin", MARGINS)
def test_the_closed_form_of_psi_is_its_definition_by_angle(margin: int) -> None:
    theta = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)
    expected = torch.tensor([psi_by_angle(angle, margin) for angle in theta.tolist()], dtype=torch.float64)
    torch.testing.assert_close(psi(torch.cos(theta), margin), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("margin", MARGINS)
def test_psi_falls_from_1_at_no_angle_to_1_minus_2m_at_the_opposite(margin: int) -> None:
    cosine = torch.linspace(1, -1, 10_001, dtype=torch.float64)
    values = psi(cosine, margin)
    assert values[0] == 1
    assert values[-1] == 1 - 2 * margin
    assert (values.diff() <= 1e-12).all()


@pytest.mark.parametrize("margin", MARGINS)
def test_psi_at_a_right_angle_lies_on_the_curve(margin: int) -> None:
    """sign(0) is 0: the closed forms must not lose a whole piece there."""
    assert psi(torch.zeros(1), margin).item() == pytest.approx(psi_by_angle(math.pi / 2, margin), abs=1e-6)


@pytest.mark.parametrize("margin", MARGINS)
def test_the_slope_of_psi_is_its_derivative(margin: int) -> None:
    cosine = torch.linspace(-0.999, 0.999, 500, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(psi(cosine, margin).sum(), cosine)
    torch.testing.assert_close(psi_slope(cosine.detach(), margin), derivative)


@pytest.mark.parametrize(("step", "lambda_"), [(1, 892.857), (100, 76.923), (1000, 8.264), (1658, 5.001), (1659, 5.0)])
def test_lambda_takes_the_released_values(step: int, lambda_: float) -> None:
    assert Annealing().at(step) == pytest.approx(lambda_, abs=1e-3)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_stretched_lambda_reaches_its_minimum_at_the_step_asked_for_and_not_before(power: float) -> None:
    annealing = Annealing(power=power).reaching_minimum_at(4000)
    assert annealing.at(4000) == pytest.approx(5)
    assert annealing.at(3990) > 5.0
    assert annealing.at(8000) == 5.0


def test_a_head_from_a_config_stretches_lambda_over_the_share_of_the_run_asked_for() -> None:
    built = build_head("asoftmax", 8, 6, steps=1000, margin=4, annealing={"reach": 0.5})
    assert built.at_step(499)["lambda"] > 5
    assert built.at_step(500)["lambda"] == pytest.approx(5)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("lambda_", [0.0, 5.0, 1000.0])
def test_the_loss_is_the_papers_formula(margin: int, lambda_: float) -> None:
    built = head(margin, lambda_=lambda_)
    embeddings, labels = batch()
    expected = slow_loss(embeddings, built.weight.detach(), labels, margin, lambda_)
    assert built(embeddings, labels).item() == pytest.approx(expected, rel=1e-5)


def test_with_margin_1_it_is_softmax_over_cosines_whatever_lambda() -> None:
    embeddings, labels = batch()
    assert head(1, lambda_=0)(embeddings, labels).item() == pytest.approx(
        head(1, lambda_=7)(embeddings, labels).item(), rel=1e-6
    )


@pytest.mark.parametrize("margin", MARGINS)
def test_the_gradient_is_that_of_the_loss_for_embeddings_and_weights(margin: int) -> None:
    built = head(margin)
    embeddings, labels = batch()
    embeddings.requires_grad_()
    built.eval()  # the weights are renormalised in training, which a finite difference must not see
    built(embeddings, labels).backward()
    for tensor, gradient in ((embeddings, embeddings.grad), (built.weight, built.weight.grad)):
        assert gradient is not None
        direction = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(2))
        expected = float((gradient * direction).sum())
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                tensor += sign * 1e-2 * direction
                losses.append(built(embeddings, labels).item())
                tensor -= sign * 1e-2 * direction
        assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(expected, rel=0.02, abs=2e-3)


@pytest.mark.parametrize("margin", [2, 3, 4])
def test_the_released_gradient_follows_the_authors_formula(margin: int) -> None:
    """d logit_y / dx = (lambda w + (a w + b x) / |(a, b)|) / (1 + lambda), d logit_y / dw = x."""
    built = head(margin, gradient="released").eval()
    embeddings, labels = batch(1)
    embeddings.requires_grad_()
    logit = built.logits(embeddings, labels)[0, labels[0]]
    w = torch.nn.functional.normalize(built.weight.detach())[labels[0]]
    x = embeddings.detach()[0]
    c, length = float(x @ w / x.norm()), float(x.norm())
    s0 = math.copysign(1, c)
    if margin == 4:
        s3 = s0 * math.copysign(1, 2 * c * c - 1)
        a, b = s3 * (32 * c**3 - 16 * c), -(s3 * (24 * c**4 - 8 * c**2 - 1) - (2 * s0 + s3 - 3)) / length
    elif margin == 3:
        s1 = math.copysign(1, abs(c) - 0.5)
        a, b = s1 * (12 * c * c - 3), -(8 * s1 * c**3 - (s0 * (1 + s1) - 2)) / length
    else:
        a, b = 4 * s0 * c, -(2 * s0 * c * c + 1) / length
    expected = (5 * w + (a * w + b * x) / math.hypot(a, b)) / 6
    (gradient,) = torch.autograd.grad(logit, embeddings, retain_graph=True)
    torch.testing.assert_close(gradient[0], expected, atol=1e-5, rtol=1e-5)
    true = head(margin).eval()
    assert logit.item() == pytest.approx(true.logits(embeddings, labels)[0, labels[0]].item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gradient", ["true", "released"])
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 1000.0])
def test_loss_and_gradient_stay_finite_on_opposite_to_and_without_a_direction(
    dtype: torch.dtype, gradient: Gradient, scale: float
) -> None:
    built = head(gradient=gradient)
    own = torch.nn.functional.normalize(built.weight.detach())[:2]
    embeddings = (scale * torch.cat([own, -own])).to(dtype).requires_grad_()  # theta = 0 and theta = pi
    loss = built(embeddings, torch.tensor([0, 1, 0, 1]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert embeddings.grad is not None
    assert built.weight.grad is not None
    assert embeddings.grad.isfinite().all()
    assert built.weight.grad.isfinite().all()


def test_the_class_weights_have_unit_length_after_a_training_step() -> None:
    built = head()
    built(*batch())
    torch.testing.assert_close(built.weight.norm(dim=1), torch.ones(6))


def test_a_margin_that_has_no_closed_form_is_refused() -> None:
    with pytest.raises(ValueError, match="1, 2, 3 or 4, not 5"):
        ASoftmax(8, 6, margin=5)
