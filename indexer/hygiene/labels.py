"""Templates that are probably somebody else's, and whose: far from the rest of their person, near to another one.

Examples come from people with many templates, where one can tell right ones: each scored against as few of the others
as people in this gallery have. Templates that score so little that they look wrong are none of these; how many right
ones do (profiles, sunglasses) the model's laws of mated scores tell. Examples of wrong labels are the same templates in
another person's place, in thought.
A person's two templates that do not agree do not say which of them is wrong: then the pair is found, not a template.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.decision.mated_law import OwnScores, law_for
from indexer.errors import CalibrationError
from indexer.hygiene.explanations import FEWEST_EXAMPLES, Reals, explain, fit_odds
from indexer.hygiene.nearest import nearest_owners, searchable
from indexer.hygiene.people import COMPARED_WITH, People, against_others
from indexer.records import Ids
from indexer.search.certified_search import Part

RIGHT, ANOTHERS, NOBODYS = 0, 1, 2
"""The explanations of a template: its person's own, another enrolled person's, or somebody's who is not enrolled."""

_EXAMPLES = 6000
_MANY = 4  # templates from which on a wrong one among them hardly moves the mean
_ALMOST_NONE = 0.99  # of templates in another person's place score below that quantile
_WORTH_A_SEARCH = 0.002
_PROBABLY = 0.5
_ASKED = 6  # nearest owners: oneself, those who are probably oneself twice, and another


@dataclass(frozen=True, eq=False)
class Labels:
    """For templates `rows` [m] of people with several: scores, and the probabilities [m, 3] of the explanations.

    `inside` is the score against the rest of the person, `outside` that against the best other person, `whose` number.
    """

    rows: Ids
    inside: Reals
    whose: Ids
    outside: Reals
    probability: Reals


def suspicion(people: People, seed: int) -> Reals:
    """Return how probably each template [n] is not its person's, by the rest of the person; 0 where there is none.

    Raises CalibrationError for fewer than FEWEST_EXAMPLES templates of people with several.
    """
    rows, inside = _inside(people)
    random = np.random.default_rng(np.random.PCG64(seed))
    right, wrong = _examples(people, rows, inside, np.zeros(len(people.ids), np.bool_), random)
    odds = fit_odds([right.features, wrong.features])
    answer = np.zeros(len(people.ids))
    answer[rows] = explain(odds, np.column_stack([inside, _fewness(people, rows)]))[:, 1]
    return answer


def find_wrong_labels(
    people: People, suspicious: Reals, same: dict[int, set[int]], own_scores: OwnScores, seed: int
) -> Labels:
    """Return the templates that `suspicion` [n] finds worth a search, each with its explanations.

    `same` has for a person those who are probably the same person: no template of one is the other's by mistake.
    `own_scores` are the model's laws of what people score against themselves; without one a right template that looks
    wrong is taken for a stranger's.
    """
    rows, inside = _inside(people)
    random = np.random.default_rng(np.random.PCG64(seed))
    twice = np.isin(people.person, [one for one in same if same[one]])
    right, wrong = _examples(people, rows, inside, (suspicious > _WORTH_A_SEARCH) | twice, random)
    asked = suspicious[rows] > _WORTH_A_SEARCH
    # A wrong photo of somebody is near to all the right ones: it must not count as another person near to them.
    fitting = suspicious <= _PROBABLY
    part = searchable(people.vectors[fitting], people.person[fitting])
    searched, place = np.unique(np.concatenate([rows[asked], right.rows]), return_inverse=True)
    owners, scores = _best_other(people, part, searched, same)
    here = place[: int(asked.sum())]
    elsewhere = scores[place[len(here) :]]
    odd = _odd_ones(right, wrong, own_scores, random)
    features = [
        np.column_stack(
            [np.concatenate([right.features, odd]), np.append(elsewhere, random.choice(elsewhere, len(odd)))]
        ),
        np.column_stack([wrong.features, np.maximum(elsewhere, right.best)]),
        np.column_stack([wrong.features, elsewhere]),
    ]
    seen = np.column_stack([inside[asked], _fewness(people, rows[asked]), scores[here]])
    probability = explain(fit_odds(features), seen, plain=int((~asked).sum()))
    return Labels(rows[asked], inside[asked], owners[here], scores[here], probability)


