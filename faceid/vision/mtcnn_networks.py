"""MTCNN's three networks as ONNX Runtime runs them on the processor: the reference is `mtcnn_torch`, for CUDA too.

Whoever runs them offers the same four steps (`Networks`), and no more: what lies between is the cascade's.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from faceid.inference.onnx_graph import OnnxGraph
from faceid.inference.onnx_session import Session, open_session

Float32Array = NDArray[np.float32]
Weights = dict[str, Float32Array]
Held = Any  # a photo where the networks run


class Networks(Protocol):
    """P-Net, R-Net and O-Net on some device; many threads may use them at once."""

    level_pixels: int  # a batch for P-Net, or one level of one photo where that is more
    crops: int  # a batch for R-Net or O-Net

    def propose(self, levels: Float32Array, least: float) -> "Proposals":
        """P-Net over pyramid levels [B, H, W, 3]: what it says where the logit of a face is above `least`."""
        ...

    def hold(self, photo: Float32Array) -> Held:
        """Bring a photo [H, W, 3] to where the networks run."""
        ...

    def cut(self, photo: Held, points: Float32Array) -> Held:
        """Sample a photo at the points [n, side, side, 2] (x, y, the photo is -1..1), bilinear, 0 outside it."""
        ...

    def refine(self, crops: Sequence[Held]) -> tuple[Float32Array, Float32Array]:
        """R-Net on crops of 24 px: box offsets [n, 4] and logits [n]."""
        ...

    def locate(self, crops: Sequence[Held]) -> tuple[Float32Array, Float32Array, Float32Array]:
        """O-Net on crops of 48 px: box offsets [n, 4], landmarks [n, 10] (x1..x5, y1..y5, of the box), logits [n]."""
        ...


# Which level, row and column of the map, offsets [n, 4], logits [n].
Proposals = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], Float32Array, Float32Array]


class OnnxNetworks:
    """The networks on the processor, in the threads that call them."""

    level_pixels = 2**16  # with `crops` small enough for the second-level cache
    crops = 32

    def __init__(self, weights: Weights) -> None:
        self._pnet, self._rnet, self._onet, self._sampler = (
            open_session(network) for network in (pnet(weights), rnet(weights), onet(weights), sampler())
        )

    def propose(self, levels: Float32Array, least: float) -> Proposals:
        """See `Networks`."""
        offsets, logits = self._pnet.run(None, {"levels": levels})
        found = np.nonzero(logits[:, 0] > least)
        position, row, column = found
        return position, row, column, offsets[position, :, row, column], logits[:, 0][found]

    def hold(self, photo: Float32Array) -> Float32Array:
        """See `Networks`."""
        return np.ascontiguousarray(photo.transpose(2, 0, 1)[None])

    def cut(self, photo: Float32Array, points: Float32Array) -> Float32Array:
        """See `Networks`."""
        n, side = points.shape[:2]
        (sampled,) = self._sampler.run(None, {"photo": photo, "points": points.reshape(1, n * side, side, 2)})
        crops: Float32Array = sampled.reshape(3, n, side, side).transpose(1, 0, 2, 3)
        return crops

    def refine(self, crops: Sequence[Float32Array]) -> tuple[Float32Array, Float32Array]:
        """See `Networks`."""
        offsets, logits = _look(self._rnet, 24, crops)
        return offsets, logits[:, 0]

    def locate(self, crops: Sequence[Float32Array]) -> tuple[Float32Array, Float32Array, Float32Array]:
        """See `Networks`."""
        offsets, landmarks, logits = _look(self._onet, 48, crops)
        return offsets, landmarks, logits[:, 0]


def _look(session: Session, side: int, crops: Sequence[Float32Array]) -> list[Float32Array]:
    outputs: list[Float32Array] = session.run(
        None, {"crops": np.concatenate([np.empty((0, 3, side, side), np.float32), *crops])}
    )
    return outputs


def pnet(weights: Weights) -> bytes:
    """Proposal network: for every 12 x 12 window (stride 2) of [B, H, W, 3] four box offsets and a face logit."""
    graph, layers = _network(weights, "pnet")
    x = graph.node("Transpose", "levels", perm=(0, 3, 1, 2))
    x = layers.pool(layers.prelu(layers.convolution(x, "conv1", (3, 10), 3), "prelu1", 10), 2, ceil=True)
    x = layers.prelu(layers.convolution(x, "conv2", (10, 16), 3), "prelu2", 16)
    x = layers.prelu(layers.convolution(x, "conv3", (16, 32), 3), "prelu3", 32)
    offsets = layers.convolution(x, "offsets", (32, 4), 1)
    face = layers.convolution(x, "face", (32, 1), 1)
    return graph.to_bytes(
        {"levels": ("batch", "height", "width", 3)},
        {"offsets": (offsets, ("batch", 4, "rows", "columns")), "face": (face, ("batch", 1, "rows", "columns"))},
    )


def rnet(weights: Weights) -> bytes:
    """Refinement network: for a 24 x 24 crop four box offsets and a face logit."""
    graph, layers = _network(weights, "rnet")
    x = layers.prelu(layers.convolution("crops", "conv1", (3, 28), 3), "prelu1", 28)
    x = layers.prelu(layers.convolution(layers.pool(x, 3, ceil=True), "conv2", (28, 48), 3), "prelu2", 48)
    x = layers.prelu(layers.convolution(layers.pool(x, 3), "conv3", (48, 64), 2), "prelu3", 64)
    x = layers.prelu(layers.dense(layers.flat(x), "dense4", 576, 128), "prelu4", 128, flat=True)
    return graph.to_bytes(
        {"crops": ("batch", 3, 24, 24)},
        {
            "offsets": (layers.dense(x, "offsets", 128, 4), ("batch", 4)),
            "face": (layers.dense(x, "face", 128, 1), ("batch", 1)),
        },
    )


def onet(weights: Weights) -> bytes:
    """Output network: for a 48 x 48 crop four box offsets, five landmarks (x1..x5, y1..y5) and a face logit."""
    graph, layers = _network(weights, "onet")
    x = layers.prelu(layers.convolution("crops", "conv1", (3, 32), 3), "prelu1", 32)
    x = layers.prelu(layers.convolution(layers.pool(x, 3, ceil=True), "conv2", (32, 64), 3), "prelu2", 64)
    x = layers.prelu(layers.convolution(layers.pool(x, 3), "conv3", (64, 64), 3), "prelu3", 64)
    x = layers.prelu(layers.convolution(layers.pool(x, 2), "conv4", (64, 128), 2), "prelu4", 128)
    x = layers.prelu(layers.dense(layers.flat(x), "dense5", 1152, 256), "prelu5", 256, flat=True)
    return graph.to_bytes(
        {"crops": ("batch", 3, 48, 48)},
        {
            "offsets": (layers.dense(x, "offsets", 256, 4), ("batch", 4)),
            "landmarks": (layers.dense(x, "landmarks", 256, 10), ("batch", 10)),
            "face": (layers.dense(x, "face", 256, 1), ("batch", 1)),
        },
    )


def sampler() -> bytes:
    """Sample a photo [1, 3, H, W] at points [1, h, w, 2]: what cuts the crops."""
    graph = OnnxGraph({})
    sampled = graph.node("GridSample", "photo", "points", mode="bilinear", padding_mode="zeros", align_corners=0)
    return graph.to_bytes(
        {"photo": (1, 3, "height", "width"), "points": (1, "rows", "columns", 2)},
        {"sampled": (sampled, (1, 3, "rows", "columns"))},
    )


def _network(weights: Weights, name: str) -> "tuple[OnnxGraph, _Layers]":
    """Begin the graph of one network, with its weights."""
    prefix = f"{name}."
    graph = OnnxGraph({key.removeprefix(prefix): array for key, array in weights.items() if key.startswith(prefix)})
    return graph, _Layers(graph)


class _Layers:
    """The layers that the three networks are made of."""

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph

    def convolution(self, x: str, name: str, channels: tuple[int, int], side: int) -> str:
        inputs, outputs = channels
        kernel = self._graph.weight(f"{name}.weight", outputs, inputs, side, side)
        return self._graph.node("Conv", x, kernel, self._graph.weight(f"{name}.bias", outputs))

    def prelu(self, x: str, name: str, channels: int, *, flat: bool = False) -> str:
        return self._graph.node("PRelu", x, self._graph.weight(f"{name}.weight", channels, broadcast=not flat))

    def pool(self, x: str, side: int, *, ceil: bool = False) -> str:
        return self._graph.node("MaxPool", x, kernel_shape=(side, side), strides=(2, 2), ceil_mode=int(ceil))

    def flat(self, x: str) -> str:
        """Flatten [n, C, H, W] in the order (W, H, C) in which the dense layers were trained."""
        return self._graph.node("Flatten", self._graph.node("Transpose", x, perm=(0, 3, 2, 1)), axis=1)

    def dense(self, x: str, name: str, inputs: int, outputs: int) -> str:
        matrix = self._graph.weight(f"{name}.weight", outputs, inputs)
        return self._graph.node("Gemm", x, matrix, self._graph.weight(f"{name}.bias", outputs), transB=1)
