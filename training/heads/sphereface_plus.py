"""SphereFace+: A-Softmax, and the class centres repel each other."""

import torch
from torch import Tensor
from torch.nn import functional

from training.heads.asoftmax import ASoftmax
from training.heads.head import angle
from training.schedules import Annealing


class SphereFacePlus(ASoftmax):
    """A-Softmax + weight * mean of theta_ij^-2 over the pairs of centres whose people are in the batch.

    Liu et al., "Learning towards Minimum Hyperspherical Energy", NeurIPS 2018, eq. 8 with the angular energy s = 2.

    Args:
        dimension: D, length of an embedding.
        classes: K, number of identities.
        margin: m of A-Softmax.
        annealing: lambda of A-Softmax at each step.
        energy_weight: of the energy.
    """

    def __init__(
        self,
        dimension: int,
        classes: int,
        *,
        margin: int = 4,
        annealing: Annealing | None = None,
        energy_weight: float = 0.1,
    ) -> None:
        super().__init__(dimension, classes, margin=margin, annealing=annealing)
        self.energy_weight = energy_weight

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean loss, a float32 scalar."""
        return super().forward(embeddings, labels) + self.energy_weight * self.energy(labels)

    def energy(self, labels: Tensor) -> Tensor:
        """Mean of theta_ij^-2 (radians) over the pairs of these people's centres, a float32 scalar."""
        centres = functional.normalize(self.weight[torch.unique(labels)].float())
        first, second = torch.triu_indices(len(centres), len(centres), offset=1, device=labels.device)
        if len(first) == 0:
            return centres.sum() * 0
        return angle((centres @ centres.t())[first, second]).pow(-2).mean()
