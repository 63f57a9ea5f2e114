"""A new linear layer starts where least squares puts it."""

from pathlib import Path

import pytest
import torch

from faceid.models.networks import build_network
from faceid.models.networks.sphereface import SphereFace
from tests.training.tiny_run import SIDE
from training.augment import centre_crops
from training.data.pack import read_packs
from training.errors import ConfigError
from training.linear_start import fit, fit_linear, ridge
from training.network_input import to_input


def test_ridge_is_the_textbook_solution_in_either_form() -> None:
    for count, dimension in ((20, 50), (50, 20)):
        features, aims = torch.randn(count, dimension, dtype=torch.double), torch.randn(count, 4, dtype=torch.double)
        centred, wanted = features - features.mean(0), aims - aims.mean(0)
        size = 0.5 * centred.square().sum() / min(count, dimension)
        expected = torch.linalg.solve(centred.T @ centred + size * torch.eye(dimension), centred.T @ wanted).T
        assert torch.allclose(ridge(features, aims, 0.5), expected)


def test_aims_that_the_former_embeddings_tell_are_met_though_faces_are_few() -> None:
    torch.manual_seed(2)
    former, turn = torch.randn(6, 400), torch.randn(8, 6)
    features = torch.randn(60, 400)
    weight = fit(features[:40], features[:40] @ former.T @ turn.T, former)
    unseen = features[40:]
    likeness = torch.nn.functional.cosine_similarity(unseen @ weight.T, unseen @ former.T @ turn.T)
    assert likeness.min() > 0.95


def test_the_embeddings_come_near_the_aims_at_once(packs: Path) -> None:
    torch.manual_seed(1)
    faces = read_packs([packs / "training.tar"], side=SIDE)
    network = build_network("sphereface4", input_size=(32, 32), dimension=8, width=0.125, batch_norm=True)
    assert isinstance(network, SphereFace)
    aims = torch.nn.functional.normalize(torch.randn(len(faces.identities), 8))[torch.from_numpy(faces.labels)]

    def likeness() -> float:
        with torch.inference_mode():
            embeddings = network.eval()(to_input(centre_crops(faces.images, (32, 32))))
        return float(torch.nn.functional.cosine_similarity(embeddings, aims).mean())

    assert abs(likeness()) < 0.3
    fit_linear(network, faces, aims, network.embedding.weight.detach(), input_size=(32, 32), seed=1)
    assert likeness() > 0.5


def test_a_network_whose_dimension_is_not_the_teachers_is_refused(packs: Path) -> None:
    faces = read_packs([packs / "training.tar"], side=SIDE)
    network = build_network("sphereface4", input_size=(32, 32), dimension=8, width=0.125)
    assert isinstance(network, SphereFace)
    with pytest.raises(ConfigError, match="dimension is that of the teacher"):
        fit_linear(network, faces, torch.zeros(len(faces.labels), 12), torch.zeros(4, 256), input_size=(32, 32), seed=1)
