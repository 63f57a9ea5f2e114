"""CosFace (AM-Softmax): an additive margin on the cosine."""

from torch import Tensor

from training.heads.head import MarginHead


class CosFace(MarginHead):
    """logit_y = s (cos theta_y - m), others s cos theta_j.  Wang et al., "CosFace", CVPR 2018, eq. 4.

    Args:
        dimension: D, length of an embedding.
        classes: K, number of identities.
        scale: s.
        margin: m, in units of the cosine.
    """

    def __init__(self, dimension: int, classes: int, *, scale: float = 64.0, margin: float = 0.35) -> None:
        super().__init__(dimension, classes, scale=scale)
        self.margin = margin

    def target_cosine(self, cosine: Tensor) -> Tensor:
        """Cos theta_y [B] -> cos theta_y - m."""
        return cosine - self.margin
