"""The moving average of a network's weights, against the recursion by hand."""

import torch
from torch import nn

from training.average import averaged_copy, move_average


def test_the_average_follows_its_recursion_and_the_network_stays_as_it_is() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    average = averaged_copy(network)
    expected = 0.0
    for step in range(1, 40):
        network.weight.data.fill_(float(step))
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        move_average(average, network, decay=0.5, step=step)
        assert average.weight.item() == torch.tensor(expected).item() or abs(average.weight.item() - expected) < 1e-4
        assert network.weight.item() == step


def test_statistics_are_averaged_and_counts_are_copied() -> None:
    network = nn.BatchNorm1d(2)
    average = averaged_copy(network)
    network(torch.randn(8, 2) + 5)
    move_average(average, network, decay=0.999, step=1)  # 2/11 is kept at the first step
    expected = torch.zeros(2).lerp(network.running_mean, 9 / 11)
    assert torch.allclose(average.running_mean, expected)
    assert average.num_batches_tracked.item() == 1
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())
