"""The layers that the networks share, as ONNX nodes; each finds its weights under a PyTorch module's name."""

import numpy as np

from faceid.inference.onnx_graph import OnnxGraph

EPSILON = 1e-5  # PyTorch's in BatchNorm


def convolution(
    graph: OnnxGraph,
    features: str,
    name: str,
    channels: tuple[int, int],
    kernel: tuple[int, int],
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    bias: bool = False,
) -> str:
    """Convolve [B, inputs, H, W]; `channels` are inputs and outputs."""
    inputs, outputs = channels
    parameters = [graph.weight(f"{name}.weight", outputs, inputs // groups, *kernel)]
    if bias:
        parameters.append(graph.weight(f"{name}.bias", outputs))
    return graph.node(
        "Conv", features, *parameters, kernel_shape=kernel, strides=[stride] * 2, pads=[padding] * 4, group=groups
    )


def norm(graph: OnnxGraph, features: str, name: str, channels: int, *, affine: bool = True) -> str:
    """Normalise by the means and variances of training; `affine` False: with neither scale nor offset."""
    graph.without(f"{name}.num_batches_tracked")
    mean, variance = (graph.weight(f"{name}.running_{which}", channels) for which in ("mean", "var"))
    if affine:
        scale, offset = (graph.weight(f"{name}.{which}", channels) for which in ("weight", "bias"))
    else:
        scale = graph.constant(f"{name}.weight", np.ones(channels, np.float32))
        offset = graph.constant(f"{name}.bias", np.zeros(channels, np.float32))
    return graph.node("BatchNormalization", features, scale, offset, mean, variance, epsilon=EPSILON)


def prelu(graph: OnnxGraph, features: str, name: str, channels: int) -> str:
    """Apply PReLU to [B, channels, H, W]."""
    return graph.node("PRelu", features, graph.weight(f"{name}.weight", channels, broadcast=True))


def linear(graph: OnnxGraph, features: str, name: str, inputs: int, outputs: int, *, bias: bool = True) -> str:
    """Multiply [B, inputs] by the transposed matrix [outputs, inputs]."""
    parameters = [graph.weight(f"{name}.weight", outputs, inputs)]
    if bias:
        parameters.append(graph.weight(f"{name}.bias", outputs))
    return graph.node("Gemm", features, *parameters, transB=1)
