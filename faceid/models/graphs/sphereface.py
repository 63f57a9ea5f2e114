"""The SphereFace networks (Liu et al., CVPR 2017, table 2) as ONNX; `faceid.models.networks.sphereface` trains them."""

from faceid.inference.onnx_graph import OnnxGraph
from faceid.models.graphs.layers import convolution, linear, norm, prelu

# Residual blocks in each of the four stages; every stage opens with one stride-2 convolution.
# The paper's table 2 gives the deepest network 64 convolutions; the released Caffe file of the same name has
# one block less in stage 2, thus 62. Weights do not fit from one to the other, so both are here.
BLOCKS: dict[str, tuple[int, int, int, int]] = {
    "sphereface4": (0, 0, 0, 0),
    "sphereface10": (0, 1, 2, 0),
    "sphereface20": (1, 2, 4, 1),
    "sphereface36": (2, 4, 8, 2),
    "sphereface64": (3, 8, 16, 3),
    "sphereface64-caffe": (3, 7, 16, 3),
}
CHANNELS = (64, 128, 256, 512)
REDUCTION = 16  # four stages of stride 2


def sphereface(
    graph: OnnxGraph,
    crops: str,
    blocks: tuple[int, int, int, int],
    *,
    input_size: tuple[int, int] = (112, 96),
    dimension: int = 512,
    width: float = 1.0,
    batch_norm: bool = False,
) -> str:
    """Map crops [B, 3, H, W] to embeddings [B, dimension]; arguments as of the PyTorch class."""
    features, inputs, place = crops, 3, 0
    for full_channels, count in zip(CHANNELS, blocks, strict=True):
        channels = round(full_channels * width)
        features = _convolution(graph, features, f"stages.{place}", (inputs, channels), 2, batch_norm)
        for block in range(place + 1, place + 1 + count):
            residual = features
            for half in ("first", "second"):
                residual = _convolution(graph, residual, f"stages.{block}.{half}", (channels, channels), 1, batch_norm)
            features = graph.node("Add", features, residual)
        inputs, place = channels, place + 1 + count
    height, columns = input_size
    flat = graph.node("Flatten", features, axis=1)
    length = inputs * (height // REDUCTION) * (columns // REDUCTION)
    embeddings = linear(graph, flat, "embedding", length, dimension, bias=not batch_norm)
    return norm(graph, embeddings, "embedding_norm", dimension, affine=False) if batch_norm else embeddings


def _convolution(
    graph: OnnxGraph, features: str, name: str, channels: tuple[int, int], stride: int, with_norm: bool
) -> str:
    features = convolution(
        graph, features, f"{name}.convolution", channels, (3, 3), stride=stride, padding=1, bias=not with_norm
    )
    if with_norm:
        features = norm(graph, features, f"{name}.norm", channels[1])
    return prelu(graph, features, f"{name}.activation", channels[1])
