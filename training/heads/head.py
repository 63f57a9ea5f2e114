"""What every head is: the part of a classifier after the embedding, which a trained model leaves behind."""

from abc import abstractmethod

from torch import Tensor, nn


class Head(nn.Module):
    """Class weights [K, D] and a loss; the trainer knows no more of a head than this."""

    @abstractmethod
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D] and labels int64 [B] in 0..K-1 -> the mean loss, a float32 scalar."""

    def at_step(self, step: int) -> dict[str, float]:
        """Move the head's schedules to this step (counted from 1); returns their values, for the log."""
        return {}
