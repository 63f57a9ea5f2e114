"""Where a new linear layer starts on a trained body: at the least-squares fit to what the teacher says.

A layer that was drawn at random costs the first thousands of steps, and its gradients shake the body that it stands on.
The fit has two parts. What the former embeddings tell of the aims takes few faces to find, and carries over what they
know of people; what is left is fitted to all features of the body, with a penalty on its size.
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from faceid.models.networks.sphereface import SphereFace
from training.augment import centre_crops
from training.data.faces import FaceSource, Ints
from training.errors import ConfigError
from training.network_input import to_input

FACES = 4096  # fewer than features: the fit is then one of small size, and takes a minute
RIDGE = 3.0  # of the mean of the features' squared lengths
RIDGE_FORMER = 0.01  # the same for the former embeddings, which are far fewer numbers than there are faces
BATCH = 64


def fit_linear(
    network: nn.Module, faces: FaceSource, aims: Tensor, former: Tensor, *, input_size: tuple[int, int], seed: int
) -> None:
    """Set the embedding's layer of a SphereFace so that it comes near `aims`, float32 [N, D], of N faces.

    Some thousands of the faces are drawn, and seen as they are.

    Args:
        network: its body is trained.
        faces: N faces.
        aims: what their embeddings should be like.
        former: weights [E, F] of the linear layer that the body was trained with.
        input_size: height and width.
        seed: of the draw.

    Raises:
        ConfigError: the network is another one, or the aims have another dimension than its embeddings.
    """
    if not isinstance(network, SphereFace) or network.embedding.out_features != aims.shape[1]:
        raise ConfigError(
            "initial weights of another dimension go with a SphereFace whose dimension is that of the teacher "
            "(distill.components where they are given), and so does a model file, which does not tell its axes"
        )
    chosen = np.random.default_rng(seed).permutation(len(faces.labels))[:FACES]
    features = _features(network, faces, chosen, input_size)
    weight = fit(features, aims[torch.from_numpy(chosen)].to(features.device), former.to(features.device))
    with torch.no_grad():
        network.embedding.weight.copy_(weight)
        outputs = features @ weight.T
        if network.embedding.bias is not None:
            network.embedding.bias.zero_()
        if isinstance(norm := network.embedding_norm, nn.BatchNorm1d):
            cast(Tensor, norm.running_mean).copy_(outputs.mean(0))
            cast(Tensor, norm.running_var).copy_(outputs.var(0))


def fit(features: Tensor, aims: Tensor, former: Tensor) -> Tensor:
    """Weights [D, F] from features [n, F] to aims [n, D], beginning with what `former` [E, F] makes of the features."""
    known = features @ former.T
    from_known = ridge(known, aims, RIDGE_FORMER)
    return from_known @ former + ridge(features, aims - known @ from_known.T, RIDGE)


def ridge(features: Tensor, aims: Tensor, penalty: float) -> Tensor:
    """Weights [D, F] of least squares from features [n, F] to aims [n, D], both less their means.

    The penalty on the squared weights is `penalty` times the mean squared length of the features that are multiplied.
    Solved in the form of whichever is fewer, rows or features (Hoerl and Kennard 1970; Saunders et al. 1998).
    """
    centred, wanted = features - features.mean(0), aims - aims.mean(0)
    if len(features) < features.shape[1]:
        return _solve(centred @ centred.T, wanted, penalty).T @ centred
    return _solve(centred.T @ centred, centred.T @ wanted, penalty).T


def _solve(products: Tensor, wanted: Tensor, penalty: float) -> Tensor:
    """Solve (products + penalty * their mean diagonal) x = wanted."""
    products.diagonal().add_(penalty * products.diagonal().mean())
    return torch.cholesky_solve(wanted, torch.linalg.cholesky(products))


def _features(network: SphereFace, faces: FaceSource, chosen: Ints, size: tuple[int, int]) -> Tensor:
    """Run the body on faces as they are: float32 [n, F]."""
    device = network.embedding.weight.device
    network.eval()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(chosen), BATCH):
            crops = centre_crops(faces.read(chosen[start : start + BATCH]), size)
            rows.append(network.stages(to_input(crops).to(device)).flatten(1))
    return torch.cat(rows).clone()
