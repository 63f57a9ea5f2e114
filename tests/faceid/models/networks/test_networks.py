"""The networks are the published ones: parameter counts, shapes, and arguments that survive JSON."""

import json

import pytest
import torch
from torch import nn

from faceid.models.networks import ARCHITECTURES, build_network


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# Millions, biases and PReLU included, classifier not.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "at_112x96", "at_112x112"),
    [
        ("sphereface4", 12.56, 14.40),
        ("sphereface10", 15.22, 17.05),
        ("sphereface20", 22.67, 24.51),
        ("sphereface36", 32.78, 34.61),
        ("sphereface64-caffe", 47.91, 49.74),
        ("sphereface64", 48.20, 50.04),
    ],
)
def test_a_sphereface_has_the_published_number_of_parameters(
    architecture: str, at_112x96: float, at_112x112: float
) -> None:
    with torch.device("meta"):
        assert round(parameters(build_network(architecture)) / 1e6, 2) == at_112x96
        square = build_network(architecture, input_size=(112, 112))
    assert round(parameters(square) / 1e6, 2) == at_112x112


@pytest.mark.parametrize(
    ("architecture", "convolutions"),
    [
        ("sphereface4", 4),
        ("sphereface10", 10),
        ("sphereface20", 20),
        ("sphereface36", 36),
        ("sphereface64", 64),
        ("sphereface64-caffe", 62),
    ],
)
def test_a_sphereface_counts_its_convolutions_in_its_name_but_the_caffe_file_has_62(
    architecture: str, convolutions: int
) -> None:
    with torch.device("meta"):
        network = build_network(architecture)
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == convolutions


@pytest.mark.parametrize(
    ("architecture", "arguments", "millions"),
    [
        ("iresnet18", {}, 24.03),
        ("iresnet50", {}, 43.59),
        ("iresnet100", {}, 65.16),
        ("mobilefacenet", {}, 1.20),
        ("mobilefacenet", {"width": 2}, 2.06),
    ],
)
def test_a_comparison_network_has_the_published_number_of_parameters(
    architecture: str, arguments: dict[str, float], millions: float
) -> None:
    with torch.device("meta"):
        network = build_network(architecture, **arguments)
    assert round(parameters(network) / 1e6, 2) == millions


def test_the_plain_sphereface_has_no_normalisation_and_a_prelu_per_convolution() -> None:
    with torch.device("meta"):
        plain = list(build_network("sphereface20").modules())
        normalised = list(build_network("sphereface20", batch_norm=True).modules())
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    assert not any(isinstance(module, norms) for module in plain)
    assert sum(isinstance(module, norms) for module in normalised) == 21
    assert sum(isinstance(module, nn.PReLU) for module in plain) == 20


def test_a_sphereface_block_starts_close_to_identity_with_its_biases_frozen_at_zero() -> None:
    torch.manual_seed(0)
    network = build_network("sphereface20", width=0.25, input_size=(64, 64))
    block = network.get_submodule("stages.1")
    features = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(block(features), features, atol=0.05, rtol=0)
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert len(frozen) == 16
    assert all(name.endswith(".bias") and not network.get_parameter(name).any() for name in frozen)


@pytest.mark.parametrize("size", [(64, 64), (112, 96), (112, 112)])
@pytest.mark.parametrize("architecture", ["sphereface4", "sphereface10", "mobilefacenet", "iresnet18"])
def test_a_network_maps_photos_of_its_input_size_to_embeddings(architecture: str, size: tuple[int, int]) -> None:
    arguments = {"input_size": size, "dimension": 32, "width": 0.25}
    network = build_network(architecture, **json.loads(json.dumps(arguments))).eval()
    with torch.inference_mode():
        embeddings = network(torch.randn(2, 3, *size))
    assert embeddings.shape == (2, 32)
    assert embeddings.dtype == torch.float32
    assert embeddings.isfinite().all()
    assert not torch.equal(embeddings[0], embeddings[1])


def test_with_batch_norm_a_block_starts_as_identity_and_its_filters_keep_their_size() -> None:
    """Filters of standard deviation 0.01 under a BatchNorm have gradients that wreck the first steps of training."""
    torch.manual_seed(0)
    network = build_network("sphereface20", width=0.25, input_size=(64, 64), batch_norm=True)
    features = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(network.get_submodule("stages.1")(features), features)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert min(float(convolution.weight.detach().std()) for convolution in convolutions) > 0.02


def test_with_batch_norm_no_head_can_shrink_the_embeddings() -> None:
    network = build_network("sphereface4", width=0.25, input_size=(32, 32), dimension=64, batch_norm=True)
    embeddings = network(torch.randn(256, 3, 32, 32))
    torch.testing.assert_close(embeddings.square().sum(1).mean(), torch.tensor(64.0), rtol=1e-2, atol=0)
    assert not [name for name, _ in network.named_parameters() if name.startswith("embedding_norm")]


def test_the_width_scales_every_stage() -> None:
    with torch.device("meta"):
        half = build_network("sphereface20", width=0.5, dimension=256)
    convolutions = [module for module in half.modules() if isinstance(module, nn.Conv2d)]
    assert sorted({convolution.out_channels for convolution in convolutions}) == [32, 64, 128, 256]
    assert round(parameters(half) / 1e6, 1) == 5.7


@pytest.mark.parametrize("architecture", ["sphereface4", "mobilefacenet", "iresnet18"])
def test_an_input_size_that_the_strides_do_not_divide_is_refused(architecture: str) -> None:
    with pytest.raises(ValueError, match="100x96 is not a multiple of 16"):
        build_network(architecture, input_size=(100, 96))


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="sphereface64-caffe"):
        build_network("sphereface21")


def test_an_argument_that_the_network_does_not_take_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="depth"):
        build_network("sphereface20", depth=20)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_network_trains_end_to_end(architecture: str) -> None:
    torch.manual_seed(0)
    network = build_network(architecture, input_size=(32, 32), dimension=8, width=0.125)
    network(torch.randn(4, 3, 32, 32)).square().sum().backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
