"""SFace: pulls and pushes along the sphere only as long as they are needed, so that noisy labels pull less."""

import torch
from torch import Tensor

from training.heads.head import SphereHead, angle


class SFace(SphereHead):
    """L = -[w_y] s cos theta_y + sum_j [w_j] s cos theta_j, with [.] not differentiated.  Zhong et al., TIP 2021.

    w_y = sigmoid(k (theta_y - a)) lets go of a face that is near its centre, w_j = sigmoid(-k (theta_j - b)) of
    centres that are far: the gradient along an angle is s w sin theta.

    Args:
        dimension: D, length of an embedding.
        classes: K, number of identities.
        scale: s.
        sharpness: k.
        own_angle: a in radians; the default is the authors' for CASIA-WebFace.
        other_angle: b in radians; the same.
    """

    def __init__(
        self,
        dimension: int,
        classes: int,
        *,
        scale: float = 64.0,
        sharpness: float = 80.0,
        own_angle: float = 0.87,
        other_angle: float = 1.20,
    ) -> None:
        super().__init__(dimension, classes)
        self.scale, self.sharpness = scale, sharpness
        self.own_angle, self.other_angle = own_angle, other_angle

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean over the batch, a float32 scalar; may be negative."""
        logits = self.logits(embeddings, labels)
        with torch.no_grad():
            theta = angle(logits / self.scale)
            pull = torch.sigmoid(self.sharpness * (theta - self.own_angle))
            push = torch.sigmoid(-self.sharpness * (theta - self.other_angle))
            weights = push.scatter(1, labels[:, None], -pull.gather(1, labels[:, None]))
        return (weights * logits).sum(1).mean()

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D] -> s cos theta_j [B, K] float32; the labels change nothing."""
        return self.scale * self.cosines(embeddings)
