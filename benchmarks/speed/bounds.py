"""What no program can beat on this machine: the plain product and the plain reading of as much."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from benchmarks.speed.timing import Contestant

SIDE = 2048  # of the square product that stands for the rate of products
PRODUCT_OPERATIONS = 2 * SIDE**3


@dataclass
class Operations:
    """Multiplications and additions counted so far."""

    count: int = 0


@contextmanager
def counted() -> Iterator[Operations]:
    """Count the operations of all convolutions and fully connected layers that run meanwhile, in whatever thread.

    A multiplication and an addition are two. Other layers are left out, so a bound made of it is a low one.
    """
    total = Operations()

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            window = module.kernel_size[0] * module.kernel_size[1] * module.in_channels // module.groups
            total.count += 2 * output.numel() * window
        elif isinstance(module, nn.Linear):
            total.count += 2 * output.numel() * module.in_features

    hook = register_module_forward_hook(count)
    try:
        yield total
    finally:
        hook.remove()


def product_bound(run: Callable[[], object], precision: str = "float32") -> Contestant:
    """Return the bound of `run`, whose layers are PyTorch's: its operations at the rate of a large square product."""
    with counted() as operations:
        run()
    name = f"{precision} products of as many operations"
    if operations.count == 0:
        return Contestant(name, "bound", None, note="not counted: the network is not made of PyTorch's layers")
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left, right = (torch.rand(SIDE, SIDE).to(kind) for _ in range(2))
    return Contestant(
        name,
        "bound",
        lambda: torch.mm(left, right),
        share=operations.count / PRODUCT_OPERATIONS,
        note=f"{operations.count / 1e9:,.2f} GFLOP",
    )


def same_product_bound(left: torch.Tensor, right: torch.Tensor) -> Contestant:
    """Return the bound that is the plain float32 product left [m, d] by right [n, d] transposed, in memory as it is."""
    return Contestant("float32 product of the same size", "bound", lambda: torch.mm(left, right.T))


def reading_bound(values: torch.Tensor) -> Contestant:
    """Return the bound that is reading the float32 values once (summing them)."""
    gigabytes = values.numel() * values.element_size() / 1e9
    return Contestant("reading the vectors once", "bound", lambda: values.sum(), note=f"{gigabytes:.2f} GB")
