"""Which face of a frame belongs to which person seen before: association by box, checked by embedding.

A track that holds two people gives one of them the other's name, so a track is rather broken than mixed: a face whose
vector does not fit its track begins another, and a track that was broken is taken up again by its vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from faceid.vision.detection import Box
from indexer.records import FloatVector

MOST_REMEMBERED = 1000  # tracks that may be taken up again; in a crowd the oldest go first
_FORBIDDEN = 1e6
_DAMPING = 0.5  # of the velocity: faces turn back more often than they fly on
_APART = 0.1  # overlap of two faces from which on their boxes alone do not tell them apart


@dataclass(frozen=True, eq=False)
class SeenFace:
    """What a tracker is told of a face: its box in pixels, and its unit vector, where it was embedded.

    `clear` says that the face is good enough for its vector to tell people apart.
    """

    box: Box
    vector: FloatVector | None = None
    clear: bool = True


class Tracker(Protocol):
    """Gives faces the numbers of their tracks, frame by frame, in the order of time."""

    def guess(self, seconds: float, shot: int, boxes: Sequence[Box]) -> list[int | None]:
        """Return whose track each box continues by all signs; None where only its vector could tell."""
        ...

    def update(self, seconds: float, shot: int, faces: Sequence[SeenFace]) -> list[int]:
        """Return the track of each face of a frame, in order; numbers are never used for another person's track."""
        ...

    def gone(self, seconds: float) -> list[int]:
        """Return the tracks that have left since the last call; a later update may take one up again."""
        ...

    def remembers(self) -> bool:
        """Say whether there is any track that a face might continue."""
        ...


@dataclass(eq=False)
class _Track:
    number: int
    box: NDArray[np.float64]  # x, y, w, h
    seconds: float
    shot: int
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    sum: NDArray[np.float64] | None = None
    checked: float = -np.inf  # when a vector last confirmed it
    gone: bool = False

    def at(self, seconds: float) -> NDArray[np.float64]:
        return self.box + self.velocity * (seconds - self.seconds)

    def likeness(self, face: SeenFace) -> float | None:
        """Return the cosine of a face's vector and the mean of the track's; None where one is missing or unclear."""
        if self.sum is None or face.vector is None or not face.clear:
            return None
        return float(self.sum @ face.vector) / max(float(np.linalg.norm(self.sum)), 1e-12)


