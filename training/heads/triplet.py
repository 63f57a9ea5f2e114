"""FaceNet's triplet loss: a face lies nearer to its own person's faces than to anybody else's, by a margin."""

import torch
from torch import Tensor
from torch.nn import functional

from training.heads.head import Head


class Triplet(Head):
    """max(0, |a - p|^2 - |a - n|^2 + margin) over unit embeddings.  Schroff et al., "FaceNet", CVPR 2015, eq. 3.

    Every anchor and positive of the batch form a pair; its negative is semi-hard (section 3.2): the nearest one that
    is farther than the positive, or where there is none the farthest of all. Needs batches with several faces of a
    person; a batch without a pair has loss 0.

    Args:
        dimension: D, not used: there are no class weights.
        classes: K, not used.
        margin: in units of squared distance.
    """

    def __init__(self, dimension: int, classes: int, *, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean over the pairs of anchor and positive, a float32 scalar."""
        distances = squared_distances(embeddings)
        same = labels[:, None] == labels
        anchors, positives = torch.nonzero(same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)).T
        if len(anchors) == 0 or bool(same.all()):
            return distances.sum() * 0
        positive = distances[anchors, positives]
        negative = _semi_hard(distances[anchors], same[anchors], positive)
        return functional.relu(positive - negative + self.margin).mean()


def squared_distances(embeddings: Tensor) -> Tensor:
    """Embeddings [B, D] -> |x_i/|x_i| - x_j/|x_j||^2 [B, B] float32 in 0..4."""
    with torch.autocast(embeddings.device.type, enabled=False):
        directions = functional.normalize(embeddings.float())
        return (2 - 2 * directions @ directions.t()).clamp_min(0)


def _semi_hard(distances: Tensor, same: Tensor, positive: Tensor) -> Tensor:
    """Distances [P, B] from each pair's anchor -> that of its negative [P]."""
    farther = ~same & (distances > positive[:, None])
    nearest = distances.masked_fill(~farther, torch.inf).min(dim=1).values
    farthest = distances.masked_fill(same, -torch.inf).max(dim=1).values
    return torch.where(farther.any(dim=1), nearest, farthest)
