"""Normalised softmax (NormFace, COCO): softmax over scaled cosines, no margin."""

from torch import Tensor

from training.heads.head import MarginHead


class NormalisedSoftmax(MarginHead):
    """logit_j = s cos theta_j for every class.  Wang et al., "NormFace", ACM MM 2017, eq. 6."""

    def __init__(self, dimension: int, classes: int, *, scale: float = 30.0) -> None:
        super().__init__(dimension, classes, scale=scale)

    def target_cosine(self, cosine: Tensor) -> Tensor:
        """Cos theta_y [B], unchanged."""
        return cosine
