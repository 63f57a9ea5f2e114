"""SphereFace-R: a multiplicative margin for any real m, stable because its gradient is that of the plain cosine."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from training.heads.head import SMALLEST_NORM, SphereHead, angle, detach_margin
from training.schedules import MarginRamp

Version = Literal["v1", "v2"]
Normalisation = Literal["none", "hard", "soft"]


class SphereFaceR(SphereHead):
    """Liu et al., "SphereFace Revived: Unifying Hyperspherical Face Recognition", TPAMI 2022.

    v1 puts the margin on the target, logit_y = s cos(min(m theta_y, pi)); v2 on all the others, which must be far
    by a factor: logit_j = s cos(theta_j / m). Either way the angles stay in 0..pi.

    `normalisation` of the embeddings: "hard" has a fixed s and the loss weight * CE / s; "none" has s = |x| and the
    loss CE; "soft" has s = |x| and weight * CE / s + penalty * mean ||x| - s|.

    Args:
        dimension: D, length of an embedding.
        classes: K, number of identities.
        version: "v1" or "v2".
        margin: m >= 1, any real number.
        normalisation: "none", "hard" or "soft".
        scale: s of the hard normalisation, and the length that the soft one pulls towards.
        weight: of the cross entropy in the hard and the soft normalisation.
        penalty: of the soft normalisation, per unit of length.
        detach: characteristic gradient detachment; without it the margin is differentiated.
        ramp: how m rises from 1 as the run goes on.
    """

    def __init__(
        self,
        dimension: int,
        classes: int,
        *,
        version: Version = "v2",
        margin: float = 1.4,
        normalisation: Normalisation = "hard",
        scale: float = 60.0,
        weight: float = 50.0,
        penalty: float = 0.01,
        detach: bool = True,
        ramp: MarginRamp | None = None,
    ) -> None:
        super().__init__(dimension, classes)
        if version not in ("v1", "v2"):
            raise ValueError(f"the version of SphereFace-R is 'v1' or 'v2', not {version!r}")
        if normalisation not in ("none", "hard", "soft"):
            raise ValueError(f"the normalisation of SphereFace-R is 'none', 'hard' or 'soft', not {normalisation!r}")
        if margin < 1:
            raise ValueError(f"the margin of SphereFace-R is a factor of 1 or more, not {margin}")
        self.version, self.full_margin, self.normalisation = version, margin, normalisation
        self.scale, self.loss_weight, self.penalty, self.detach = scale, weight, penalty, detach
        self.ramp = ramp if ramp is not None else MarginRamp()
        self.margin = self.ramp.at(1, margin)

    def at_step(self, step: int) -> dict[str, float]:
        """Set m for this step, counted from 1."""
        self.margin = self.ramp.at(step, self.full_margin)
        return {"margin": self.margin}

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean loss as the normalisation has it, a float32 scalar."""
        entropy: Tensor = functional.cross_entropy(self.logits(embeddings, labels), labels)
        if self.normalisation == "none":
            return entropy
        loss = self.loss_weight / self.scale * entropy
        if self.normalisation == "soft":
            loss = loss + self.penalty * (_lengths(embeddings) - self.scale).abs().mean()
        return loss

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels int64 [B] -> logits [B, K] float32."""
        cosines = self.cosines(embeddings)
        margined = self.with_margin(cosines, labels)
        if self.normalisation == "hard":
            return self.scale * margined
        return _lengths(embeddings)[:, None] * margined

    def with_margin(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """Cos theta [B, K] -> the same with the margin on the target (v1) or on all the others (v2)."""
        target = cosines.gather(1, labels[:, None])
        if self.version == "v1":
            changed = torch.cos((self.margin * angle(target)).clamp(max=torch.pi))
            return cosines.scatter(1, labels[:, None], detach_margin(changed, target) if self.detach else changed)
        changed = torch.cos(angle(cosines) / self.margin)
        others = detach_margin(changed, cosines) if self.detach else changed
        return others.scatter(1, labels[:, None], target)


def _lengths(embeddings: Tensor) -> Tensor:
    """Embeddings [B, D] -> |x| [B] float32."""
    lengths: Tensor = torch.linalg.vector_norm(embeddings.float(), dim=1)
    return lengths.clamp_min(SMALLEST_NORM)
