"""Class centres spread over the processes, and a sample of them each step: for more identities than fit one GPU.

An et al., "Killing Two Birds with One Stone: Efficient and Robust Training of Face Recognition CNNs by Partial FC",
CVPR 2022: each process has the centres of its share of the identities; of these a step uses those that the batch
shows, and others drawn at random up to the sampling rate. The softmax is over what all processes use together.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from training.distributed import Group, sum_of_gradients
from training.heads.head import Head, SphereHead


class ShardedHead(Head):
    """A head whose loss is the cross entropy over the cosines' logits, cut by rows: this process's share of it.

    Args:
        head: of the same kind as for one process, for the classes in `class_range` and one more, an idle one, which
            stands for the classes of other processes where a head wants to know the target.
        classes: K, of all processes together.
        sampling_rate: share of its classes that a step uses; 1 uses all.
        seed: of what is sampled.
        group: the processes.

    Raises:
        ValueError: the head's loss is another than the cross entropy of its logits, or it keeps more by class than
            their weights.
    """

    def __init__(self, head: Head, *, classes: int, sampling_rate: float, seed: int, group: Group) -> None:
        super().__init__()
        if not isinstance(head, SphereHead) or type(head).forward is not SphereHead.forward:
            raise ValueError(
                f"{type(head).__name__} cannot be cut by classes: its loss is not the cross entropy of its logits; "
                "leave class_shards out"
            )
        self.head, self.classes = head, classes
        self.first, self.last = class_range(classes, group)
        self.sampling_rate, self.seed, self.group = sampling_rate, seed, group
        self.step = 0

    def at_step(self, step: int) -> dict[str, float]:
        """Move the head's schedules, and what is sampled, to this step."""
        self.step = step
        return self.head.at_step(step)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D] and labels int64 [B] of the whole batch, the same in every process -> the whole loss."""
        own = (labels >= self.first) & (labels < self.last)
        used = self._used(labels[own] - self.first)
        idle = len(used)  # the last row of the weights that are used
        local = torch.full_like(labels, idle)
        local[own] = torch.searchsorted(used, labels[own] - self.first)
        rows = torch.cat([used, used.new_tensor([self.last - self.first])])
        weight: Tensor = self.head.weight
        if len(rows) < len(weight):
            if self.training:  # a head does this to the weights that it is given, which here are copies
                with torch.no_grad():
                    weight[rows] = functional.normalize(weight[rows])
            weight = weight[rows]
        arguments = (sum_of_gradients(embeddings, self.group), local)
        logits = functional_call(_Logits(self.head), {"head.weight": weight}, arguments)
        loss: Tensor = _SharedCrossEntropy.apply(logits[:, :idle], local, self.group)  # type: ignore[no-untyped-call]
        return loss

    def whole(self, rows: Tensor) -> Tensor:
        """Rows of this process, one by class and an idle one -> those of all classes; every process must call it."""
        longest = -(-self.classes // self.group.size)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: self.last - self.first] = rows[:-1]
        parts = self.group.gather(padded).view(self.group.size, longest, *rows.shape[1:])
        ranges = [class_range(self.classes, replace(self.group, rank=rank)) for rank in range(self.group.size)]
        return torch.cat([part[: last - first] for part, (first, last) in zip(parts, ranges, strict=True)])

    def part(self, rows: Tensor) -> Tensor:
        """Rows of all classes -> those of this process, and an idle one."""
        return torch.cat([rows[self.first : self.last], rows.new_zeros(1, *rows.shape[1:])])

    def whole_state(self) -> dict[str, Tensor]:
        """State of the head as one process would have it; every process must call it."""
        return {
            name: self.whole(tensor) if name == "weight" else tensor for name, tensor in self.head.state_dict().items()
        }

    def load_whole_state(self, state: dict[str, Tensor]) -> None:
        """Take this process's share of `whole_state`, whatever number of processes wrote it."""
        self.head.load_state_dict(
            {name: self.part(tensor) if name == "weight" else tensor for name, tensor in state.items()}
        )

    def _used(self, present: Tensor) -> Tensor:
        """Rising indices of the classes a step uses: those of the batch, and others up to the sampling rate."""
        count = self.last - self.first
        if self.sampling_rate >= 1:
            return torch.arange(count, device=present.device)
        present = torch.unique(present)
        others = np.setdiff1d(np.arange(count), present.numpy(force=True))
        wanted = max(0, int(self.sampling_rate * count) - len(present))
        random = np.random.default_rng([self.seed, self.step, self.group.rank])
        drawn = torch.from_numpy(random.choice(others, min(wanted, len(others)), replace=False)).to(present)
        used: Tensor = torch.cat([present, drawn]).sort().values
        return used


def class_range(classes: int, group: Group) -> tuple[int, int]:
    """Classes [first, last) of this process; the first processes have one more where they do not divide evenly."""
    each, more = divmod(classes, group.size)
    first = group.rank * each + min(group.rank, more)
    return first, first + each + (group.rank < more)


class _Logits(nn.Module):
    """A head's logits as a module's forward, which is what `functional_call` calls."""

    def __init__(self, head: SphereHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.head.logits(embeddings, labels)


class _SharedCrossEntropy(torch.autograd.Function):
    """Mean cross entropy over logits whose columns lie in several processes; -log softmax of the target.

    The label of a target in another process is the number of columns here.
    """

    @staticmethod
    def forward(context: Any, logits: Tensor, labels: Tensor, group: Group) -> Tensor:
        own = labels < logits.shape[1]
        rows = torch.arange(len(labels), device=labels.device)[own]
        smallest = torch.finfo(logits.dtype).min
        highest = logits.amax(1) if logits.shape[1] else logits.new_full((len(labels),), smallest)
        highest = group.largest(highest)
        powers = torch.exp(logits - highest[:, None])
        total, target = powers.sum(1), torch.zeros_like(highest)
        target[rows] = logits[rows, labels[own]] - highest[rows]
        group.add([total, target])
        gradient = powers / total[:, None]
        gradient[rows, labels[own]] -= 1
        context.save_for_backward(gradient / len(labels))
        return (total.log() - target).mean()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = context.saved_tensors
        return gradient * gradients[0], None, None
