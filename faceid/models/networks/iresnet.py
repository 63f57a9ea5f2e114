"""IResNet-18/50/100: the residual networks of ArcFace, which keep the full resolution in their first layer.

Deng et al., "ArcFace", CVPR 2019, section 3.1: blocks of BN-conv-BN-PReLU-conv-BN, tail BN-dropout-FC-BN.
"""

import torch
from torch import Tensor, nn

from faceid.models.graphs.iresnet import CHANNELS, REDUCTION, STEM_CHANNELS
from faceid.models.networks.dropout import Dropout

CONVOLUTION_STD = 0.1


class IResNet(nn.Module):
    """An IResNet: images [B, 3, H, W] float32 (normalised) -> embeddings [B, dimension], of any length.

    Args:
        blocks: residual blocks in each of the four stages, see `faceid.models.graphs.iresnet.BLOCKS`.
        input_size: height and width in pixels, both divisible by 16; the paper's is (112, 112).
        dimension: length of the embedding.
        width: factor on the channels of every stage; the paper's is 1.
        dropout: share of features dropped before the last linear layer, while training.

    Raises:
        ValueError: `input_size` is not divisible by 16.
    """

    def __init__(
        self,
        blocks: tuple[int, int, int, int],
        *,
        input_size: tuple[int, int] = (112, 112),
        dimension: int = 512,
        width: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        height, columns = input_size
        if height <= 0 or columns <= 0 or height % REDUCTION or columns % REDUCTION:
            raise ValueError(f"input size {height}x{columns} is not a multiple of {REDUCTION} both ways")
        inputs = round(STEM_CHANNELS * width)
        self.stem = nn.Sequential(
            nn.Conv2d(3, inputs, 3, padding=1, bias=False), nn.BatchNorm2d(inputs), nn.PReLU(inputs)
        )
        stages: list[nn.Module] = []
        for full_channels, count in zip(CHANNELS, blocks, strict=True):
            channels = round(full_channels * width)
            for block in range(count):
                stages.append(_Residual(inputs, channels, stride=2 if block == 0 else 1))
                inputs = channels
        self.stages = nn.Sequential(*stages)
        self.features_norm = nn.BatchNorm2d(inputs)
        self.dropout = Dropout(dropout)
        features = inputs * (height // REDUCTION) * (columns // REDUCTION)
        self.embedding = nn.Linear(features, dimension)
        self.embedding_norm = nn.BatchNorm1d(dimension)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=CONVOLUTION_STD)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] -> embeddings [B, dimension], not of unit length."""
        features: Tensor = self.features_norm(self.stages(self.stem(images)))
        embeddings: Tensor = self.embedding(self.dropout(torch.flatten(features, 1)))
        normalised: Tensor = self.embedding_norm(embeddings)
        return normalised


class _Residual(nn.Module):
    """BN-conv-BN-PReLU-conv(stride)-BN, added to the input or, where the size changes, its 1x1 projection."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        shortcut: Tensor = self.shortcut(features)
        residual: Tensor = self.residual(features)
        return shortcut + residual
