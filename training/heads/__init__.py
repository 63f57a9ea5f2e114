"""The heads by name: what a training config says."""

from typing import Any

from training.heads.asoftmax import ASoftmax
from training.heads.head import Head
from training.schedules import Annealing

HEADS: tuple[str, ...] = ("asoftmax",)


def build_head(name: str, dimension: int, classes: int, *, steps: int, **arguments: Any) -> Head:
    """Build the head for embeddings of this dimension and this number of identities.

    Args:
        name: one of `HEADS`.
        dimension: D, length of an embedding.
        classes: K, number of identities.
        steps: length of the run, which schedules may be stretched to.
        arguments: what the head's class takes; for `asoftmax`, `annealing` is a mapping for `Annealing`, with
            `reach` in place of `gamma` where lambda is to reach its minimum at that share of the run.

    Raises:
        ValueError: an unknown head, or an argument it does not take.
    """
    if name not in HEADS:
        raise ValueError(f"unknown head {name!r}; known are {', '.join(HEADS)}")
    try:
        annealing = dict(arguments.pop("annealing", {}))
        reach = annealing.pop("reach", None)
        schedule = Annealing(**annealing)
        if reach is not None:
            schedule = schedule.reaching_minimum_at(round(reach * steps))
        return ASoftmax(dimension, classes, annealing=schedule, **arguments)
    except TypeError as error:
        raise ValueError(f"the head {name} does not take these arguments: {error}") from error
