"""PReLU whose backward pass is made of operations that run at the speed of memory, 3 times as fast in bfloat16.

He et al., "Delving Deep into Rectifiers", ICCV 2015, equations 1 and 8 to 10.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class PReLU(nn.PReLU):
    """x where x > 0, else a x, with a slope a for each channel: [B, C, H, W] -> the same.

    Weights, values and gradients are those of `nn.PReLU`; PyTorch's own backward pass takes a fifth of the time of a
    training step on a processor.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, C, H, W] of any floating type -> the same."""
        slope = self.weight.to(features.dtype)
        if features.device.type == "cpu" and torch.is_grad_enabled() and features.ndim == 4:
            activated: Tensor = _PReLU.apply(features, slope)  # type: ignore[no-untyped-call]
            return activated
        return functional.prelu(features, slope)


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: Tensor, slope: Tensor) -> Tensor:
        context.save_for_backward(features, slope)
        return functional.prelu(features, slope)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        features, slope = context.saved_tensors
        (gradient,) = gradients
        above = torch.ops.aten.threshold_backward(gradient, features, 0)  # 0 where x <= 0
        below = gradient - above
        of_features = torch.addcmul(above, below, slope.view(1, -1, 1, 1))
        products = below.mul_(features).movedim(1, 3).flatten(0, 2)
        ones = products.new_ones(1, len(products))  # a product adds up in float32, a sum would copy to it first
        return of_features, (ones @ products)[0]
