"""The programs that run a network: each file turns a model into a `Network`, imported only when chosen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# float32 [B, 3, H, W] normalised crops -> float32 [B, D] embeddings, not of unit length. Any B >= 1.
Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
