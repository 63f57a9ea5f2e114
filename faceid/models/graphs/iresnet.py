"""The IResNets (Deng et al., "ArcFace", CVPR 2019) as ONNX; `faceid.models.networks.iresnet` trains them."""

from faceid.inference.onnx_graph import OnnxGraph
from faceid.models.graphs.layers import convolution, linear, norm, prelu

BLOCKS: dict[str, tuple[int, int, int, int]] = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
}
STEM_CHANNELS = 64
CHANNELS = (64, 128, 256, 512)
REDUCTION = 16


def iresnet(
    graph: OnnxGraph,
    crops: str,
    blocks: tuple[int, int, int, int],
    *,
    input_size: tuple[int, int] = (112, 112),
    dimension: int = 512,
    width: float = 1.0,
    dropout: float = 0.0,
) -> str:
    """Map crops [B, 3, H, W] to embeddings [B, dimension]; arguments as of the PyTorch class, dropout idle."""
    inputs = round(STEM_CHANNELS * width)
    features = convolution(graph, crops, "stem.0", (3, inputs), (3, 3), padding=1)
    features = prelu(graph, norm(graph, features, "stem.1", inputs), "stem.2", inputs)
    place = 0
    for full_channels, count in zip(CHANNELS, blocks, strict=True):
        outputs = round(full_channels * width)
        for block in range(count):
            stride = 2 if block == 0 else 1
            features = _residual(graph, features, f"stages.{place}", (inputs, outputs), stride)
            inputs, place = outputs, place + 1
    height, columns = input_size
    flat = graph.node("Flatten", norm(graph, features, "features_norm", inputs), axis=1)
    length = inputs * (height // REDUCTION) * (columns // REDUCTION)
    return norm(graph, linear(graph, flat, "embedding", length, dimension), "embedding_norm", dimension)


def _residual(graph: OnnxGraph, features: str, name: str, channels: tuple[int, int], stride: int) -> str:
    inputs, outputs = channels
    residual = norm(graph, features, f"{name}.residual.0", inputs)
    residual = convolution(graph, residual, f"{name}.residual.1", channels, (3, 3), padding=1)
    residual = prelu(graph, norm(graph, residual, f"{name}.residual.2", outputs), f"{name}.residual.3", outputs)
    residual = convolution(graph, residual, f"{name}.residual.4", (outputs, outputs), (3, 3), stride=stride, padding=1)
    residual = norm(graph, residual, f"{name}.residual.5", outputs)
    if stride != 1 or inputs != outputs:
        shortcut = convolution(graph, features, f"{name}.shortcut.0", channels, (1, 1), stride=stride)
        features = norm(graph, shortcut, f"{name}.shortcut.1", outputs)
    return graph.node("Add", features, residual)
