"""The losses of a batch, on whatever device its embeddings lie."""

import contextlib
from pathlib import Path

import pytest
import torch

from tests.training.tiny_run import config
from training.data.faces import UNKNOWN
from training.distillation import Distillation
from training.heads import build_head
from training.objectives import objective_losses

PEOPLE, DIMENSION, BATCH = 5, 8, 16


@pytest.mark.parametrize("unknown", [0, 6, BATCH])
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("head", ["asoftmax", "sphereface_r", "arcface"])
def test_the_losses_lie_where_the_embeddings_lie_whoever_is_unknown(
    packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, device: str, unknown: int
) -> None:
    """Torch's device `meta` holds nothing, and refuses the processor's tensors among its own as a GPU does."""
    if device == "meta":  # which has no type to cast to
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    settings = config(packs, tmp_path, distill={"teacher": "any", "weight": 2})
    objectives = {
        "distillation": Distillation(DIMENSION, DIMENSION),
        "head": build_head(head, dimension=DIMENSION, classes=PEOPLE, steps=10).to(device),
    }
    labels = torch.arange(BATCH) % PEOPLE
    labels[:unknown] = UNKNOWN
    embeddings = torch.randn(BATCH, DIMENSION, device=device, requires_grad=True)
    targets = torch.randn(BATCH, DIMENSION, device=device).half()
    losses = objective_losses(objectives, settings, embeddings, labels, targets)
    assert losses.keys() == {"head", "distillation"}
    torch.stack(list(losses.values())).sum().backward()
    assert embeddings.grad is not None
    assert embeddings.grad.device.type == device
    if device == "cpu":
        assert (losses["head"].item() == 0) == (unknown == BATCH)
        assert bool(embeddings.grad.isfinite().all())
