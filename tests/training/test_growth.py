"""A network that starts from one trained at another input size."""

import io
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from faceid.models.networks import build_network
from tests.training.tiny_run import config, write_teacher
from training.checkpoint import read_checkpoint
from training.errors import ConfigError
from training.growth import Start, read_start, start_centres, start_from, stretch_linear
from training.heads.asoftmax import ASoftmax
from training.trainer import CHECKPOINT, run


def test_maps_that_are_even_give_the_same_response_at_every_size() -> None:
    weight = torch.randn(5, 3 * 4 * 4)
    channels = torch.randn(3)
    small = weight @ channels.repeat_interleave(4 * 4)
    for height, width in ((7, 6), (4, 4), (2, 2), (8, 8)):
        large = stretch_linear(weight, (4, 4), (height, width))
        if (height, width) in ((4, 4), (8, 8), (2, 2)):  # where bilinear weights add up to the same for every place
            assert torch.allclose(large @ channels.repeat_interleave(height * width), small, atol=1e-5)
        assert large.shape == (5, 3 * height * width)


def test_a_weight_stays_at_its_place() -> None:
    weight = torch.zeros(1, 2, 4, 4)
    weight[0, 1, 0, 3] = 16.0  # channel 1, top right
    stretched = stretch_linear(weight.flatten(1), (4, 4), (8, 8)).unflatten(1, (2, 8, 8))[0]
    assert stretched[0].abs().sum() == 0
    assert stretched[1, 0, 7] == stretched[1].max() == 4.0


@pytest.mark.slow
def test_a_run_goes_on_at_a_larger_input_from_another_runs_averaged_weights(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, ema=0.9), tmp_path / "small", io.StringIO())
    small = read_checkpoint(tmp_path / "small" / CHECKPOINT)
    assert small.average
    network = {
        "name": "sphereface4",
        "arguments": {"input_size": [32, 32], "dimension": 8, "width": 0.125, "batch_norm": True},
    }
    slow = {"peak_rate": 1e-6, "warmup_epochs": 0}
    large = config(
        packs,
        tmp_path,
        network=network,
        initial=str(tmp_path / "small" / CHECKPOINT),
        epochs=1,
        optimiser=slow,
        head={"name": "asoftmax"},
    )
    run(large, tmp_path / "large", io.StringIO())
    ended = read_checkpoint(tmp_path / "large" / CHECKPOINT)
    grown = ended.network
    filters = "stages.1.convolution.weight"
    assert torch.allclose(grown[filters], small.average[filters], atol=1e-3)
    expected = stretch_linear(small.average["embedding.weight"], (1, 1), (2, 2))
    assert torch.allclose(grown["embedding.weight"], expected, atol=1e-3)
    assert ended.identities == small.identities
    assert torch.allclose(
        functional.normalize(ended.head["weight"]), functional.normalize(small.head["weight"]), atol=1e-3
    )


def test_class_centres_follow_the_names_and_new_people_keep_theirs(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, epochs=1), tmp_path / "small", io.StringIO())
    small = read_start(tmp_path / "small" / CHECKPOINT)
    assert small.centres is not None
    head = ASoftmax(dimension=8, classes=3)
    drawn = head.weight.detach().clone()
    start_centres(head, [small.identities[2], "a stranger", small.identities[0]], small)
    assert torch.equal(head.weight[[0, 2]], small.centres[[2, 0]])
    assert torch.equal(head.weight[1], drawn[1])
    wider = ASoftmax(dimension=16, classes=1)
    drawn = wider.weight.detach().clone()
    start_centres(wider, [small.identities[0]], small)
    assert torch.equal(wider.weight, drawn)


def test_class_centres_that_are_spread_begin_where_another_run_left_them(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, epochs=1), tmp_path / "small", io.StringIO())
    start = str(tmp_path / "small" / CHECKPOINT)
    still = {"optimiser": {"peak_rate": 0.0}, "class_shards": {"sampling_rate": 1.0}, "epochs": 1}
    run(config(packs, tmp_path, initial=start, **still), tmp_path / "spread", io.StringIO())
    before, after = (read_checkpoint(tmp_path / name / CHECKPOINT).head["weight"] for name in ("small", "spread"))
    assert torch.allclose(after, torch.nn.functional.normalize(before), atol=1e-6)


def test_a_checkpoint_of_another_network_is_refused(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, epochs=1), tmp_path / "small", io.StringIO())
    network = {
        "name": "sphereface10",
        "arguments": {"input_size": [16, 16], "dimension": 8, "width": 0.125, "batch_norm": True},
    }
    other = config(packs, tmp_path, network=network, initial=str(tmp_path / "small" / CHECKPOINT), epochs=1)
    with pytest.raises(ConfigError, match="another network"):
        run(other, tmp_path / "other", io.StringIO())


def test_a_network_that_fits_one_input_size_alone_is_refused_at_another() -> None:
    small, large = (
        build_network("mobilefacenet", input_size=(side, side), dimension=8, width=0.25) for side in (48, 64)
    )
    with pytest.raises(ConfigError, match="another network"):
        start_from(large, Start(small.state_dict(), (48, 48)), (64, 64))


def test_another_dimension_leaves_the_linear_layer_as_it_was_drawn_and_takes_the_filters(tmp_path: Path) -> None:
    """From a model file, which has a network alone."""
    model = write_teacher(tmp_path / "model.safetensors")
    start = read_start(model.path)
    assert (start.input_size, start.identities, start.centres) == ((32, 32), (), None)
    wider = build_network("sphereface4", input_size=(32, 32), dimension=20, width=0.125)
    drawn = wider.state_dict()["embedding.weight"].clone()
    former = start_from(wider, start, (32, 32))
    assert former is not None
    assert torch.equal(former, start.weights["embedding.weight"])
    assert torch.equal(wider.state_dict()["embedding.weight"], drawn)
    filters = "stages.1.convolution.weight"
    assert torch.equal(wider.state_dict()[filters], start.weights[filters])
    same = build_network("sphereface4", input_size=(32, 32), dimension=12, width=0.125)
    assert start_from(same, start, (32, 32)) is None
