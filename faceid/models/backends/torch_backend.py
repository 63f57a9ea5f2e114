"""Runs our own networks with PyTorch, in float32 or pure bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.overrides import TorchFunctionMode

from faceid.inference.exact_cuda import exact_cuda
from faceid.models.backends import Network
from faceid.models.model_file import Model, ModelError
from faceid.models.networks import build_network


def load(model: Model, device: str, precision: Literal["float32", "bfloat16"]) -> Network:
    """Load the model's network.

    Raises ModelError when the device is missing or the weights do not fit the architecture.
    """
    _check_device(device, precision)
    network = load_module(model)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    # Channels last is what the bfloat16 kernels of the processor want; it gains nothing in float32.
    layout = torch.channels_last if precision == "bfloat16" else torch.contiguous_format
    network = network.to(device, dtype).to(memory_format=layout)  # type: ignore[call-overload]

    def run(crops: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), exact_cuda() if device != "cpu" else nullcontext():
            images = torch.from_numpy(crops).to(device=device, dtype=dtype, memory_format=layout)
            embeddings: NDArray[np.float32] = network(images).float().cpu().numpy()
        return embeddings

    return run


def load_module(model: Model) -> nn.Module:
    """Build the model's network as a float32 PyTorch module on the processor, in evaluation mode."""
    spec = model.spec
    arguments = model.network_arguments()
    state = {name: torch.from_numpy(tensor) for name, tensor in model.tensors().items()}
    try:
        # On the meta device nothing is allocated or initialised: the weights below become the parameters
        # themselves, and a header with absurd sizes cannot take the machine's memory.
        with torch.device("meta"), _NoFirstValues():
            network = build_network(spec.architecture, **arguments)
        network.load_state_dict(state, strict=True, assign=True)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        reason = str(error)
        reason = reason if len(reason) < 500 else reason[:500] + " ..."
        raise ModelError(f"{model.path}: the weights do not make a {spec.architecture}: {reason}") from error
    return network.eval().requires_grad_(False)


class _NoFirstValues(TorchFunctionMode):
    """Skips filling tensors with random values: the weights come after, and on meta it imports PyTorch's compiler."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if (
            func in (torch.Tensor.normal_, torch.Tensor.uniform_)
            or getattr(func, "__module__", None) == nn.init.__name__
        ):
            return named["tensor"] if "tensor" in named else args[0]
        return func(*args, **named)


def _check_device(device: str, precision: str) -> None:
    if device == "cpu":
        return
    if not torch.cuda.is_available():
        raise ModelError(f"PyTorch finds no CUDA device for --device {device}; check the driver or use --device cpu")
    number = device.partition(":")[2] or "0"
    if not number.isdecimal() or int(number) >= torch.cuda.device_count():
        raise ModelError(f"there is no {device}; this machine has cuda:0 to cuda:{torch.cuda.device_count() - 1}")
    if precision == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ModelError(f"{device} has no bfloat16; use --precision float32")
