"""How the templates of a person become one score. Imports nothing: the command line offers the choice in its help."""

from typing import Literal

Fusion = Literal["max", "mean"]
"""An identity's score: its best template's ('max'), or that of the mean of its templates ('mean')."""

FUSIONS: tuple[Fusion, ...] = ("max", "mean")
DEFAULT_FUSION: Fusion = "mean"
"""Of new galleries: what measured best (docs/results/decisions.md)."""
