"""Dropout that draws from a generator of its own, so that what it drops need not depend on who else draws, and when.

Srivastava et al., "Dropout", JMLR 2014. PyTorch's draws from one generator for all threads of a process, whose state a
run that goes on after a kill would have to know.
"""

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """`nn.Dropout`, by the draws of `random` where it is set."""

    random: torch.Generator | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Features of any shape -> the same, in training a share `p` of them 0 and the others 1 / (1 - p) as large."""
        if not self.training or self.p == 0:
            return features
        kept = torch.rand(features.shape, generator=self.random, device=features.device) >= self.p
        return features * kept / (1 - self.p)
