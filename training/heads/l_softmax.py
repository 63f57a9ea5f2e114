"""L-Softmax: the multiplicative angular margin before SphereFace, class weights of any length."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.heads.asoftmax import psi
from training.heads.head import SMALLEST_NORM, Head
from training.schedules import Annealing


class LSoftmax(Head):
    """logit_j = |w_j| |x| cos theta_j; logit_y = |w_y| |x| (lambda cos theta_y + psi(theta_y)) / (1 + lambda).

    Liu et al., "Large-Margin Softmax Loss", ICML 2016, eqs. 4 to 6. No bias.

    Args:
        dimension: D, length of an embedding.
        classes: K, number of identities.
        margin: m, one of 1, 2, 3, 4.
        annealing: lambda at each step.
    """

    def __init__(self, dimension: int, classes: int, *, margin: int = 4, annealing: Annealing | None = None) -> None:
        super().__init__()
        if margin not in (1, 2, 3, 4):
            raise ValueError(f"the margin of L-Softmax is 1, 2, 3 or 4, not {margin}")
        self.margin = margin
        self.annealing = annealing if annealing is not None else Annealing()
        self.lambda_ = self.annealing.at(1)
        self.weight = nn.Parameter(torch.empty(classes, dimension))
        nn.init.xavier_normal_(self.weight)

    def at_step(self, step: int) -> dict[str, float]:
        """Set lambda for this step, counted from 1."""
        self.lambda_ = self.annealing.at(step)
        return {"lambda": self.lambda_}

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy over `logits`, mean over the batch."""
        loss: Tensor = functional.cross_entropy(self.logits(embeddings, labels), labels)
        return loss

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] -> logits [B, K] float32."""
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings, weight = embeddings.float(), self.weight.float()
            products = embeddings @ weight.t()
            lengths = torch.linalg.vector_norm(embeddings, dim=1) * torch.linalg.vector_norm(weight[labels], dim=1)
            own = products.gather(1, labels[:, None])[:, 0]
            cosine = (own / lengths.clamp_min(SMALLEST_NORM)).clamp(-1, 1)
            target = (self.lambda_ * own + lengths * psi(cosine, self.margin)) / (1 + self.lambda_)
            return products.scatter(1, labels[:, None], target[:, None])
