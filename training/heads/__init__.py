"""The heads by name: what a training config says."""

from typing import Any, get_type_hints

import msgspec

from training.heads.adaface import AdaFace
from training.heads.arcface import ArcFace
from training.heads.asoftmax import ASoftmax
from training.heads.contrastive import Contrastive
from training.heads.cosface import CosFace
from training.heads.head import Head
from training.heads.l_softmax import LSoftmax
from training.heads.normalised_softmax import NormalisedSoftmax
from training.heads.sface import SFace
from training.heads.softmax import Softmax
from training.heads.sphereface2 import SphereFace2
from training.heads.sphereface_plus import SphereFacePlus
from training.heads.sphereface_r import SphereFaceR
from training.heads.triplet import Triplet
from training.schedules import Annealing, MarginRamp

HEADS: dict[str, type[Head]] = {
    "softmax": Softmax,
    "normalised_softmax": NormalisedSoftmax,
    "asoftmax": ASoftmax,
    "sphereface_r": SphereFaceR,
    "sphereface2": SphereFace2,
    "sface": SFace,
    "cosface": CosFace,
    "arcface": ArcFace,
    "adaface": AdaFace,
    "contrastive": Contrastive,
    "triplet": Triplet,
    "l_softmax": LSoftmax,
    "sphereface_plus": SphereFacePlus,
}


def build_head(name: str, dimension: int, classes: int, *, steps: int, **arguments: Any) -> Head:
    """Build the head for embeddings of this dimension and this number of identities.

    Args:
        name: one of `HEADS`.
        dimension: D, length of an embedding.
        classes: K, number of identities.
        steps: length of the run, which schedules may be stretched to.
        arguments: what the head's class takes. `annealing` (of A-Softmax and its kin) is a mapping for `Annealing`,
            with `reach` in place of `gamma` where lambda is to reach its minimum at that share of the run; `ramp`
            (of SphereFace-R) is a pair of such shares, between which the margin rises.

    Raises:
        ValueError: an unknown head, or an argument it does not take.
    """
    if name not in HEADS:
        raise ValueError(f"unknown head {name!r}; known are {', '.join(HEADS)}")
    try:
        if "annealing" in arguments:
            arguments["annealing"] = _annealing(steps, **arguments["annealing"])
        if "ramp" in arguments:
            first, last = arguments["ramp"]
            arguments["ramp"] = MarginRamp(round(first * steps), round(last * steps))
        hints = get_type_hints(HEADS[name].__init__)
        for key, value in arguments.items():
            if hints.get(key) in (int, float, bool):
                msgspec.convert(value, hints[key])  # else the first step would find out
        return HEADS[name](dimension, classes, **arguments)
    except msgspec.ValidationError as error:
        raise ValueError(f"the head {name} does not take {key}: {value!r} ({error})") from error
    except (TypeError, ArithmeticError) as error:  # a schedule without length has no slope
        raise ValueError(f"the head {name} does not take these arguments: {error}") from error


def _annealing(steps: int, *, reach: float | None = None, **constants: float) -> Annealing:
    schedule = Annealing(**constants)
    return schedule if reach is None else schedule.reaching_minimum_at(round(reach * steps))
