"""ArcFace: an additive margin on the angle."""

import math

import torch
from torch import Tensor

from training.heads.head import LARGEST_COSINE, MarginHead


class ArcFace(MarginHead):
    """logit_y = s cos(theta_y + m), others s cos theta_j.  Deng et al., "ArcFace", CVPR 2019, eq. 3.

    Beyond theta_y = pi - m, where the cosine would rise again, the target is cos theta_y - m sin m, as in the
    authors' first release.

    Args:
        dimension: D, length of an embedding.
        classes: K, number of identities.
        scale: s.
        margin: m in radians.
    """

    def __init__(self, dimension: int, classes: int, *, scale: float = 64.0, margin: float = 0.5) -> None:
        super().__init__(dimension, classes, scale=scale)
        self.margin = margin

    def target_cosine(self, cosine: Tensor) -> Tensor:
        """Cos theta_y [B] -> cos(theta_y + m), by the sum formula: no arc cosine."""
        inside = cosine.clamp(-LARGEST_COSINE, LARGEST_COSINE)  # the sine has an infinite slope at both ends
        sine = torch.sqrt(1 - inside**2)
        turned = inside * math.cos(self.margin) - sine * math.sin(self.margin)
        return torch.where(cosine > -math.cos(self.margin), turned, cosine - self.margin * math.sin(self.margin))
