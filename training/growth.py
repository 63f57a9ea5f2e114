"""Start from a network that was trained before: at another input size, or with embeddings of another dimension.

Cheap resolution first and full resolution last gives many more epochs in the same time (Touvron et al. 2019 have the
reason why the last epochs must see the resolution of use). Filters and class centres fit; the linear layer is stretched
in space, and begins anew where the dimension is another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from faceid.models.graphs.sphereface import REDUCTION
from faceid.models.model_file import HEADER_KEY, read_model
from training.checkpoint import read_checkpoint
from training.errors import ConfigError
from training.heads.head import SphereHead

LINEAR = "embedding.weight"  # the only tensor of a SphereFace whose shape follows the input size
EMBEDDING = "embedding"  # how the names of what makes the embedding begin: the linear layer, and the norm behind it


@dataclass(frozen=True)
class Start:
    """What a new run takes over from a network that was trained before.

    Attributes:
        weights: state of the network (the averaged one, where there is one).
        input_size: height and width that it was trained at.
        identities: names of the people whom its head knows; empty for a model file.
        centres: the head's class centres, float32 [K, D]; none without a head.
        axes: the teacher's axes that its embedding was to match; none where it matched all, or had no teacher.
    """

    weights: Mapping[str, Tensor]
    input_size: tuple[int, int]
    identities: tuple[str, ...] = ()
    centres: Tensor | None = None
    axes: Tensor | None = None


def read_start(path: Path) -> Start:
    """Read a run's checkpoint, or a model file, which has the network alone.

    Raises:
        CheckpointError, ModelError: the file is missing or damaged.
    """
    if _is_model(path):
        model = read_model(path)
        weights = {name: torch.from_numpy(array) for name, array in model.tensors().items()}
        return Start(weights, model.spec.input_size)
    checkpoint = read_checkpoint(path)
    height, width = checkpoint.config["network"]["arguments"]["input_size"]
    return Start(
        checkpoint.average or checkpoint.network,
        (height, width),
        checkpoint.identities,
        checkpoint.head.get("weight"),
        checkpoint.distillation.get("axes"),
    )


def start_from(network: nn.Module, start: Start, input_size: tuple[int, int], *, anew: bool = False) -> Tensor | None:
    """Copy the weights into this network; return those of the linear layer, [E, F], if it does not fit.

    It does not where the embeddings have another dimension, or are to begin `anew`, because they are to match other
    axes: then the network keeps what was drawn for it.

    Raises:
        ConfigError: the networks differ in more than the input size and the dimension.
    """
    weights, own = dict(start.weights), network.state_dict()
    former = None
    try:
        if start.input_size != tuple(input_size) and LINEAR in weights:
            old, new = ((size[0] // REDUCTION, size[1] // REDUCTION) for size in (start.input_size, input_size))
            weights[LINEAR] = stretch_linear(weights[LINEAR], old, new)
        if LINEAR in weights and LINEAR in own and (anew or len(weights[LINEAR]) != len(own[LINEAR])):
            former = weights[LINEAR]
            weights |= {name: tensor for name, tensor in own.items() if name.startswith(EMBEDDING)}
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(f"the initial weights are of another network: {error}") from error
    return former


def start_centres(head: SphereHead, identities: Sequence[str], start: Start) -> None:
    """Give the people that the other run had the class centres that it learned for them; the rest keep their own.

    Args:
        head: a head of K classes.
        identities: the K names behind them.
        start: the other run; one without a head, or with embeddings of another dimension, leaves all as it is.
    """
    learned = start.centres
    if learned is None or learned.shape[1] != head.weight.shape[1]:
        return
    row = {name: place for place, name in enumerate(start.identities)}
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


def _is_model(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return HEADER_KEY in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False  # read_checkpoint says what is wrong
