"""The networks that turn an aligned face into an embedding, by their names in model files and configs."""

from typing import Any

from torch import nn

from faceid.models.graphs import ARCHITECTURES
from faceid.models.graphs.iresnet import BLOCKS as IRESNETS
from faceid.models.graphs.sphereface import BLOCKS as SPHEREFACES
from faceid.models.networks import iresnet, mobilefacenet, sphereface


def build_network(architecture: str, **arguments: Any) -> nn.Module:
    """Build an untrained network: normalised [B, 3, H, W] float32 -> [B, dimension] float32 of any length.

    Args:
        architecture: one of `ARCHITECTURES`.
        arguments: what the network's class takes, all JSON-able: `input_size` (height, width), both multiples
            of 16, `dimension`, `width`, `batch_norm` (SphereFace) and `dropout` (IResNet).

    Raises:
        ValueError: an unknown architecture, an argument it does not take, or a bad input size.
    """
    if "input_size" in arguments:
        height, columns = arguments["input_size"]  # a list, once it has been through JSON
        arguments["input_size"] = (int(height), int(columns))
    try:
        if architecture in SPHEREFACES:
            return sphereface.SphereFace(SPHEREFACES[architecture], **arguments)
        if architecture in IRESNETS:
            return iresnet.IResNet(IRESNETS[architecture], **arguments)
        if architecture == "mobilefacenet":
            return mobilefacenet.MobileFaceNet(**arguments)
    except (TypeError, RuntimeError, ArithmeticError) as error:  # PyTorch's words for sizes below 0, and of 0
        raise ValueError(f"{architecture} does not take these arguments: {error}") from error
    raise ValueError(f"unknown architecture {architecture!r}; known are {', '.join(ARCHITECTURES)}")
