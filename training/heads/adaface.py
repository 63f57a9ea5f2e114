"""AdaFace: a margin that trusts the length of an embedding as a sign of the photo's quality."""

import torch
from torch import Tensor

from training.heads.head import LARGEST_COSINE, SphereHead, angle

SHORTEST, LONGEST = 1e-3, 100.0  # lengths outside are taken for these
STD_FLOOR = 1e-3
FIRST_MEAN, FIRST_STD = 20.0, 100.0


class AdaFace(SphereHead):
    """logit_y = s (cos(theta_y + g_angle) - g_add), others s cos theta_j.  Kim et al., CVPR 2022, eqs. 11 to 13.

    g_angle = -m z, g_add = m z + m, with z = clip((|x| - mean) / (std / h), -1, 1): long embeddings get an additive
    margin, short ones an angular one. Mean and std of the lengths are running averages over batches.

    Args:
        dimension: D, length of an embedding.
        classes: K, number of identities.
        scale: s.
        margin: m.
        concentration: h, the share of the lengths' spread that reaches z = 1.
        momentum: weight of a new batch in the running mean and std.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        dimension: int,
        classes: int,
        *,
        scale: float = 64.0,
        margin: float = 0.4,
        concentration: float = 0.333,
        momentum: float = 0.01,
    ) -> None:
        super().__init__(dimension, classes)
        self.scale, self.margin = scale, margin
        self.concentration, self.momentum = concentration, momentum
        self.register_buffer("mean", torch.tensor(FIRST_MEAN))
        self.register_buffer("std", torch.tensor(FIRST_STD))

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels int64 [B] -> logits [B, K] float32."""
        quality = self._quality(embeddings)
        cosines = self.cosines(embeddings).clamp(-LARGEST_COSINE, LARGEST_COSINE)
        theta = angle(cosines.gather(1, labels[:, None])[:, 0])
        turned = (theta - self.margin * quality).clamp(0, torch.pi)
        target = torch.cos(turned) - (self.margin + self.margin * quality)
        return self.scale * cosines.scatter(1, labels[:, None], target[:, None])

    def _quality(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> z [B] in -1..1; in training the running mean and std take the batch in first."""
        with torch.no_grad():
            lengths = torch.linalg.vector_norm(embeddings.float(), dim=1).clamp(SHORTEST, LONGEST)
            if self.training and len(lengths) > 1:
                self.mean.lerp_(lengths.mean(), self.momentum)
                self.std.lerp_(lengths.std(), self.momentum)
            quality: Tensor = self.concentration * (lengths - self.mean) / (self.std + STD_FLOOR)
            return quality.clamp(-1, 1)
