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
from training.linear_start import fit_linear, ridge
from training.network_input import to_input


def test_ridge_is_the_textbook_solution() -> None:
    features, aims = torch.randn(20, 50, dtype=torch.double), torch.randn(20, 4, dtype=torch.double)
    centred, wanted = features - features.mean(0), aims - aims.mean(0)
    size = (centred @ centred.T).diagonal().mean()
    expected = torch.linalg.solve(centred.T @ centred + size * torch.eye(50), centred.T @ wanted).T
    assert torch.allclose(ridge(features, aims), expected)


def test_the_embeddings_come_near_the_aims_at_once(packs: Path) -> None:
    torch.manual_seed(1)
    faces = read_packs([packs / "training.tar"], side=SIDE)
    network = build_network("sphereface4", input_size=(32, 32), dimension=8, width=0.125, batch_norm=True)
    aims = torch.nn.functional.normalize(torch.randn(len(faces.identities), 8))[torch.from_numpy(faces.labels)]

    def likeness() -> float:
        with torch.inference_mode():
            embeddings = network.eval()(to_input(centre_crops(faces.images, (32, 32))))
        return float(torch.nn.functional.cosine_similarity(embeddings, aims).mean())

    assert abs(likeness()) < 0.3
    fit_linear(network, faces, aims, input_size=(32, 32), seed=1)
    assert likeness() > 0.5


def test_a_network_whose_dimension_is_not_the_teachers_is_refused(packs: Path) -> None:
    faces = read_packs([packs / "training.tar"], side=SIDE)
    network = build_network("sphereface4", input_size=(32, 32), dimension=8, width=0.125)
    assert isinstance(network, SphereFace)
    with pytest.raises(ConfigError, match="dimension is that of the teacher"):
        fit_linear(network, faces, torch.zeros(len(faces.labels), 12), input_size=(32, 32), seed=1)
