"""From crops to what the networks trained here see."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# v -> (v - 127.5) / 128, RGB, as the released SphereFace but for its channel order.
MEAN = 127.5
STD = 128.0


def to_input(crops: npt.NDArray[np.uint8]) -> Tensor:
    """Crops uint8 [B, h, w, 3] RGB -> the network's input [B, 3, h, w] float32, channels last in memory."""
    return normalised(torch.from_numpy(crops))


def normalised(crops: Tensor) -> Tensor:
    """Do the same with a tensor, where it lies."""
    return crops.permute(0, 3, 1, 2).float().sub_(MEAN).div_(STD)
