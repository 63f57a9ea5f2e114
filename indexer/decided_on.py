"""What a gallery's decisions are made on. Imports nothing: the command line offers the choice in its help."""

from typing import Literal

DecidedOn = Literal["similarity", "context"]
"""The best candidate's similarity, or that less a share of what the next ones reach (`indexer.decision.context`)."""

DECIDED_ON: tuple[DecidedOn, ...] = ("similarity", "context")
DEFAULT_DECIDED_ON: DecidedOn = "similarity"
"""Of new galleries: held-out people did not confirm the other on both kinds of data (docs/results/decisions.md)."""
