"""The state of a run in one safetensors file: weights, momentum, and the step in its JSON header."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from indexer.durable_file import replacing
from training.errors import CheckpointError

FORMAT = "faceid-training-1"
_FIRST_HEADER = {"format", "step", "config", "identities", "faces", "digest"}
PARTS = ("network", "head", "momentum", "distillation", "average")


@dataclass(frozen=True)
class Checkpoint:
    """A run after `step` steps.

    There is no state of random generators in it: what a step draws is a function of the seed and the step.

    Attributes:
        step: steps done.
        config: the run's config, as JSON.
        identities: the K names behind the rows of the head.
        faces: how many faces the run learns from.
        network: state of the network.
        momentum: by parameter, "network.NAME", "head.NAME" or "distillation.NAME".
        head: state of the head; empty without one.
        distillation: state of the projection onto the teacher's embeddings; empty without one.
        average: moving average of the network; empty where the run keeps none.
        labels: hex SHA-256 of whom the faces show; empty in the first checkpoints.
    """

    step: int
    config: dict[str, Any]
    identities: tuple[str, ...]
    faces: int
    network: dict[str, Tensor]
    momentum: dict[str, Tensor]
    head: dict[str, Tensor] = field(default_factory=dict)
    distillation: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    labels: str = ""


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write under another name, then rename: a kill leaves the old file or the new one, never half of one.

    Raises:
        CheckpointError, FileNotWritten: the disk does not take it.
    """
    tensors = {
        f"{part}.{name}": tensor.detach().contiguous()
        for part in PARTS
        for name, tensor in getattr(checkpoint, part).items()
    }
    header = {
        "format": FORMAT,
        "step": str(checkpoint.step),
        "config": json.dumps(checkpoint.config),
        "identities": json.dumps(checkpoint.identities),
        "faces": str(checkpoint.faces),
        "digest": _digest(tensors),
    }
    if checkpoint.labels:
        header["labels"] = checkpoint.labels
    header["header_digest"] = _header_digest(header)
    try:
        with replacing(path) as unfinished:
            save_file(tensors, unfinished, header)
    except SafetensorError as error:  # of a full disk: to safetensors that is no OSError
        raise CheckpointError(
            f"the checkpoint {path} could not be written ({error}); the one before is whole"
        ) from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: the file is missing, torn, altered, or no checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise CheckpointError(f"{path} is not a training checkpoint of this program ({FORMAT})")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}; a run writes one into its folder") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"the checkpoint {path} is torn or unreadable ({error}); "
            "restore it from a copy, or delete it to start the run anew"
        ) from error
    sealed = header.pop("header_digest", None)
    try:
        if header["digest"] != _digest(tensors):
            raise ValueError("its tensors are not those that were written")
        # The first checkpoints have no digest of the header; a damaged name of one is no earlier checkpoint.
        if sealed != _header_digest(header) and (sealed is not None or header.keys() - _FIRST_HEADER):
            raise ValueError("its header is not the one that was written")
        return Checkpoint(
            step=int(header["step"]),
            config=json.loads(header["config"]),
            identities=tuple(json.loads(header["identities"])),
            faces=int(header.get("faces", "0")),  # not in the first checkpoints
            labels=header.get("labels", ""),  # the same
            **{part: _under(f"{part}.", tensors) for part in PARTS},
        )
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"the checkpoint {path} is damaged: {error}; restore it from a copy, or delete it to start the run anew"
        ) from error


def momentum_of(optimiser: torch.optim.SGD, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Find the momentum buffers by the names of their parameters; none before the first step."""
    buffers = {name: optimiser.state[parameter].get("momentum_buffer") for name, parameter in parameters.items()}
    return {name: buffer for name, buffer in buffers.items() if buffer is not None}


def restore_momentum(
    optimiser: torch.optim.SGD, parameters: dict[str, nn.Parameter], momentum: dict[str, Tensor]
) -> None:
    """Put the buffers back, in the memory layout of their parameters."""
    for name, buffer in momentum.items():
        parameter = parameters[name]
        optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _header_digest(header: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.numpy(force=True).tobytes())
    return digest.hexdigest()
