"""Softmax, the loss that all others answer to: plain inner products with a bias, no sphere."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.heads.head import Head


class Softmax(Head):
    """logit_j = w_j . x + b_j; neither the weights nor the embeddings are normalised.

    Args:
        dimension: D, length of an embedding.
        classes: K, number of identities.
    """

    def __init__(self, dimension: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dimension))
        self.bias = nn.Parameter(torch.zeros(classes))
        nn.init.xavier_normal_(self.weight)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy over `logits`, mean over the batch."""
        loss: Tensor = functional.cross_entropy(self.logits(embeddings, labels), labels)
        return loss

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, K] float32; the labels change nothing."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return functional.linear(embeddings.float(), self.weight.float(), self.bias.float())
