"""MobileFaceNet (Chen et al., CCBR 2018, table 1) as ONNX; `faceid.models.networks.mobilefacenet` trains it."""

from faceid.inference.onnx_graph import OnnxGraph
from faceid.models.graphs.layers import convolution, linear, norm, prelu

# (stride-2 expansion, residual blocks after it, their expansion, output channels at width 1); paper table 1.
# Expansions are channel counts and do not grow with the width: that is how the width-2 network is defined.
STAGES = (
    (128, 4, 128, 64),
    (256, 6, 256, 128),
    (512, 2, 256, 128),
)
STEM_CHANNELS = 64
LAST_CHANNELS = 512
REDUCTION = 16


def mobilefacenet(
    graph: OnnxGraph,
    crops: str,
    *,
    input_size: tuple[int, int] = (112, 112),
    dimension: int = 512,
    width: float = 1.0,
) -> str:
    """Map crops [B, 3, H, W] to embeddings [B, dimension]; arguments as of the PyTorch class."""
    inputs = round(STEM_CHANNELS * width)
    features = _convolution(graph, crops, "layers.0", (3, inputs), 3, stride=2)
    features = _convolution(graph, features, "layers.1", (inputs, inputs), 3, groups=min(STEM_CHANNELS, inputs))
    place = 2
    for reduction, count, expansion, full_channels in STAGES:
        outputs = round(full_channels * width)
        features = _bottleneck(graph, features, f"layers.{place}", (inputs, reduction, outputs), stride=2)
        for block in range(place + 1, place + 1 + count):
            residual = _bottleneck(graph, features, f"layers.{block}.bottleneck", (outputs, expansion, outputs))
            features = graph.node("Add", features, residual)
        inputs, place = outputs, place + 1 + count
    features = _convolution(graph, features, f"layers.{place}", (inputs, LAST_CHANNELS), 1)
    whole_map = (input_size[0] // REDUCTION, input_size[1] // REDUCTION)
    last = (LAST_CHANNELS, LAST_CHANNELS)
    features = convolution(graph, features, f"layers.{place + 1}", last, whole_map, groups=LAST_CHANNELS)
    features = norm(graph, features, f"layers.{place + 2}", LAST_CHANNELS)
    flat = graph.node("Flatten", features, axis=1)
    embeddings = linear(graph, flat, "embedding", LAST_CHANNELS, dimension, bias=False)
    return norm(graph, embeddings, "embedding_norm", dimension)


def _convolution(
    graph: OnnxGraph,
    features: str,
    name: str,
    channels: tuple[int, int],
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
) -> str:
    """Convolution, BatchNorm, PReLU."""
    square = (kernel, kernel)
    features = convolution(
        graph, features, f"{name}.0", channels, square, stride=stride, padding=kernel // 2, groups=groups
    )
    return prelu(graph, norm(graph, features, f"{name}.1", channels[1]), f"{name}.2", channels[1])


def _bottleneck(graph: OnnxGraph, features: str, name: str, channels: tuple[int, int, int], *, stride: int = 1) -> str:
    """Widen, filter each channel, narrow; `channels` are inputs, expansion and outputs."""
    inputs, expansion, outputs = channels
    features = _convolution(graph, features, f"{name}.0", (inputs, expansion), 1)
    features = _convolution(graph, features, f"{name}.1", (expansion, expansion), 3, stride=stride, groups=expansion)
    features = convolution(graph, features, f"{name}.2", (expansion, outputs), (1, 1))
    return norm(graph, features, f"{name}.3", outputs)
