"""Float32 that is float32 on CUDA, and the same result every time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def exact_cuda() -> Iterator[None]:
    """Compute without TF32 (10 bits of mantissa) and by the same algorithm every time, so that results agree.

    PyTorch knows these flags only for the whole process: one thread at a time sets them, and puts them back.
    """
    with (
        _ONE_AT_A_TIME,
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        yield
