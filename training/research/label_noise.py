"""Finds faces that are probably not of the person they are filed under: their angle to their own centre is an outlier.

A face's own centre is the mean direction of the person's other photos. Far means beyond the fence of Tukey,
"Exploratory Data Analysis", 1977: the third quartile of all such angles and 1.5 times the quartiles' distance. A face
that is nearer to another person's centre than to its own counts, too. Suspects are then left out of the centres, and
all faces are judged once more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.records import FloatMatrix
from training.data.faces import FaceSource, Ints
from training.errors import DataError
from training.research.person_sums import sums_of_people

FENCE = 1.5
ROUNDS = 2
CHUNK = 2048  # faces compared with all centres at a time

Degrees = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelNoise:
    """What is found about N faces.

    Attributes:
        own_angle: degrees to the centre of the person's other photos, float64 [N]; NaN where there is none.
        nearest: index of the other identity whose centre is nearest, int64 [N].
        nearest_angle: degrees to that centre, float64 [N].
        limit: the fence in degrees.
        suspect: whether a face is far from its own centre or nearer to another, bool [N].
    """

    own_angle: Degrees
    nearest: Ints
    nearest_angle: Degrees
    limit: float
    suspect: NDArray[np.bool_]


def find_label_noise(embeddings: FloatMatrix, labels: Ints, limit: float | None = None) -> LabelNoise:
    """Judge faces by unit embeddings [N, D] float32 of a network that others trained, and their labels [N] in 0..K-1.

    Args:
        embeddings: unit rows.
        labels: whom the faces are said to show; two people or more.
        limit: degrees from the own centre that are too many; the fence of the data where it is None.

    Raises:
        DataError: nobody has two faces, so that there is nothing to compare one with.
    """
    if np.bincount(labels).max() < 2:
        raise DataError("no face can be judged: it takes people with two faces or more")
    trusted = np.ones(len(labels), bool)
    for _ in range(ROUNDS):
        sums = sums_of_people(np.where(trusted[:, None], embeddings, 0), labels)
        own = _own_angles(embeddings, labels, trusted, sums)
        nearest, nearest_angle = _nearest_others(embeddings, labels, sums)
        fence = _fence(own) if limit is None else limit
        suspect = (own > fence) | (own > nearest_angle)  # NaN is neither
        left = np.bincount(labels[~suspect], minlength=labels.max() + 1)
        trusted = ~suspect | (left < 2)[labels]  # of two that disagree, either may be the wrong one
    return LabelNoise(own, nearest, nearest_angle, fence, suspect)


def report(noise: LabelNoise, faces: FaceSource) -> Iterator[str]:
    """Write a line for each suspect, the farthest first: name, then tab and why; `data.leave_out` reads this."""
    suspects = np.flatnonzero(noise.suspect)
    yield f"# {len(suspects)} of {len(faces.labels)} faces; limit {noise.limit:.1f} degrees from the own centre"
    for index in suspects[np.argsort(-noise.own_angle[suspects], kind="stable")]:
        other = faces.identities[noise.nearest[index]]
        yield (
            f"{faces.name(int(index))}\t{noise.own_angle[index]:.1f} degrees from its own centre, "
            f"{noise.nearest_angle[index]:.1f} from {other}"
        )


def _own_angles(embeddings: FloatMatrix, labels: Ints, trusted: NDArray[np.bool_], sums: Degrees) -> Degrees:
    others = sums[labels] - np.where(trusted[:, None], embeddings, 0)
    lengths = np.linalg.norm(others, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.einsum("ij,ij->i", embeddings, others) / lengths
    cosines[lengths < 1e-6] = np.nan  # no other photo is left
    angles: Degrees = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return angles


def _nearest_others(embeddings: FloatMatrix, labels: Ints, sums: Degrees) -> tuple[Ints, Degrees]:
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    centres = (sums / np.maximum(lengths, 1e-12)).astype(np.float32)
    nearest, cosines = np.empty(len(labels), np.int64), np.empty(len(labels))
    for start in range(0, len(labels), CHUNK):
        part = slice(start, start + CHUNK)
        similarities = embeddings[part] @ centres.T
        similarities[:, lengths[:, 0] < 1e-6] = -2  # nobody to be near to
        similarities[np.arange(len(similarities)), labels[part]] = -2
        nearest[part] = similarities.argmax(1)
        cosines[part] = similarities.max(1)
    return nearest, np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def _fence(angles: Degrees) -> float:
    first, third = np.nanpercentile(angles, [25, 75])
    return float(third + FENCE * (third - first))
