"""Whether people of a test set are among the training faces.

Labelled people are told by their names, and by how alike their mean embeddings are; unlabelled faces one by one, by how
alike they are to a test person's mean.
"""

import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from faceid.feature_set import FeatureSet, unit_rows
from indexer.errors import ModelMismatch
from indexer.records import FloatMatrix, FloatVector
from training.data.faces import UNKNOWN, FaceSource, Ints
from training.errors import DataError
from training.research.person_sums import sums_of_people

LIMIT = 0.5  # the cosine of two means that the given faces were cleaned at
STRANGERS = 1e-5  # share of pairs of a photo and a stranger's mean that are as alike as an unlabelled face may not be
CHUNK = 2048  # rows of scores at a time


@dataclass(frozen=True)
class Overlap:
    """The nearest test person of each of K training people, and the unlabelled faces that may be test people.

    Attributes:
        people: names of the K training people, the most alike first.
        nearest: names of the test people who are nearest to them.
        similarity: float32 [K] cosine of the two mean embeddings.
        same_name: names that both sets have, but for case, digits and separators.
        level: the cosine that a test photo and the mean of another test person reach in `STRANGERS` of all pairs.
        unlabelled: how many faces there are without a label.
        crops: int64 [C], those of them that reach it with a test person's mean.
        crop_similarity: float32 [C] the highest such cosine.
    """

    people: tuple[str, ...]
    nearest: tuple[str, ...]
    similarity: FloatVector
    same_name: tuple[str, ...]
    level: float
    unlabelled: int
    crops: Ints
    crop_similarity: FloatVector


def known_people(test: FeatureSet, digest: str, dimension: int) -> FeatureSet:
    """Return the test photos that are of somebody.

    Raises:
        ModelMismatch: another network than that of this digest has embedded them.
        DataError: they are not of two people or more.
    """
    other = test.model is not None and test.model.digest != digest
    if other or test.features.shape[1] != dimension:
        raise ModelMismatch(f"{test.source} was embedded by another network than --model: embed it with that one")
    named = np.flatnonzero(test.labels != "")
    if len(np.unique(test.labels[named])) < 2:
        raise DataError(f"{test.source}: photos of two people or more, with their names, are to be compared with")
    return replace(test, features=test.features[named], labels=test.labels[named], paths=test.paths[named])


def find_overlap(embeddings: FloatMatrix, faces: FaceSource, test: FeatureSet) -> Overlap:
    """Compare embeddings made by one network that is better than any trained on these faces.

    Args:
        embeddings: unit rows [N, D] of the training faces.
        faces: N faces.
        test: the test photos, embedded by the same network, as `known_people` gives them.
    """
    names, person = np.unique(test.labels, return_inverse=True)
    means = unit_rows(sums_of_people(test.features, person))
    known = faces.labels != UNKNOWN
    similarity = unit_rows(sums_of_people(embeddings[known], faces.labels[known])) @ means.T
    best = similarity.argmax(1)
    highest = similarity[np.arange(len(best)), best]
    order = np.argsort(-highest, kind="stable")
    in_test = {_plain(str(name)) for name in names} - {""}  # a number says nothing of who it is
    level = stranger_level(test.features, person, means)
    unlabelled = np.flatnonzero(~known)
    nearest = _highest(embeddings[unlabelled], means)
    return Overlap(
        tuple(faces.identities[place] for place in order),
        tuple(str(names[best[place]]) for place in order),
        highest[order],
        tuple(name for name in faces.identities if _plain(name) in in_test),
        level,
        len(unlabelled),
        unlabelled[nearest >= level],
        nearest[nearest >= level],
    )


def stranger_level(photos: FloatMatrix, person: Ints, means: FloatMatrix) -> float:
    """Find the cosine that photos [P, D] of people [P] reach with `STRANGERS` of the other people's means [K, D].

    Of the highest scores of each part as many are kept as there can be above the level in all.
    """
    pairs = len(photos) * (len(means) - 1)
    above = max(1, math.floor(STRANGERS * pairs))
    tail = np.empty(0, np.float32)
    for start in range(0, len(photos), CHUNK):
        scores = (photos[start : start + CHUNK] @ means.T).astype(np.float32)
        scores[np.arange(len(scores)), person[start : start + CHUNK]] = -1
        tail = np.sort(np.concatenate([tail, scores.ravel()]))[-above:]
    return float(tail[0])


def _highest(embeddings: FloatMatrix, means: FloatMatrix) -> FloatVector:
    """Cosine of each row [N, D] to the nearest of the means: float32 [N]."""
    parts = [(embeddings[start : start + CHUNK] @ means.T).max(1) for start in range(0, len(embeddings), CHUNK)]
    return np.concatenate([np.empty(0, np.float32), *parts]).astype(np.float32)


def report(overlap: Overlap) -> list[str]:
    """Write what was found, the ten most alike pairs at the end."""
    alike = int((overlap.similarity >= LIMIT).sum())
    return [
        f"{len(overlap.same_name)} of {len(overlap.people)} training people bear the name of a test person"
        + "".join(f"; {name}" for name in overlap.same_name[:10]),
        f"{alike} have a mean within cosine {LIMIT} of a test person's",
        f"{len(overlap.crops)} of {overlap.unlabelled} unlabelled faces are within cosine {overlap.level:.3f} of a "
        f"test person's mean, as are {STRANGERS:g} of pairs of test people",
        *(
            f"{cosine:.3f}  {person}  {other}"
            for person, other, cosine in list(zip(overlap.people, overlap.nearest, overlap.similarity, strict=True))[
                :10
            ]
        ),
    ]


def faces_in_doubt(overlap: Overlap, faces: FaceSource) -> Iterator[str]:
    """Write a line for each face of a person who is that much like a test person, or bears the name of one.

    And for each unlabelled face that may be a test person's.

    Name, then tab and why; `data.leave_out` reads this.
    """
    pairs = zip(overlap.people, overlap.nearest, overlap.similarity, strict=True)
    reasons = dict.fromkeys(overlap.same_name, "the name of a test person")
    reasons |= {name: f"{cosine:.3f} to {test_person}" for name, test_person, cosine in pairs if cosine >= LIMIT}
    yield f"# faces of {len(reasons)} of {len(overlap.people)} training people"
    for index, label in enumerate(faces.labels):
        if label != UNKNOWN and (name := faces.identities[label]) in reasons:
            yield f"{faces.name(index)}\t{reasons[name]}"
    yield f"# and {len(overlap.crops)} of {overlap.unlabelled} unlabelled faces"
    for index, cosine in zip(overlap.crops, overlap.crop_similarity, strict=True):
        yield f"{faces.name(int(index))}\t{cosine:.3f} to a test person"


def _plain(name: str) -> str:
    """Return the letters of a name, of whatever script, without case and accents."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", name.casefold()) if letter.isalpha())
