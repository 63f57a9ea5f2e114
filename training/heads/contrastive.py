"""DeepID2's two signals: softmax tells people apart, and pairs of one person are drawn together."""

import torch
from torch import Tensor
from torch.nn import functional

from training.heads.softmax import Softmax
from training.heads.triplet import squared_distances

SMALLEST_DISTANCE = 1e-12  # squared: the root has a slope above it


class Contrastive(Softmax):
    """Softmax + weight (mean of |f_i - f_j|^2 / 2 over same pairs + mean of max(0, margin - |f_i - f_j|)^2 / 2).

    Sun et al., "Deep Learning Face Representation by Joint Identification-Verification", NIPS 2014, eqs. 1 and 2;
    f are the embeddings at unit length, the pairs all those of the batch. Same and different pairs weigh alike,
    as in the paper, which draws as many of the one as of the other.

    Args:
        dimension: D, length of an embedding.
        classes: K, number of identities.
        margin: the distance that different people should have, in 0..2.
        weight: of the pairs.
    """

    def __init__(self, dimension: int, classes: int, *, margin: float = 1.0, weight: float = 1.0) -> None:
        super().__init__(dimension, classes)
        self.margin, self.pair_weight = margin, weight

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean loss, a float32 scalar."""
        return super().forward(embeddings, labels) + self.pair_weight * self.pair_loss(embeddings, labels)

    def pair_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Equation 2 over all pairs of the batch, a float32 scalar; a kind of pair that is missing adds nothing."""
        first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
        squared = squared_distances(embeddings)[first, second]
        same = labels[first] == labels[second]
        apart = functional.relu(self.margin - torch.sqrt(squared[~same].clamp_min(SMALLEST_DISTANCE))) ** 2
        return sum((part.mean() / 2 for part in (squared[same], apart) if len(part)), squared.sum() * 0)
