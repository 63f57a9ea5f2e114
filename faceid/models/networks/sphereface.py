"""The SphereFace-N networks: plain 3x3 convolutions, PReLU and one linear layer, no normalisation at all.

Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", CVPR 2017, table 2.
"""

import torch
from torch import Tensor, nn

from faceid.models.graphs.sphereface import CHANNELS, REDUCTION
from faceid.models.networks.convolution import Conv2d
from faceid.models.networks.prelu import PReLU

PRELU_SLOPE = 0.25  # where nn.PReLU starts
RESIDUAL_STD = 0.01  # released prototxt: convolutions inside blocks start so small that a block starts as identity


class SphereFace(nn.Module):
    """A SphereFace-N: images [B, 3, H, W] float32 (normalised) -> embeddings [B, dimension], of any length.

    Args:
        blocks: residual blocks in each of the four stages, see `faceid.models.graphs.sphereface.BLOCKS`.
        input_size: height and width in pixels, both divisible by 16; the paper's is (112, 96).
        dimension: length of the embedding.
        width: factor on the channels of every stage; the paper's is 1.
        batch_norm: BatchNorm after every convolution and on the embedding. Not in the paper; for short runs.

    Raises:
        ValueError: `input_size` is not divisible by 16.
    """

    def __init__(
        self,
        blocks: tuple[int, int, int, int],
        *,
        input_size: tuple[int, int] = (112, 96),
        dimension: int = 512,
        width: float = 1.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        height, columns = input_size
        if height <= 0 or columns <= 0 or height % REDUCTION or columns % REDUCTION:
            raise ValueError(f"input size {height}x{columns} is not a multiple of {REDUCTION} both ways")
        stages: list[nn.Module] = []
        inputs = 3
        for full_channels, count in zip(CHANNELS, blocks, strict=True):
            channels = round(full_channels * width)
            stages.append(_Convolution(inputs, channels, stride=2, batch_norm=batch_norm))
            stages.extend(_Residual(channels, batch_norm=batch_norm) for _ in range(count))
            inputs = channels
        self.stages = nn.Sequential(*stages)
        # A BatchNorm right after the linear layer takes its bias away.
        features = inputs * (height // REDUCTION) * (columns // REDUCTION)
        self.embedding = nn.Linear(features, dimension, bias=not batch_norm)
        self.embedding_norm: nn.Module = nn.Identity()
        if batch_norm:
            # Embeddings of length sqrt(D) on average. A learned scale shrinks under a head that brings in a margin
            # (that is cheaper than to turn the embeddings), and the head's logits with it; an offset helps no cosine.
            self.embedding_norm = nn.BatchNorm1d(dimension, affine=False)
        nn.init.xavier_uniform_(self.embedding.weight)
        if self.embedding.bias is not None:
            nn.init.zeros_(self.embedding.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] -> embeddings [B, dimension], not of unit length."""
        features: Tensor = self.stages(images)
        embeddings: Tensor = self.embedding_norm(self.embedding(torch.flatten(features, 1)))
        return embeddings


class _Convolution(nn.Module):
    """A 3x3 convolution and its PReLU, Xavier weights (Kaiming with BatchNorm); stride 2 opens a stage."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, batch_norm: bool) -> None:
        super().__init__()
        self.convolution = Conv2d(inputs, outputs, 3, stride, padding=1, bias=not batch_norm)
        self.norm: nn.Module = nn.BatchNorm2d(outputs) if batch_norm else nn.Identity()
        self.activation = PReLU(outputs)
        if batch_norm:
            nn.init.kaiming_normal_(self.convolution.weight, a=PRELU_SLOPE)
        else:
            nn.init.xavier_uniform_(self.convolution.weight)
        if self.convolution.bias is not None:
            nn.init.zeros_(self.convolution.bias)

    def forward(self, features: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.norm(self.convolution(features)))
        return activated


class _Residual(nn.Module):
    """Two 3x3 convolutions, each with its PReLU, added to the input; nothing follows the sum."""

    def __init__(self, channels: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.first = _Convolution(channels, channels, stride=1, batch_norm=batch_norm)
        self.second = _Convolution(channels, channels, stride=1, batch_norm=batch_norm)
        if isinstance(self.second.norm, nn.BatchNorm2d):
            # BatchNorm undoes small weights, and makes their gradients huge: here its scale makes the block start
            # as identity.
            nn.init.zeros_(self.second.norm.weight)
            return
        for half in (self.first, self.second):
            nn.init.normal_(half.convolution.weight, std=RESIDUAL_STD)
            if half.convolution.bias is not None:
                half.convolution.bias.requires_grad_(False)  # there in the released files, frozen at 0

    def forward(self, features: Tensor) -> Tensor:
        residual: Tensor = self.second(self.first(features))
        return features + residual
