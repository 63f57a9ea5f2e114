"""Our networks as ONNX are our networks in PyTorch: the same weights give the same embeddings."""

import numpy as np
import pytest
import torch
from torch import nn

from faceid.inference.onnx_session import open_session
from faceid.models.graphs import ARCHITECTURES, onnx_network
from faceid.models.networks import build_network

SIZE = (48, 32)
KINDS = [(name, {}) for name in ARCHITECTURES] + [
    (name, {"batch_norm": True}) for name in ARCHITECTURES if name.startswith("sphereface")
]


def taught(architecture: str, arguments: dict[str, object]) -> nn.Module:
    """A network whose every parameter and statistic matters, as if it had been trained."""
    torch.manual_seed(3)
    network = build_network(architecture, **arguments)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
        if isinstance(module, nn.PReLU):
            nn.init.normal_(module.weight)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias)
    return network.eval()


@pytest.mark.parametrize(("architecture", "more"), KINDS, ids=lambda value: "norm" if value else "")
def test_onnx_and_pytorch_agree(architecture, more):
    arguments = {"width": 0.125, "dimension": 24, "input_size": SIZE, **more}
    network = taught(architecture, arguments)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    crops = torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(crops).numpy()

    (found,) = open_session(onnx_network(architecture, arguments, weights)).run(None, {"crops": crops.numpy()})

    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_arguments_left_out_mean_the_same_to_both():
    network = taught("sphereface4", {})
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    crops = np.zeros((1, 3, 112, 96), np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(crops)).numpy()

    (found,) = open_session(onnx_network("sphereface4", {"input_size": [112, 96]}, weights)).run(None, {"crops": crops})

    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_an_unknown_architecture_or_argument_is_named():
    with pytest.raises(ValueError, match="unknown architecture 'resnet'; known are sphereface4"):
        onnx_network("resnet", {"input_size": SIZE}, {})
    with pytest.raises(ValueError, match=r"mobilefacenet does not take these arguments: .*batch_norm"):
        onnx_network("mobilefacenet", {"input_size": SIZE, "batch_norm": True}, {})
    with pytest.raises(ValueError, match="50x32 is not a multiple of 16"):
        onnx_network("sphereface4", {"input_size": (50, 32)}, {})
