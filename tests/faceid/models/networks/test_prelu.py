"""Our PReLU is PyTorch's, value for value, in every precision and memory layout."""

import pytest
import torch
from torch import nn

from faceid.models.networks.prelu import PReLU


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4), (torch.bfloat16, 1e-2)]
)
def test_values_and_gradients_are_those_of_pytorch(
    dtype: torch.dtype, tolerance: float, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    values = torch.randn(5, 6, 7, 3).to(dtype).contiguous(memory_format=layout)
    values[0, :, 0, 0] = 0  # the corner belongs to the slope's side
    pull = torch.randn(5, 6, 7, 3).to(dtype)
    results = []
    for activation in (nn.PReLU(6), PReLU(6)):
        activation.weight.data.copy_(torch.linspace(-0.5, 1.5, 6))
        activation.to(dtype)
        features = values.clone().requires_grad_()
        activated = activation(features)
        activated.backward(pull)
        results.append((activated, features.grad, activation.weight.grad))
    (expected, *expected_gradients), (actual, *gradients) = results
    assert torch.equal(actual, expected)
    assert torch.equal(gradients[0], expected_gradients[0])
    assert torch.allclose(gradients[1].double(), expected_gradients[1].double(), rtol=tolerance, atol=tolerance)


def test_without_gradient_it_is_pytorchs_own() -> None:
    values = torch.randn(2, 4, 3, 3)
    with torch.inference_mode():
        assert torch.equal(PReLU(4)(values), nn.PReLU(4)(values))


def test_weights_of_either_fit_the_other() -> None:
    assert PReLU(4).state_dict().keys() == nn.PReLU(4).state_dict().keys()
