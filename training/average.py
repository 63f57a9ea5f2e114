"""An exponential moving average of a network's weights, which ends nearer the middle of the valley than any step.

Polyak and Juditsky 1992; with a decay, as in Tarvainen and Valpola 2017, section 3.
"""

import copy

import torch
from torch import nn

# The decay of step t is at most (1 + t) / (10 + t), so that the first steps are forgotten soon.
WARM_UP = 10


def averaged_copy(network: nn.Module) -> nn.Module:
    """Copy the network to hold the averages; it is not trained."""
    average = copy.deepcopy(network).requires_grad_(False)
    return average.eval()


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, *, decay: float, step: int) -> None:
    """Set average = d average + (1 - d) network, BatchNorm's statistics included; step counted from 1."""
    d = min(decay, (1 + step) / (WARM_UP + step))
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - d)
        else:
            mean.copy_(value)