def _best_other(people: People, part: Part, rows: Ids, same: dict[int, set[int]]) -> tuple[Ids, Reals]:
    """Return for templates [m] the nearest person who is not theirs, nor probably the same, and the score."""
    found = nearest_owners(part, people.vectors[rows], _ASKED)
    mine = people.person[rows]
    theirs = found.ids == mine[:, None]
    for place in np.flatnonzero(np.isin(mine, list(same))):
        theirs[place] |= np.isin(found.ids[place], list(same[int(mine[place])]))
    best = np.argmin(theirs, axis=1)  # the first that is not
    every = np.arange(len(rows))
    none = theirs[every, best]
    return np.where(none, mine, found.ids[every, best]), np.where(none, -1.0, found.scores[every, best].astype(float))


def _inside(people: People) -> tuple[Ids, Reals]:
    rows = np.flatnonzero(people.counts[people.person] > 1)
    inside = against_others(people, rows, rows)
    there = ~np.isnan(inside)
    return rows[there], inside[there]


def _fewness(people: People, rows: Ids) -> Reals:
    answer: Reals = 1 / (people.counts[people.person[rows]] - 1.0)
    return answer


@dataclass(frozen=True, eq=False)
class _Examples:
    """Templates `rows` [m], their features [m, 2] and the best score against the chosen others of their person."""

    rows: Ids
    features: Reals
    best: Reals


def _examples(
    people: People, rows: Ids, inside: Reals, doubtful: NDArray[np.bool_], random: np.random.Generator
) -> tuple[_Examples, _Examples]:
    """Return examples of templates in their place, and the same templates in the places of others."""
    if len(rows) < FEWEST_EXAMPLES:
        raise CalibrationError(
            f"{len(rows)} templates of people with several are too few to tell wrong labels: it takes {FEWEST_EXAMPLES}"
        )
    places = rows[random.integers(0, len(rows), (2, _EXAMPLES))]
    strange = against_others(people, places[0], places[1])
    apart = (people.person[places[0]] != people.person[places[1]]) & ~np.isnan(strange)
    if not apart.any():
        raise CalibrationError("templates are compared with other people who have several, and there is one person")
    floor = float(np.quantile(strange[apart], _ALMOST_NONE))
    sure = _sure(people, rows, (inside > floor) & ~doubtful[rows])
    drawn = sure[random.integers(0, len(sure), _EXAMPLES)]
    sizes = people.counts[people.person[random.choice(rows, _EXAMPLES)]] - 1
    right = np.array([_against_some(people, row, size, random) for row, size in zip(drawn, sizes, strict=True)])
    other = rows[random.integers(0, len(rows), _EXAMPLES)]
    strange = against_others(people, drawn, other)
    usable = (people.person[drawn] != people.person[other]) & ~np.isnan(strange)
    drawn, right, other, strange = drawn[usable], right[usable], other[usable], strange[usable]
    return (
        _Examples(drawn, right[:, :2], right[:, 2]),
        _Examples(drawn, np.column_stack([strange, _fewness(people, other)]), right[:, 2]),
    )


def _odd_ones(right: _Examples, wrong: _Examples, own_scores: OwnScores, random: np.random.Generator) -> Reals:
    """Return features [k, 2] of right templates that score like wrong ones: as many as there are beside `right`."""
    fewness = right.features[:, 1]
    laws = {each: law_for(own_scores, COMPARED_WITH, round(1 / each)) for each in np.unique(fewness).tolist()}
    drawn = random.random(len(fewness))
    scores = np.ones(len(fewness))
    for each, law in laws.items():
        if law is not None:
            of_these = fewness == each
            scores[of_these] = np.interp(drawn[of_these], np.linspace(0, 1, len(law)), law)
    odd = scores < np.quantile(wrong.features[:, 0], _ALMOST_NONE)
    return np.column_stack([scores[odd], fewness[odd]])


def _sure(people: People, rows: Ids, good: NDArray[np.bool_]) -> Ids:
    """Return the good ones of people with many templates; of all people where there are too few such."""
    for least in range(_MANY, 1, -1):
        sure = rows[good & (people.counts[people.person[rows]] >= least)]
        if len(sure) >= FEWEST_EXAMPLES:
            return sure
    raise CalibrationError("too few templates agree with the rest of their person to tell wrong labels")


def _against_some(people: People, row: int, size: int, random: np.random.Generator) -> tuple[float, float, float]:
    """Score a template against `size` of its person's others: their mean, one by their number, the best one."""
    others = people.templates_of(int(people.person[row]))
    chosen = people.vectors[random.permutation(others[others != row])[:size]]
    mean = chosen.sum(axis=0)
    cosine = float(mean @ people.vectors[row]) / max(float(np.linalg.norm(mean)), 1e-9)
    return cosine, 1 / len(chosen), float((chosen @ people.vectors[row]).max())