class FaceTracker:
    """Hungarian assignment on the overlap of boxes that move on, with vectors to check, to split and to link again.

    `memory`: seconds that a track is continued by its box; `relink_within`: seconds in which it is taken up again by
    its vector. `split_below` and `relink_above` are similarities: a face below the first is not the track's person, one
    above the second is. `check_every`: seconds after which a vector must confirm a track.
    """

    def __init__(
        self,
        *,
        split_below: float,
        relink_above: float,
        memory: float = 1.0,
        relink_within: float = 60.0,
        check_every: float = 1.0,
        min_iou: float = 0.2,
        first_number: int = 1,
    ) -> None:
        self._split_below = split_below
        self._relink_above = relink_above
        self._memory = memory
        self._relink_within = relink_within
        self._check_every = check_every
        self._min_iou = min_iou
        self._next = first_number
        self._tracks: list[_Track] = []

    def guess(self, seconds: float, shot: int, boxes: Sequence[Box]) -> list[int | None]:
        """Return whose track each box continues: one that overlaps with no other, and was confirmed of late."""
        here = self._here(seconds, shot)
        overlap = _overlaps([track.at(seconds) for track in here], boxes)
        among = _overlaps(list(boxes), boxes)
        guesses: list[int | None] = []
        for face in range(len(boxes)):
            near = np.flatnonzero(overlap[:, face] >= self._min_iou)
            alone = (overlap[:, face] > _APART).sum() == 1 and (among[:, face] > _APART).sum() == 1
            track = here[int(near[0])] if len(near) == 1 and alone else None
            confirmed = track is not None and seconds - track.checked < self._check_every
            guesses.append(track.number if track is not None and confirmed else None)
        return guesses

    def update(self, seconds: float, shot: int, faces: Sequence[SeenFace]) -> list[int]:
        """Assign, split, link again, or begin a track: a face never goes without one."""
        self._forget(seconds)
        here = self._here(seconds, shot)
        owners: list[_Track | None] = [None] * len(faces)
        for row, column in self._assign(here, seconds, faces):
            owners[column] = here[row]
        self._link_again(seconds, faces, owners)
        numbers = []
        for face, owner in zip(faces, owners, strict=True):
            if owner is None:
                owner = self._begin(seconds, shot, face)
            self._move(owner, seconds, shot, face)
            numbers.append(owner.number)
        return numbers

    def gone(self, seconds: float) -> list[int]:
        """Return the tracks that were not seen for `memory` seconds, each once until it is seen again."""
        left = [track for track in self._tracks if not track.gone and seconds - track.seconds > self._memory]
        for track in left:
            track.gone = True
        return [track.number for track in left]

    def remembers(self) -> bool:
        """Say whether there is any track that a face might continue."""
        return bool(self._tracks)

    def _here(self, seconds: float, shot: int) -> list[_Track]:
        """Return the tracks that a box can continue: of the same shot, seen of late."""
        return [one for one in self._tracks if one.shot == shot and seconds - one.seconds <= self._memory]

    def _assign(self, here: list[_Track], seconds: float, faces: Sequence[SeenFace]) -> list[tuple[int, int]]:
        if not here or not faces:
            return []
        overlap = _overlaps([track.at(seconds) for track in here], [face.box for face in faces])
        cost = np.where(overlap >= self._min_iou, 1 - overlap, _FORBIDDEN)
        for row, track in enumerate(here):
            for column, face in enumerate(faces):
                likeness = track.likeness(face)
                if likeness is None or cost[row, column] == _FORBIDDEN:
                    continue
                cost[row, column] = _FORBIDDEN if likeness < self._split_below else cost[row, column] - likeness
        rows, columns = linear_sum_assignment(cost)
        return [(r, c) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if cost[r, c] < _FORBIDDEN]

    def _link_again(self, seconds: float, faces: Sequence[SeenFace], owners: list[_Track | None]) -> None:
        """Give faces without a track one that was left, by their vectors, the most similar pairs first."""
        taken = {id(owner) for owner in owners if owner is not None}
        pairs = [
            (likeness, index, track)
            for index, (face, owner) in enumerate(zip(faces, owners, strict=True))
            if owner is None
            for track in self._tracks
            if id(track) not in taken
            and (likeness := track.likeness(face)) is not None
            and likeness >= self._relink_above
        ]
        for _, index, track in sorted(pairs, key=lambda pair: -pair[0]):
            if owners[index] is None and id(track) not in taken:
                owners[index] = track
                taken.add(id(track))

    def _begin(self, seconds: float, shot: int, face: SeenFace) -> _Track:
        track = _Track(self._next, np.asarray(face.box, np.float64), seconds, shot)
        self._next += 1
        self._tracks.append(track)
        return track

    def _move(self, track: _Track, seconds: float, shot: int, face: SeenFace) -> None:
        box = np.asarray(face.box, np.float64)
        passed = seconds - track.seconds
        if track.shot == shot and 0 < passed <= self._memory:
            track.velocity = _DAMPING * (box - track.box) / passed
        elif passed > 0:
            track.velocity = np.zeros(4)
        track.box, track.seconds, track.shot, track.gone = box, seconds, shot, False
        if face.vector is not None and face.clear:
            track.sum = face.vector.astype(np.float64) + (0 if track.sum is None else track.sum)
            track.checked = seconds

    def _forget(self, seconds: float) -> None:
        self._tracks = [one for one in self._tracks if seconds - one.seconds <= self._relink_within or not one.gone]
        if len(self._tracks) > MOST_REMEMBERED:
            self._tracks = sorted(self._tracks, key=lambda one: one.seconds)[-MOST_REMEMBERED:]


def _overlaps(first: Sequence[NDArray[np.float64] | Box], second: Sequence[Box]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes x, y, w, h: [len(first), len(second)]."""
    a = np.asarray(first, np.float64).reshape(-1, 4)[:, None]
    b = np.asarray(second, np.float64).reshape(-1, 4)[None]
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    union = a[..., 2:].clip(0).prod(axis=2) + b[..., 2:].clip(0).prod(axis=2) - common
    return np.asarray(common / np.maximum(union, 1e-9), np.float64)
