"""Who a track is: its best faces, the mean of their vectors, and when that mean is searched.

Every search is one more chance for a stranger to be taken for somebody, so they are few, and a threshold for tracks is
that of the whole policy.
"""

from dataclasses import dataclass, field

import numpy as np

from faceid.vision.detection import Box
from faceid.vision.images import UInt8Image
from faceid.vision.quality import Limits, Quality
from indexer.records import FloatVector
from indexer.search.scores import canonical_scores


@dataclass(frozen=True)
class TrackPolicy:
    """How a track is decided.

    The `best` faces by quality make its template, their mean weighted by quality; of faces more alike than `alike` (a
    cosine) one counts, since frames of a still person are one photo. It is searched after so many good faces as
    `decide_after` says, and not again: a poster on a wall would else be searched for hours. `limits` says what a good
    face is.
    """

    best: int = 5
    decide_after: tuple[int, ...] = (1, 3, 5, 10, 25)
    alike: float = 0.95
    eager: int = 10
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, eq=False)
class TrackFace:
    """A good face of a track; `picture` is the frame around it, uint8 RGB, where it is kept."""

    seconds: float
    box: Box
    quality: Quality
    vector: FloatVector
    picture: UInt8Image | None = None


class TrackIdentity:
    """The good faces of one track, and what was searched with them."""

    def __init__(self, policy: TrackPolicy) -> None:
        self._policy = policy
        self.good = 0
        self.faces: list[TrackFace] = []

    @property
    def best(self) -> TrackFace | None:
        """The best face so far."""
        return self.faces[0] if self.faces else None

    def wants(self, quality: Quality) -> bool:
        """Say whether a face of this quality would change anything, so that embedding it is worth it."""
        if quality.reason_codes(self._policy.limits):
            return False
        if self.good < self._policy.eager:
            return True
        return quality.overall > self.faces[-1].quality.overall

    def add(self, face: TrackFace) -> bool:
        """Take a good face; True where the track is to be searched now."""
        self.good += 1
        self._keep(face)
        return self.good in self._policy.decide_after

    def template(self) -> FloatVector:
        """Return the mean of the best faces' vectors, weighted by quality: float32 [D] of unit length."""
        weights = np.array([max(face.quality.overall, 1e-3) for face in self.faces])
        mean = weights @ np.stack([face.vector for face in self.faces]).astype(np.float64)
        template: FloatVector = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
        return template

    def _keep(self, face: TrackFace) -> None:
        for place, kept in enumerate(self.faces):
            if float(canonical_scores(kept.vector, face.vector)) > self._policy.alike:
                if face.quality.overall > kept.quality.overall:
                    self.faces[place] = face
                break
        else:
            self.faces.append(face)
        self.faces.sort(key=lambda one: -one.quality.overall)
        del self.faces[self._policy.best :]
