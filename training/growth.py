"""Start from a network that was trained at another input size: filters fit, the linear layer is stretched.

Cheap resolution first and full resolution last gives many more epochs in the same time (Touvron et al. 2019 have the
reason why the last epochs must see the resolution of use).
"""

from torch import Tensor, nn
from torch.nn import functional

from faceid.networks.sphereface import REDUCTION
from training.checkpoint import Checkpoint
from training.errors import ConfigError

LINEAR = "embedding.weight"  # the only tensor of a SphereFace whose shape follows the input size


def start_from(network: nn.Module, checkpoint: Checkpoint, input_size: tuple[int, int]) -> None:
    """Copy the weights (the averaged ones, where there are) of another run of the same network into this one.

    Raises:
        ConfigError: the networks differ in more than the input size.
    """
    weights = dict(checkpoint.average or checkpoint.network)
    height, width = checkpoint.config["network"]["arguments"]["input_size"]
    if (height, width) != tuple(input_size) and LINEAR in weights:
        old, new = ((size[0] // REDUCTION, size[1] // REDUCTION) for size in ((height, width), input_size))
        weights[LINEAR] = stretch_linear(weights[LINEAR], old, new)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(f"the initial checkpoint is of another network: {error}") from error


def stretch_linear(weight: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Weights [D, C h w] on feature maps of h x w -> [D, C H W] on maps of H x W, with the same response to even maps.

    Bilinear in space, divided by the growth of the area.
    """
    maps = weight.view(len(weight), -1, *old)
    stretched = functional.interpolate(maps, new, mode="bilinear", align_corners=False)
    return stretched.flatten(1) * (old[0] * old[1] / (new[0] * new[1]))
