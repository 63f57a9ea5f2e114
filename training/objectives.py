"""What a network learns from: the loss of a head over class centres, the distance to a teacher, or both."""

from collections.abc import Mapping
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from training.checkpoint import Checkpoint
from training.class_shards import ShardedHead, class_range
from training.config import Config
from training.data.faces import UNKNOWN, FaceSource
from training.distillation import Distillation, class_centres, even_axes
from training.distributed import Group
from training.growth import Start
from training.heads import build_head
from training.heads.head import SphereHead

Objectives = Mapping[str, nn.Module]
"""The objectives by name: `head`, `distillation`."""


def build_objectives(
    config: Config,
    dimension: int,
    faces: FaceSource,
    targets: Tensor | None,
    initial: Start | None,
    *,
    steps: int,
    group: Group,
) -> dict[str, nn.Module]:
    """Build what the network learns from: a head, a teacher, or both."""
    objectives: dict[str, nn.Module] = {}
    if config.distill is not None and targets is not None:
        axes = axes_for(targets, config.distill.components, initial)
        objectives["distillation"] = Distillation(dimension, targets.shape[1], axes)
    classes = len(faces.identities)
    if config.head is not None:
        build = partial(build_head, config.head.name, steps=steps, **config.head.arguments)
        if config.class_shards is None:
            head = build(dimension=dimension, classes=classes)
            if targets is not None and isinstance(head, SphereHead):
                aims = distillation_of(objectives).aims(targets)
                known = torch.from_numpy(faces.labels != UNKNOWN)
                if aims.shape[1] == dimension:
                    head.start_at(class_centres(aims[known], torch.from_numpy(faces.labels)[known], classes))
            objectives["head"] = head
        else:
            first, last = class_range(classes, group)
            torch.manual_seed(config.seed + 1 + group.rank)  # each process draws centres of its own
            rate = config.class_shards.sampling_rate
            idle = 1
            own = build(dimension=dimension, classes=last - first + idle)
            objectives["head"] = ShardedHead(own, classes=classes, sampling_rate=rate, seed=config.seed, group=group)
            torch.manual_seed(config.seed)
    return {name: objective.to(group.device) for name, objective in objectives.items()}


def axes_for(targets: Tensor, count: int, initial: Start | None) -> Tensor | None:
    """Take the axes of the run that this one starts from, whose embeddings they made; find new ones otherwise."""
    if count == 0:
        return None
    if initial is not None and initial.axes is not None and initial.axes.shape == (targets.shape[1], count):
        return initial.axes
    return even_axes(targets, count)


def distillation_of(objectives: Objectives) -> Distillation:
    """Return the objective of learning from a teacher, which must be there."""
    return cast(Distillation, objectives["distillation"])


def objective_losses(
    objectives: Objectives, config: Config, embeddings: Tensor, labels: Tensor, targets: Tensor | None
) -> dict[str, Tensor]:
    """Compute each objective's part of the loss, of the whole batch; the labels [B] lie on the processor."""
    losses: dict[str, Tensor] = {}
    if "head" in objectives:
        # Looked for on the processor: it would have to wait for a GPU.
        known = torch.nonzero(labels != UNKNOWN).flatten()
        head, device = objectives["head"].train(), embeddings.device
        # A batch without anybody known is possible, and teaches the head nothing.
        losses["head"] = (
            head(embeddings[known.to(device)], labels[known].to(device)) if len(known) else 0 * embeddings.sum()
        )
    if config.distill is not None and targets is not None:
        apart = objectives["distillation"](embeddings, targets.to(embeddings.device))
        losses["distillation"] = config.distill.weight * apart
    return losses


def whole_state(objective: nn.Module) -> dict[str, Tensor]:
    """State as one process has it, so that a run may go on with any number of them."""
    return objective.whole_state() if isinstance(objective, ShardedHead) else objective.state_dict()


def load_objectives(objectives: Objectives, checkpoint: Checkpoint) -> None:
    """Take each objective's state from a checkpoint."""
    for name, objective in objectives.items():
        state = getattr(checkpoint, name)
        if isinstance(objective, ShardedHead):
            objective.load_whole_state(state)
        else:
            objective.load_state_dict(state)


def whole_momentum(objectives: Objectives, momentum: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the momentum of all processes together, as a checkpoint keeps it."""
    head = objectives.get("head")
    if not isinstance(head, ShardedHead):
        return momentum
    return {name: head.whole(buffer) if name == "head.weight" else buffer for name, buffer in momentum.items()}


def own_momentum(objectives: Objectives, momentum: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return this process's part of it."""
    head = objectives.get("head")
    if not isinstance(head, ShardedHead):
        return momentum
    return {name: head.part(buffer) if name == "head.weight" else buffer for name, buffer in momentum.items()}
