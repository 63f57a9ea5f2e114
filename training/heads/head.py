"""What every head is: the part of a classifier after the embedding, which a trained model leaves behind.

Three bases, from the general to the special: any loss on embeddings, unit class weights, and cross entropy over
their scaled cosines with a margin on the target.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALLEST_NORM = 1e-6  # an embedding shorter than this has no direction
LARGEST_COSINE = 1 - 1e-5  # arc cosine and its slope stay finite in float32


class Head(nn.Module):
    """A loss on embeddings and labels; the trainer knows no more of a head than this."""

    @abstractmethod
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D] and labels int64 [B] in 0..K-1 -> the mean loss, a float32 scalar."""

    def at_step(self, step: int) -> dict[str, float]:
        """Move the head's schedules to this step (counted from 1); returns their values, for the log."""
        return {}


class SphereHead(Head):
    """Class weights [K, D] of unit length: scores are cosines, in float32 whatever the embeddings' precision."""

    def __init__(self, dimension: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dimension))
        nn.init.xavier_normal_(self.weight)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy over `logits`, mean over the batch."""
        loss: Tensor = functional.cross_entropy(self.logits(embeddings, labels), labels)
        return loss

    @abstractmethod
    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels int64 [B] -> logits [B, K] float32, the target's with its margin."""

    def start_at(self, centres: Tensor) -> None:
        """Set the class weights [K, D] before the first step, where something is known of the people already."""
        with torch.no_grad():
            self.weight.copy_(centres)

    def unit_weight(self) -> Tensor:
        """Class weights [K, D] float32 of unit length; in training the stored ones are made so, too."""
        if self.training:
            with torch.no_grad():  # as released: else the weights grow, and the steps on the sphere shrink
                self.weight.copy_(functional.normalize(self.weight))
        return functional.normalize(self.weight.float())

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> cos theta_j [B, K] float32, each in -1..1."""
        with torch.autocast(embeddings.device.type, enabled=False):
            directions = functional.normalize(embeddings.float(), eps=SMALLEST_NORM)
            return (directions @ self.unit_weight().t()).clamp(-1, 1)


class MarginHead(SphereHead):
    """logit_j = s cos theta_j for the others, logit_y = s f(cos theta_y): a head says what f is.

    Args:
        dimension: D, length of an embedding.
        classes: K, number of identities.
        scale: s.
    """

    def __init__(self, dimension: int, classes: int, *, scale: float) -> None:
        super().__init__(dimension, classes)
        self.scale = scale

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels int64 [B] -> logits [B, K] float32."""
        cosines = self.cosines(embeddings)
        target = self.target_cosine(cosines.gather(1, labels[:, None])[:, 0])
        return self.scale * cosines.scatter(1, labels[:, None], target[:, None])

    @abstractmethod
    def target_cosine(self, cosine: Tensor) -> Tensor:
        """Cos theta_y [B] -> f(cos theta_y) [B]."""


def angle(cosine: Tensor) -> Tensor:
    """Theta in radians, a hair inside (0, pi), where arc cosine has a slope."""
    return torch.acos(cosine.clamp(-LARGEST_COSINE, LARGEST_COSINE))


def detach_margin(value: Tensor, cosine: Tensor) -> Tensor:
    """Characteristic gradient detachment: the forward pass has `value`, the backward pass that of the plain cosine.

    Liu et al., "SphereFace Revived: Unifying Hyperspherical Face Recognition", TPAMI 2022, section 3.4.
    """
    return cosine + (value - cosine).detach()
