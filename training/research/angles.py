"""How far apart a network keeps people: angles to the own centre and to the nearest other one, for any features.

The ideal criterion of SphereFace: on the sphere, no face of a person is as far from another of its own as the
nearest two faces of different people are from each other (Liu et al. 2017, section 3.3).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faceid.feature_set import unit_rows
from indexer.records import FloatMatrix
from training.research.person_sums import sums_of_people

BLOCK = 1024  # faces at a time against all others: bounds memory
BINS = 90


@dataclass(frozen=True, eq=False)
class Angles:
    """Angles of faces in degrees; only people with two faces or more are looked at.

    Attributes:
        own_centre: float32 [N], to the mean of the person's other faces.
        other_centre: float32 [N], to the nearest mean of another person.
        within: float32 [K], each person's largest angle between two of its faces.
        between: float32 [K], each person's smallest angle between one of its faces and anybody else's.
    """

    own_centre: FloatMatrix
    other_centre: FloatMatrix
    within: FloatMatrix
    between: FloatMatrix

    @property
    def ideal_margin(self) -> float:
        """Smallest `between` less largest `within`, in degrees: above 0 where the criterion holds for everybody."""
        return float(self.between.min() - self.within.max())

    @property
    def people_within_criterion(self) -> float:
        """Share of the people whose own faces are all nearer to each other than to anybody else's."""
        return float((self.within < self.between).mean())


def measure_angles(features: FloatMatrix, labels: NDArray[np.str_]) -> Angles:
    """Measure the angles of unit features [N, D] float32 with their identities [N]; those of nobody ('') do not count.

    Raises:
        ValueError: fewer than two people have two faces.
    """
    names, people, counts = np.unique(labels, return_inverse=True, return_counts=True)
    several = (counts[people] >= 2) & (labels != "")
    features, people = features[several], np.unique(people[several], return_inverse=True)[1]
    if len(names) == 0 or len(people) == 0 or people.max() < 1:
        raise ValueError("angles need two people or more with two faces or more each")
    sums = sums_of_people(features, people)
    centres = unit_rows(sums)
    without = unit_rows(sums[people] - features)
    own = np.einsum("nd,nd->n", features, without, dtype=np.float64)
    other = np.empty(len(features))
    within, between = np.full(len(sums), np.inf), np.full(len(sums), -np.inf)
    for start in range(0, len(features), BLOCK):
        rows = slice(start, start + BLOCK)
        to_centres = features[rows] @ centres.T
        to_centres[np.arange(len(to_centres)), people[rows]] = -np.inf
        other[rows] = to_centres.max(axis=1)
        to_faces = features[rows] @ features.T
        same = people[rows, None] == people
        np.minimum.at(within, people[rows], np.where(same, to_faces, np.inf).min(axis=1))
        np.maximum.at(between, people[rows], np.where(same, -np.inf, to_faces).max(axis=1))
    return Angles(_degrees(own), _degrees(other), _degrees(within), _degrees(between))


def draw_angles(angles: Angles, title: str, file: Path) -> None:
    """Draw both histograms, centres above and single faces below, into `file` (PNG)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    pairs = (
        ("one face: angle to a centre", (angles.own_centre, "own"), (angles.other_centre, "nearest other")),
        ("one person: angle between faces", (angles.within, "largest, own"), (angles.between, "smallest, to others")),
    )
    edges = np.linspace(0, 180, BINS + 1).tolist()
    for place, (label, *parts) in enumerate(pairs, start=1):
        axes = figure.add_subplot(2, 1, place)
        for values, name in parts:
            axes.hist(values, edges, weights=np.full(len(values), 100 / len(values)), alpha=0.65, label=name)
        axes.set(xlabel=f"{label}, degrees", ylabel="share, %", xlim=(0, 150))
        axes.legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(file, dpi=110)


def _degrees(cosines: NDArray[np.float64]) -> FloatMatrix:
    return np.degrees(np.arccos(np.clip(cosines, -1, 1))).astype(np.float32)
