"""Our own networks as ONNX, made of a model file's weights without PyTorch: how processors run them.

`faceid.models.networks` holds the same networks for training, and for CUDA; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from faceid.inference.onnx_graph import OnnxGraph
from faceid.models.graphs.iresnet import BLOCKS as IRESNETS
from faceid.models.graphs.iresnet import iresnet
from faceid.models.graphs.mobilefacenet import mobilefacenet
from faceid.models.graphs.sphereface import BLOCKS as SPHEREFACES
from faceid.models.graphs.sphereface import sphereface

ARCHITECTURES: tuple[str, ...] = (*SPHEREFACES, "mobilefacenet", *IRESNETS)
INPUT, OUTPUT = "crops", "embeddings"
REDUCTION = 16  # of all architectures: both sides of the input are multiples of it


def onnx_network(
    architecture: str,
    arguments: Mapping[str, Any],
    weights: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Write a network as ONNX: `crops` [B, 3, H, W] float32, normalised -> `embeddings` [B, D] float32, of any length.

    `architecture` and `arguments` as `faceid.models.networks.build_network` takes them, `weights` as its network's
    state. Raises ValueError for an architecture or an argument that there is not, and for weights that do not fit.
    """
    height, columns = (int(side) for side in arguments["input_size"])
    if height <= 0 or columns <= 0 or height % REDUCTION or columns % REDUCTION:
        raise ValueError(f"input size {height}x{columns} is not a multiple of {REDUCTION} both ways")
    graph = OnnxGraph(weights)
    settings = {**arguments, "input_size": (height, columns)}
    try:
        if architecture in SPHEREFACES:
            embeddings = sphereface(graph, INPUT, SPHEREFACES[architecture], **settings)
        elif architecture in IRESNETS:
            embeddings = iresnet(graph, INPUT, IRESNETS[architecture], **settings)
        elif architecture == "mobilefacenet":
            embeddings = mobilefacenet(graph, INPUT, **settings)
        else:
            raise ValueError(f"unknown architecture {architecture!r}; known are {', '.join(ARCHITECTURES)}")
    except TypeError as error:
        raise ValueError(f"{architecture} does not take these arguments: {error}") from error
    dimension = settings.get("dimension", 512)
    return graph.to_bytes(
        {INPUT: ("batch", 3, height, columns)}, {OUTPUT: (embeddings, ("batch", dimension))}, metadata
    )
