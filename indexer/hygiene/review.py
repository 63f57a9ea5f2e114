"""What is probably wrong in a gallery, as findings: each kind a list with the asked share of wrong suggestions.

Nothing is changed by it. People enrolled twice are looked for without templates that do not fit their person, wrong
labels without people who are probably one.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from indexer.decision.mated_law import OwnScores, law_for
from indexer.errors import CalibrationError
from indexer.hygiene.crops import find_broken, find_same_photos
from indexer.hygiene.duplicates import Duplicates, find_duplicates
from indexer.hygiene.explanations import FEWEST_EXAMPLES, Reals, listed
from indexer.hygiene.labels import ANOTHERS, NOBODYS, Labels, find_wrong_labels, suspicion
from indexer.hygiene.people import COMPARED_WITH, People, gather, without
from indexer.records import Embeddings, FloatVector, Ids

FindingKind = Literal["duplicate", "mislabelled", "stranger", "disagree", "broken", "same_photo"]
KINDS: tuple[FindingKind, ...] = get_args(FindingKind)
"""One person under two names; a template that is another enrolled person's; one of nobody who is enrolled; two
templates of a person of which one is wrong; a crop that shows no face; one photo twice."""

_PROBABLY = 0.5
_PERHAPS = 0.05  # a crop that may be broken does not speak for its person: broken ones are all alike


@dataclass(frozen=True)
class Finding:
    """Something that is probably wrong: which templates, which people, how probably, and the scores that say so.

    `identity_ids` of a mislabelled template are whose it is enrolled as, and whose it probably is.
    """

    kind: FindingKind
    template_ids: tuple[int, ...]
    identity_ids: tuple[int, ...]
    probability: float
    evidence: dict[str, float]

    @property
    def key(self) -> str:
        """What the finding is known by from one review to the next."""
        numbers = self.identity_ids if self.kind == "duplicate" else (*self.template_ids, *self.identity_ids[1:])
        return f"{self.kind}:{'-'.join(map(str, numbers))}"


@dataclass(frozen=True, eq=False)
class Examples:
    """What a gallery's own templates cannot show, made with its model.

    `broken` float32 [k, m, D] are embeddings of k kinds of crops that show no face, `same_photo` [s] scores of photos
    against their own copies; `own_scores` are the model's laws of what people score against their own templates,
    profiles and sunglasses among them. What needs an example that is not there is not looked for.
    """

    broken: NDArray[np.float32] | None = None
    same_photo: FloatVector | None = None
    own_scores: OwnScores = field(default_factory=dict)


@dataclass(frozen=True)
class Review:
    """Findings, by kind and probability, and what could not be looked for and why."""

    findings: tuple[Finding, ...]
    refused: dict[str, str]


def review(
    embeddings: Embeddings,
    examples: Examples,
    *,
    fdr: float = 0.05,
    kinds: Collection[FindingKind] = KINDS,
    rejected: Collection[str] = (),
    seed: int = 0,
) -> Review:
    """Look for what is probably wrong among a gallery's templates.

    Of each kind's findings a share of at most `fdr`, 0..1, is expected to be wrong. Findings whose keys are in
    `rejected` were answered before and are left out.
    """
    people = gather(embeddings)
    refused: dict[str, str] = {}
    findings: list[Finding] = []
    broken = np.zeros(len(people.ids), np.bool_)
    if examples.broken is not None and len(people.ids) >= FEWEST_EXAMPLES:
        with _refusing(refused, {"broken"} & set(kinds)):
            found = find_broken(people, examples.broken)
            broken = found.probability > _PERHAPS
            if "broken" in kinds:
                findings += _broken(people, found.similarity, found.probability, fdr)
    elif "broken" in kinds:
        refused["broken"] = f"it takes {FEWEST_EXAMPLES} templates, and crops that show no face to compare with"
    people = without(people, broken)  # broken crops are all alike: two of one person are not one photo
    if "same_photo" in kinds and examples.same_photo is not None:
        with _refusing(refused, ["same_photo"]):
            findings += _same_photos(people, examples.same_photo, fdr)
    if {"duplicate", "mislabelled", "stranger", "disagree"} & set(kinds):
        findings += _of_people(people, examples.own_scores, fdr, kinds, refused, seed)
    kept = [one for one in findings if one.key not in rejected]
    return Review(tuple(sorted(kept, key=lambda one: (KINDS.index(one.kind), -one.probability, one.key))), refused)


def _of_people(
    people: People,
    own_scores: OwnScores,
    fdr: float,
    kinds: Collection[FindingKind],
    refused: dict[str, str],
    seed: int,
) -> Iterator[Finding]:
    """Yield what is wrong with who is who."""
    labels_wanted = [kind for kind in ("mislabelled", "stranger", "disagree") if kind in kinds]
    suspicious = np.zeros(len(people.ids))
    with _refusing(refused, labels_wanted):
        suspicious = suspicion(people, seed)
    labels_wanted = [kind for kind in labels_wanted if kind not in refused]
    if "stranger" in labels_wanted and law_for(own_scores, COMPARED_WITH, 1) is None:
        refused["stranger"] = (
            "the model has no law of what people score against themselves, so that profiles and sunglasses cannot be"
            " told from strangers: run `faceid models calibrate`"
        )
        labels_wanted.remove("stranger")
    fitting = without(people, suspicious > _PROBABLY)
    same: dict[int, set[int]] = {}
    with _refusing(refused, {"duplicate"} & set(kinds)):
        duplicates = find_duplicates(fitting, own_scores, seed)
        same = _same_people(people, fitting, duplicates)
        if "duplicate" in kinds:
            yield from _duplicates(fitting, duplicates, fdr)
    with _refusing(refused, labels_wanted):
        if labels_wanted:
            labels = find_wrong_labels(people, suspicious, same, own_scores, seed)
            yield from (one for one in _labels(people, labels, fdr) if one.kind in labels_wanted)


@contextmanager
def _refusing(refused: dict[str, str], kinds: Collection[str]) -> Iterator[None]:
    """Note of some kinds why they cannot be looked for, where that is so: the others can."""
    try:
        yield
    except CalibrationError as error:
        refused.update(dict.fromkeys(kinds, str(error)))


def _same_people(people: People, fitting: People, duplicates: Duplicates) -> dict[int, set[int]]:
    """Return, for the numbers that `people` have, who is probably the same as whom."""
    same: dict[int, set[int]] = {}
    probably = duplicates.probability > _PROBABLY
    for first, second in zip(duplicates.first[probably], duplicates.second[probably], strict=True):
        one, other = np.searchsorted(people.identity_ids, fitting.identity_ids[[first, second]]).tolist()
        same.setdefault(one, set()).add(other)
        same.setdefault(other, set()).add(one)
    return same


def _duplicates(people: People, found: Duplicates, fdr: float) -> Iterator[Finding]:
    for place in listed(found.probability, fdr).tolist():
        pair = [int(found.first[place]), int(found.second[place])]
        yield Finding(
            "duplicate",
            tuple(int(people.ids[people.starts[person]]) for person in pair),
            tuple(int(people.identity_ids[person]) for person in pair),
            float(found.probability[place]),
            {"similarity": float(found.similarity[place])},
        )


def _labels(people: People, labels: Labels, fdr: float) -> Iterator[Finding]:
    owner = people.person[labels.rows]
    several = people.counts[owner] > 2
    for place in listed(labels.probability[:, ANOTHERS], fdr).tolist():
        yield _label("mislabelled", people, labels, place, float(labels.probability[place, ANOTHERS]))
    alone = np.flatnonzero(several)
    for place in alone[listed(labels.probability[alone, NOBODYS], fdr)].tolist():
        yield _label("stranger", people, labels, place, float(labels.probability[place, NOBODYS]))
    yield from _disagreements(people, labels, owner, ~several, fdr)


def _label(kind: FindingKind, people: People, labels: Labels, place: int, probability: float) -> Finding:
    row = int(labels.rows[place])
    whose = [int(people.person[row])] + ([int(labels.whose[place])] if kind == "mislabelled" else [])
    return Finding(
        kind,
        (int(people.ids[row]),),
        tuple(int(people.identity_ids[person]) for person in whose),
        probability,
        {"similarity_to_own": float(labels.inside[place]), "similarity_to_other": float(labels.outside[place])},
    )


def _disagreements(
    people: People, labels: Labels, owner: Ids, of_two: NDArray[np.bool_], fdr: float
) -> Iterator[Finding]:
    """Yield the people of two templates of which one is wrong: who knows which."""
    wrong: Reals = np.where(of_two, 1 - labels.probability[:, 0], -1.0)
    order = np.lexsort((-wrong, owner))
    first = order[np.append(True, np.diff(owner[order]) != 0)] if len(order) else order
    first = first[wrong[first] >= 0]
    for place in first[listed(wrong[first], fdr)].tolist():
        person = int(owner[place])
        yield Finding(
            "disagree",
            tuple(int(one) for one in people.ids[people.templates_of(person)]),
            (int(people.identity_ids[person]),),
            float(wrong[place]),
            {"similarity": float(labels.inside[place])},
        )


def _broken(people: People, similarity: Reals, probability: Reals, fdr: float) -> Iterator[Finding]:
    for row in listed(probability, fdr).tolist():
        whose = int(people.identity_ids[people.person[row]])
        evidence = {"similarity_to_broken": float(similarity[row])}
        yield Finding("broken", (int(people.ids[row]),), (whose,), float(probability[row]), evidence)


def _same_photos(people: People, same_photo: FloatVector, fdr: float) -> Iterator[Finding]:
    found = find_same_photos(people, same_photo)
    for place in listed(found.probability, fdr).tolist():
        rows = [int(found.first[place]), int(found.second[place])]
        yield Finding(
            "same_photo",
            tuple(int(people.ids[row]) for row in rows),
            (int(people.identity_ids[people.person[rows[0]]]),),
            float(found.probability[place]),
            {"similarity": float(found.similarity[place])},
        )
