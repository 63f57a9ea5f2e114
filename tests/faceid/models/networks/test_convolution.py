"""Our convolution is PyTorch's: the same values, and gradients that differ by the order of sums alone."""

import pytest
import torch
from torch import Tensor, nn

from faceid.models.networks import convolution
from faceid.models.networks.convolution import Conv2d


def gradients(layer: nn.Conv2d, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    features = features.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = layer(features)
    outputs.float().square().sum().backward()
    assert features.grad is not None
    assert layer.weight.grad is not None
    return outputs.detach(), features.grad, layer.weight.grad


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(4, 4), (8, 8), (7, 6), (14, 12)])
def test_values_and_gradients_are_those_of_pytorch(size: tuple[int, int], stride: int) -> None:
    torch.manual_seed(1)
    ours = Conv2d(64, 128, 3, stride, padding=1, bias=False)
    theirs = nn.Conv2d(64, 128, 3, stride, padding=1, bias=False)
    theirs.load_state_dict(ours.state_dict())
    features = torch.randn(5, 64, *size).to(memory_format=torch.channels_last)
    for mine, other in zip(gradients(ours, features), gradients(theirs, features), strict=True):
        assert mine.dtype == other.dtype
        torch.testing.assert_close(mine, other, rtol=0.02, atol=0.02 * other.abs().max().item())


def test_the_weight_gradient_is_right_in_float32() -> None:
    torch.manual_seed(1)
    features, pull = torch.randn(3, 6, 5, 4), torch.randn(3, 6, 5, 4)
    weight = torch.randn(6, 6, 3, 3)
    one_row = [convolution._one_row(maps) for maps in (pull, features)]
    expected = torch.nn.grad.conv2d_weight(features, weight.shape, pull, padding=1)
    _, found = convolution._backward(*one_row, weight, 1, features=False)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [(5, 4), (4, 7)])
def test_the_weight_gradient_of_stride_2_is_right_in_float32(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    features, pull = torch.randn(3, 6, *size), torch.randn(3, 8, (size[0] + 1) // 2, (size[1] + 1) // 2)
    expected = torch.nn.grad.conv2d_weight(features, (8, 6, 3, 3), pull, stride=2, padding=1)
    torch.testing.assert_close(convolution._by_patches(pull, features), expected)


@pytest.mark.parametrize("case", ["float32", "wide", "few channels", "stride 3", "no gradient"])
def test_other_cases_are_left_to_pytorch(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "_Small", None)  # to use it would be an error
    channels, width = 32 if case == "few channels" else 64, 16 if case == "wide" else 4
    layer = Conv2d(channels, 128, 3, stride=3 if case == "stride 3" else 1, padding=1, bias=False)
    with (
        torch.autocast("cpu", torch.bfloat16, enabled=case != "float32"),
        torch.set_grad_enabled(case != "no gradient"),
    ):
        assert layer(torch.randn(1, channels, 4, width)).shape[1] == 128
