"""A-Softmax, the loss of SphereFace: the target class must win by an angle, by a whole factor m of it.

Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", CVPR 2017, equations 6 to 8.
"""

from typing import Literal

import torch
from torch import Tensor

from training.heads.head import SMALLEST_NORM, SphereHead
from training.schedules import Annealing


class ASoftmax(SphereHead):
    """logit_j = |x| cos theta_j; logit_y = |x| (lambda cos theta_y + psi(theta_y)) / (1 + lambda).

    The class weights have unit length, the embeddings keep theirs; no bias. All of it is in float32, whatever the
    precision of the embeddings.

    Args:
        dimension: D, length of an embedding.
        classes: K, number of identities.
        margin: m, one of 1, 2, 3, 4; 1 is softmax over cosines.
        annealing: lambda at each step; large at first, when the plain cosine does the work.
        gradient: "true" differentiates the logit; "released" is the authors' own: of the gradient a w + b x of
            |x| psi with respect to x, (a, b) is divided by its length, and w gets the gradient of w x alone.
    """

    def __init__(
        self,
        dimension: int,
        classes: int,
        *,
        margin: int = 4,
        annealing: Annealing | None = None,
        gradient: Literal["true", "released"] = "true",
    ) -> None:
        super().__init__(dimension, classes)
        if margin not in (1, 2, 3, 4):
            raise ValueError(f"the margin of A-Softmax is 1, 2, 3 or 4, not {margin}")
        if gradient not in ("true", "released"):
            raise ValueError(f"the gradient of A-Softmax is 'true' or 'released', not {gradient!r}")
        self.margin = margin
        self.annealing = annealing if annealing is not None else Annealing()
        self.gradient = gradient
        self.lambda_ = self.annealing.at(1)

    def at_step(self, step: int) -> dict[str, float]:
        """Set lambda for this step, counted from 1."""
        self.lambda_ = self.annealing.at(step)
        return {"lambda": self.lambda_}

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] -> logits [B, K] float32."""
        with torch.autocast(embeddings.device.type, enabled=False):
            weight = self.unit_weight()
            embeddings = embeddings.float()
            products = embeddings @ weight.t()
            target = self._target_logit(embeddings, weight[labels])
            logits: Tensor = products.scatter(1, labels[:, None], target[:, None])
        return logits

    def _target_logit(self, embeddings: Tensor, weight: Tensor) -> Tensor:
        """Embeddings [B, D] and the weights of their own classes [B, D] -> logit_y [B]."""
        product = (embeddings * weight).sum(1)
        norm: Tensor = torch.linalg.vector_norm(embeddings, dim=1)
        cosine = (product / norm.clamp_min(SMALLEST_NORM)).clamp(-1, 1)
        logit: Tensor = (self.lambda_ * product + norm * psi(cosine, self.margin)) / (1 + self.lambda_)
        if self.gradient == "true":
            return logit
        with torch.no_grad():
            slope = psi_slope(cosine, self.margin)
            a, b = slope, (psi(cosine, self.margin) - cosine * slope) / norm.clamp_min(SMALLEST_NORM)
            length = torch.hypot(a, b)
            towards = (a / length)[:, None] * weight + (b / length)[:, None] * embeddings
            along = (self.lambda_ * weight + towards) / (1 + self.lambda_)
        carrier = (embeddings * along).sum(1) + (embeddings.detach() * weight).sum(1)
        return logit.detach() + carrier - carrier.detach()


def psi(cosine: Tensor, margin: int) -> Tensor:
    """Equation 7: (-1)^k cos(m theta) - 2k for theta in [k pi/m, (k+1) pi/m], from c = cos theta.

    Falls from 1 at theta = 0 to 1 - 2m at pi. No arc cosine, whose slope is infinite at both ends.
    """
    c = cosine
    if margin == 1:
        return c
    s0 = torch.sign(c)
    if margin == 2:
        return 2 * s0 * c**2 - 1
    if margin == 3:
        s1 = torch.sign(c.abs() - 0.5)
        return s1 * (4 * c**3 - 3 * c) + s0 * (1 + s1) - 2
    s3 = s0 * torch.sign(2 * c**2 - 1)
    return s3 * (8 * c**4 - 8 * c**2 + 1) + 2 * s0 + s3 - 3


def psi_slope(cosine: Tensor, margin: int) -> Tensor:
    """Derive psi with respect to cos theta; never negative, 0 where two pieces meet."""
    c = cosine
    if margin == 1:
        return torch.ones_like(c)
    if margin == 2:
        return 4 * c.abs()
    if margin == 3:
        return torch.sign(c.abs() - 0.5) * (12 * c**2 - 3)
    return torch.sign(c) * torch.sign(2 * c**2 - 1) * (32 * c**3 - 16 * c)
