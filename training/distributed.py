"""Several processes that train one network, as `torchrun` starts them; or one, for which all of this does nothing.

The trainer cuts the graph at the embeddings, so little is to be exchanged: every process sees the embeddings of the
whole batch, computes the same loss of all of them, and carries the gradient back through its own; these are summed.
What comes out is what one process with as many threads computes, whatever the loss.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from training.errors import ConfigError


@dataclass(frozen=True)
class Group:
    """The processes of a run.

    Attributes:
        rank: the number of this process, from 0.
        size: how many there are.
        device: what this process computes on.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and the log."""
        return self.rank == 0

    def gather(self, rows: Tensor) -> Tensor:
        """Put the rows [b, ...] of all processes, as many from each, after one another: [size b, ...], no gradient."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type by their sums over all processes, in one message."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def largest(self, tensor: Tensor) -> Tensor:
        """Largest of each value over all processes."""
        if self.size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.size > 1:
            dist.barrier()


def leads() -> bool:
    """Whether this process is the first one of torchrun's, or the only one: the one that prints."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def joined_group(device: str) -> Iterator[Group]:
    """Join the processes that torchrun has started, with gloo on the processor and NCCL on GPUs.

    Raises:
        ConfigError: there is no such device here.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(
                "the config says device: cuda, but PyTorch finds no GPU here; set device: cpu, or install a build of "
                "PyTorch for CUDA (`faceid doctor` shows what there is)"
            )
        torch.cuda.set_device(local)
    chosen = torch.device(device, local) if device == "cuda" else torch.device(device)
    if size == 1:
        yield Group(0, 1, chosen)
        return
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Group(rank, size, chosen)
    finally:
        dist.destroy_process_group()


def sum_of_gradients(embeddings: Tensor, group: Group) -> Tensor:
    """Pass embeddings [B, D] on as they are; the gradient that comes back is summed over all processes."""
    passed: Tensor = _SumOfGradients.apply(embeddings, group)  # type: ignore[no-untyped-call]
    return passed


class _SumOfGradients(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, embeddings: Tensor, group: Group) -> Tensor:
        context.group = group
        return embeddings.view_as(embeddings)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        gradient = gradient.contiguous().clone()
        context.group.add([gradient])
        return gradient, None
