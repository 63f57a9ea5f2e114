"""Learning from a better network: match its embeddings, computed once, instead of a head or beside one.

Knowledge distillation (Hinton et al. 2015) of embeddings by their directions, as ShrinkTeaNet (Duong et al. 2019,
equation 6) does, with the loss 1 - cos.
"""

import torch
from scipy.linalg import hadamard
from torch import Tensor, nn
from torch.nn import functional


class Distillation(nn.Module):
    """Mean of 1 - cos(projection(embedding), teacher's embedding); the projection is left out where sizes agree.

    Args:
        dimension: D, length of an embedding.
        teacher_dimension: T, length of the teacher's.
        axes: [T, C], columns of unit length at right angles: the teacher's embeddings are matched along these alone.
    """

    axes: Tensor | None

    def __init__(self, dimension: int, teacher_dimension: int, axes: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("axes", axes)
        aimed = teacher_dimension if axes is None else axes.shape[1]
        self.projection: nn.Module = nn.Identity()
        if dimension != aimed:
            self.projection = nn.Linear(dimension, aimed, bias=False)

    def aims(self, targets: Tensor) -> Tensor:
        """Teacher's embeddings [B, T], any precision -> what is to be matched, [B, C] float32; T without axes."""
        return targets.float() if self.axes is None else targets.float() @ self.axes

    def forward(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Embeddings [B, D] float32 and the teacher's unit embeddings [B, T] -> the mean loss, a scalar in 0..2."""
        cosines = functional.cosine_similarity(self.projection(embeddings), self.aims(targets))
        loss: Tensor = (1 - cosines).mean()
        return loss


def even_axes(targets: Tensor, count: int) -> Tensor:
    """Find C axes [T, C] that keep most of the teacher's embeddings [N, T], each as much as every other.

    The principal axes keep most of the squared length, the first of them far more than the last. A network whose
    embedding ends in a BatchNorm without scale gives every number the same variance, so it cannot follow them: its
    cosine to 256 principal components is at most 0.92. Turned by a Hadamard matrix, whose entries are all equal in
    size, every axis carries the mean of their variances, and 0.99 can be reached; cosines among faces stay as they
    are.

    Args:
        targets: unit rows, of many more faces than T.
        count: C, a power of two, at most T.

    Raises:
        ValueError: C is no power of two, or above T.
    """
    if count > targets.shape[1] or count < 1 or count & (count - 1):
        raise ValueError(f"the teacher's {targets.shape[1]} numbers cannot be cut to {count}: give a power of two")
    rows = targets.double()
    principal = torch.linalg.eigh(rows.T @ rows).eigenvectors[:, -count:]
    turn = torch.from_numpy(hadamard(count)).double() / count**0.5
    axes: Tensor = (principal @ turn).float()
    return axes


def class_centres(aims: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Take what faces [N, D] of people [N] are to match to each person's unit mean [K, D]: where a head starts.

    Random class weights would first pull a network that knows the teacher's directions away from them.
    """
    sums = aims.new_zeros(classes, aims.shape[1]).index_add_(0, labels, aims)
    return functional.normalize(sums)
