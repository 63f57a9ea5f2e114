"""MobileFaceNet: inverted residuals with a global depthwise convolution in place of pooling.

Chen et al., "MobileFaceNets", CCBR 2018, table 1. Width 1 is the paper's, width 2 common trainers' "mbf".
"""

import torch
from torch import Tensor, nn

from faceid.models.graphs.mobilefacenet import LAST_CHANNELS, REDUCTION, STAGES, STEM_CHANNELS


class MobileFaceNet(nn.Module):
    """A MobileFaceNet: images [B, 3, H, W] float32 (normalised) -> embeddings [B, dimension], of any length.

    Args:
        input_size: height and width in pixels, both divisible by 16; the paper's is (112, 112).
        dimension: length of the embedding; the paper's is 128.
        width: factor on the channels between the blocks; the paper's is 1.

    Raises:
        ValueError: `input_size` is not divisible by 16.
    """

    def __init__(
        self,
        *,
        input_size: tuple[int, int] = (112, 112),
        dimension: int = 512,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        height, columns = input_size
        if height <= 0 or columns <= 0 or height % REDUCTION or columns % REDUCTION:
            raise ValueError(f"input size {height}x{columns} is not a multiple of {REDUCTION} both ways")
        inputs = round(STEM_CHANNELS * width)
        layers: list[nn.Module] = [
            _Convolution(3, inputs, 3, stride=2),
            # At width 2 the groups stay 64, so this one is not quite depthwise there.
            _Convolution(inputs, inputs, 3, groups=min(STEM_CHANNELS, inputs)),
        ]
        for reduction, count, expansion, full_channels in STAGES:
            channels = round(full_channels * width)
            layers.append(_bottleneck(inputs, reduction, channels, stride=2))
            layers.extend(_Residual(_bottleneck(channels, expansion, channels, stride=1)) for _ in range(count))
            inputs = channels
        layers.append(_Convolution(inputs, LAST_CHANNELS, 1))
        whole_map = (height // REDUCTION, columns // REDUCTION)
        layers.append(nn.Conv2d(LAST_CHANNELS, LAST_CHANNELS, whole_map, groups=LAST_CHANNELS, bias=False))
        layers.append(nn.BatchNorm2d(LAST_CHANNELS))
        self.layers = nn.Sequential(*layers)
        self.embedding = nn.Linear(LAST_CHANNELS, dimension, bias=False)
        self.embedding_norm = nn.BatchNorm1d(dimension)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] -> embeddings [B, dimension], not of unit length."""
        features: Tensor = self.embedding(torch.flatten(self.layers(images), 1))
        embeddings: Tensor = self.embedding_norm(features)
        return embeddings


class _Convolution(nn.Sequential):
    """Convolution, BatchNorm, PReLU; the output is as large as the input, or half of it at stride 2."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
        )


class _Residual(nn.Module):
    """A bottleneck added to its own input."""

    def __init__(self, bottleneck: nn.Module) -> None:
        super().__init__()
        self.bottleneck = bottleneck

    def forward(self, features: Tensor) -> Tensor:
        residual: Tensor = self.bottleneck(features)
        return features + residual


def _bottleneck(inputs: int, expansion: int, outputs: int, *, stride: int) -> nn.Sequential:
    """Widen by 1x1, filter each channel by 3x3, narrow by 1x1 with no activation (an inverted residual)."""
    return nn.Sequential(
        _Convolution(inputs, expansion, 1),
        _Convolution(expansion, expansion, 3, stride=stride, groups=expansion),
        nn.Conv2d(expansion, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )
