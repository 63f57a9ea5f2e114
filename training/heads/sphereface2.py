"""SphereFace2: one binary classifier an identity, no competition in a softmax."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.heads.head import SphereHead, angle, detach_margin

Margin = Literal["C", "A", "M"]
MARGINS: dict[str, float] = {"C": 0.4, "A": 0.5, "M": 1.7}  # the paper's m for each kind


class SphereFace2(SphereHead):
    """L = lambda/r softplus(-logit_y) + (1 - lambda)/r sum_j softplus(logit_j).  Wen et al., ICLR 2022, eq. 8.

    With g(z) = 2 ((z + 1) / 2)^t - 1 and one learned bias b:

    * C: logit_y = r (g(cos theta_y) - m) + b, logit_j = r (g(cos theta_j) + m) + b;
    * A: logit_y = r g(cos(min(theta_y + m, pi))) + b, logit_j = r g(cos theta_j) + b;
    * M: logit_y = r g(cos(min(m theta_y, pi))) + b, logit_j = r g(cos theta_j) + b.

    The margin and g have the gradient of the plain cosine (characteristic gradient detachment).

    Args:
        dimension: D, length of an embedding.
        classes: K, number of identities.
        kind: "C", "A" or "M", where the margin stands.
        margin: m; the paper's for the kind if None.
        balance: lambda in 0..1, the weight of the own class.
        scale: r.
        sharpness: t of g.
        weight: of the whole loss.
    """

    def __init__(
        self,
        dimension: int,
        classes: int,
        *,
        kind: Margin = "C",
        margin: float | None = None,
        balance: float = 0.7,
        scale: float = 40.0,
        sharpness: float = 3.0,
        weight: float = 10.0,
    ) -> None:
        super().__init__(dimension, classes)
        if kind not in MARGINS:
            raise ValueError(f"the margin of SphereFace2 is of kind 'C', 'A' or 'M', not {kind!r}")
        if not 0 < balance < 1:
            raise ValueError(f"the balance of SphereFace2 lies between 0 and 1, not {balance}")
        self.kind = kind
        self.margin = MARGINS[kind] if margin is None else margin
        self.balance, self.scale, self.sharpness, self.loss_weight = balance, scale, sharpness, weight
        self.bias = nn.Parameter(torch.tensor(self._balanced_bias(classes)))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Sum over the classes, mean over the batch, a float32 scalar."""
        logits = self.logits(embeddings, labels)
        own = logits.gather(1, labels[:, None])[:, 0]
        others = functional.softplus(logits).sum(1) - functional.softplus(own)
        each = self.balance * functional.softplus(-own) + (1 - self.balance) * others
        return self.loss_weight / self.scale * each.mean()

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels int64 [B] -> logits [B, K] float32, each of its own binary classifier."""
        cosines = self.cosines(embeddings)
        target = cosines.gather(1, labels[:, None])
        values = self._others(cosines).scatter(1, labels[:, None], self._target(target))
        return self.scale * detach_margin(values, cosines) + self.bias

    def _target(self, cosine: Tensor) -> Tensor:
        if self.kind == "C":
            return self._sharpen(cosine) - self.margin
        theta = angle(cosine)
        turned = theta + self.margin if self.kind == "A" else theta * self.margin
        return self._sharpen(torch.cos(turned.clamp(max=torch.pi)))

    def _others(self, cosine: Tensor) -> Tensor:
        return self._sharpen(cosine) + (self.margin if self.kind == "C" else 0.0)

    def _sharpen(self, cosine: Tensor) -> Tensor:
        """G(z) = 2 ((z + 1) / 2)^t - 1, from -1..1 onto -1..1."""
        return 2 * ((cosine + 1) / 2) ** self.sharpness - 1

    def _balanced_bias(self, classes: int) -> float:
        """Bias at which the gradients on own and other classes are equal where every angle is pi/2.

        The root of lambda sigmoid(-(a_y + b)) = (1 - lambda) (K - 1) sigmoid(a_j + b), as the paper's appendix.
        """
        right_angle = torch.zeros(1, dtype=torch.float64)
        own = self.scale * float(self._target(right_angle))
        other = self.scale * float(self._others(right_angle))
        z = self.balance / ((1 - self.balance) * max(1, classes - 1))
        return math.log(2 * z) - other - math.log(1 - z + math.sqrt((1 - z) ** 2 + 4 * z * math.exp(own - other)))
