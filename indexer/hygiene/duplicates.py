"""People who are probably one person under two names: their means are closer than those of two people are.

Examples of one person under two names are the gallery's own people with several templates, split in two in thought;
where there are too few of them, the model's law of what a photo scores against another one of the same person. What
two people score by chance is seen in everybody and the person nearest to them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.decision.mated_law import OwnScores, law_for
from indexer.errors import CalibrationError
from indexer.hygiene.chance import not_by_chance
from indexer.hygiene.explanations import FEWEST_EXAMPLES, MOST_EXAMPLES, Reals
from indexer.hygiene.nearest import AHEAD, nearest_owners, searchable
from indexer.hygiene.people import COMPARED_WITH, People, directions
from indexer.records import Ids
from indexer.text import counted


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs of people, numbers int64 [p] each, with their means' similarity and the probability of being one person."""

    first: Ids
    second: Ids
    similarity: Reals
    probability: Reals


def find_duplicates(people: People, own_scores: OwnScores, seed: int) -> Duplicates:
    """Return everybody with the nearest other person, each pair once.

    `own_scores` are the model's laws of what people score against themselves. Raises CalibrationError for fewer than
    FEWEST_EXAMPLES people, and where no examples can be made.
    """
    if len(people.counts) < FEWEST_EXAMPLES:
        how_many = counted(len(people.counts), "person is", "people are")
        raise CalibrationError(f"{how_many} too few to tell who is enrolled twice")
    means = directions(people)
    found = nearest_owners(searchable(means, np.arange(len(means))), means, AHEAD)
    itself = found.ids == np.arange(len(means))[:, None]
    itself[~itself.any(axis=1), -1] = True  # many people with the very same face
    others = found.ids[~itself].reshape(len(means), -1)
    scores = found.scores[~itself].reshape(len(means), -1).astype(np.float64)
    nearest, best = others[:, 0], scores[:, 0]
    crowd = scores[:, 1:].mean(axis=1)
    probability = not_by_chance(np.column_stack([best, crowd]), _halves(people, crowd, own_scores, seed))
    low, high = np.minimum(nearest, np.arange(len(means))), np.maximum(nearest, np.arange(len(means)))
    order = np.lexsort((-probability, high, low))
    new = np.ones(len(order), np.bool_)
    new[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    once = order[new]
    return Duplicates(low[once], high[once], best[once], probability[once])


def _halves(people: People, crowd: Reals, own_scores: OwnScores, seed: int) -> Reals:
    """Return what people score against themselves when they are split in two, as rows of `find_duplicates`."""
    random = np.random.default_rng(np.random.PCG64(seed))
    several = np.flatnonzero(people.counts > 1)
    if len(several) >= FEWEST_EXAMPLES:
        return np.array([_split(people, person, crowd[person], random) for person in _some(several, random)])
    law = law_for(own_scores, COMPARED_WITH, 1)
    if law is None:
        how_many = counted(len(several), "person has", "people have")
        raise CalibrationError(
            f"only {how_many} two templates, and the model has no law of what one person's photos"
            " score: run `faceid models calibrate`"
        )
    return np.column_stack([law, random.choice(crowd, len(law))])


def _some(several: Ids, random: np.random.Generator) -> list[int]:
    chosen: NDArray[np.int64] = random.permutation(several)[:MOST_EXAMPLES]
    return [int(one) for one in chosen]


def _split(people: People, person: int, crowd: float, random: np.random.Generator) -> tuple[float, float]:
    rows = random.permutation(people.templates_of(person))
    cut = int(random.integers(1, len(rows) // 2 + 1))
    one, other = people.vectors[rows[:cut]].sum(axis=0), people.vectors[rows[cut:]].sum(axis=0)
    cosine = float(one @ other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9)
    return cosine, crowd
