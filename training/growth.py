"""Start from a run at another input size: filters and class centres fit, the linear layer is stretched.

Cheap resolution first and full resolution last gives many more epochs in the same time (Touvron et al. 2019 have the
reason why the last epochs must see the resolution of use).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from faceid.models.networks.sphereface import REDUCTION
from training.checkpoint import Checkpoint
from training.errors import ConfigError
from training.heads.head import SphereHead

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


def start_centres(head: SphereHead, identities: Sequence[str], checkpoint: Checkpoint) -> None:
    """Give the people that the other run had the class centres that it learned for them; the rest keep their own.

    Args:
        head: a head of K classes.
        identities: the K names behind them.
        checkpoint: the other run; one without a head, or with embeddings of another dimension, leaves all as it is.
    """
    learned = checkpoint.head.get("weight")
    if learned is None or learned.shape[1] != head.weight.shape[1]:
        return
    row = {name: place for place, name in enumerate(checkpoint.identities)}
    centres = head.weight.detach().clone()
    for place, name in enumerate(identities):
        if name in row:
            centres[place] = learned[row[name]]
    head.start_at(centres)


def stretch_linear(weight: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Weights [D, C h w] on feature maps of h x w -> [D, C H W] on maps of H x W, with the same response to even maps.

    Bilinear in space, divided by the growth of the area.
    """
    maps = weight.view(len(weight), -1, *old)
    stretched = functional.interpolate(maps, new, mode="bilinear", align_corners=False)
    return stretched.flatten(1) * (old[0] * old[1] / (new[0] * new[1]))
