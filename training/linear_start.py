"""Where a new linear layer starts on a trained body: at the least-squares fit to what the teacher says.

A layer that was drawn at random costs the first thousands of steps, and its gradients shake the body that it stands on.
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from faceid.models.networks.sphereface import SphereFace
from training.augment import centre_crops
from training.data.faces import Faces, Ints
from training.errors import ConfigError
from training.network_input import to_input

FACES = 8192  # fewer than features: the fit is then one of small size, and takes a minute
RIDGE = 1.0  # of the mean of the features' squared lengths
BATCH = 64


def fit_linear(network: nn.Module, faces: Faces, aims: Tensor, *, input_size: tuple[int, int], seed: int) -> None:
    """Set the embedding's layer of a SphereFace so that it comes near `aims`, float32 [N, D], of N faces.

    Some thousands of the faces are drawn, and seen as they are.

    Raises:
        ConfigError: the network is another one, or the aims have another dimension than its embeddings.
    """
    if not isinstance(network, SphereFace) or network.embedding.out_features != aims.shape[1]:
        raise ConfigError(
            "initial weights of another dimension go with a SphereFace whose dimension is that of the teacher "
            "(distill.components where they are given)"
        )
    chosen = np.random.default_rng(seed).permutation(len(faces.labels))[:FACES]
    features = _features(network, faces, chosen, input_size)
    weight = ridge(features, aims[torch.from_numpy(chosen)].to(features.device))
    with torch.no_grad():
        network.embedding.weight.copy_(weight)
        outputs = features @ weight.T
        if network.embedding.bias is not None:
            network.embedding.bias.zero_()
        if isinstance(norm := network.embedding_norm, nn.BatchNorm1d):
            cast(Tensor, norm.running_mean).copy_(outputs.mean(0))
            cast(Tensor, norm.running_var).copy_(outputs.var(0))


def ridge(features: Tensor, aims: Tensor) -> Tensor:
    """Weights [D, F] that least squares of n < F rows of features [n, F] to aims [n, D] give, both less their means.

    Solved in the n x n form (Hoerl and Kennard 1970; Saunders et al. 1998 for the form).
    """
    centred = features - features.mean(0)
    products = centred @ centred.T
    products.diagonal().add_(RIDGE * products.diagonal().mean())
    solved = torch.cholesky_solve(aims - aims.mean(0), torch.linalg.cholesky(products))
    return solved.T @ centred


def _features(network: SphereFace, faces: Faces, chosen: Ints, size: tuple[int, int]) -> Tensor:
    """Run the body on faces as they are: float32 [n, F]."""
    device = network.embedding.weight.device
    network.eval()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(chosen), BATCH):
            crops = centre_crops(faces.read(chosen[start : start + BATCH]), size)
            rows.append(network.stages(to_input(crops).to(device)).flatten(1))
    return torch.cat(rows).clone()
