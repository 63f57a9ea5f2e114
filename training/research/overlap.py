"""Whether people of a test set are among the training people: by name, and by how alike their mean embeddings are."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from faceid.feature_set import FeatureSet, unit_rows
from indexer.records import FloatMatrix, FloatVector
from training.data.faces import Faces
from training.research.person_sums import sums_of_people

LIMIT = 0.5  # the cosine of two means that the given faces were cleaned at


@dataclass(frozen=True)
class Overlap:
    """The nearest test person of each of K training people.

    Attributes:
        people: names of the K training people, the most alike first.
        nearest: names of the test people who are nearest to them.
        similarity: float32 [K] cosine of the two mean embeddings.
        same_name: names that both sets have, but for case, digits and separators.
    """

    people: tuple[str, ...]
    nearest: tuple[str, ...]
    similarity: FloatVector
    same_name: tuple[str, ...]


def find_overlap(embeddings: FloatMatrix, faces: Faces, test: FeatureSet) -> Overlap:
    """Compare mean embeddings of people, made by one network that is better than any trained on these faces.

    Args:
        embeddings: unit rows [N, D] of the training faces.
        faces: N faces.
        test: the test photos, embedded by the same network.
    """
    names, person = np.unique(test.labels, return_inverse=True)
    similarity = (
        unit_rows(sums_of_people(embeddings, faces.labels)) @ unit_rows(sums_of_people(test.features, person)).T
    )
    best = similarity.argmax(1)
    highest = similarity[np.arange(len(best)), best]
    order = np.argsort(-highest, kind="stable")
    in_test = {_plain(str(name)) for name in names}
    return Overlap(
        tuple(faces.identities[place] for place in order),
        tuple(str(names[best[place]]) for place in order),
        highest[order],
        tuple(name for name in faces.identities if _plain(name) in in_test),
    )


def report(overlap: Overlap) -> list[str]:
    """Write what was found, the ten most alike pairs at the end."""
    alike = int((overlap.similarity >= LIMIT).sum())
    return [
        f"{len(overlap.same_name)} of {len(overlap.people)} training people bear the name of a test person"
        + "".join(f"; {name}" for name in overlap.same_name[:10]),
        f"{alike} have a mean within cosine {LIMIT} of a test person's",
        *(
            f"{cosine:.3f}  {person}  {other}"
            for person, other, cosine in list(zip(overlap.people, overlap.nearest, overlap.similarity, strict=True))[
                :10
            ]
        ),
    ]


def faces_in_doubt(overlap: Overlap, faces: Faces) -> Iterator[str]:
    """Write a line for each face of a person who is that much like a test person, or bears the name of one.

    Name, then tab and why; `data.leave_out` reads this.
    """
    pairs = zip(overlap.people, overlap.nearest, overlap.similarity, strict=True)
    reasons = dict.fromkeys(overlap.same_name, "the name of a test person")
    reasons |= {name: f"{cosine:.3f} to {test_person}" for name, test_person, cosine in pairs if cosine >= LIMIT}
    yield f"# faces of {len(reasons)} of {len(overlap.people)} training people"
    for index, label in enumerate(faces.labels):
        if (name := faces.identities[label]) in reasons:
            yield f"{faces.name(index)}\t{reasons[name]}"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())
