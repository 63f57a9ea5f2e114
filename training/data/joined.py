"""Labelled faces and unlabelled ones as one set, so that every batch has some of both."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from training.data.faces import UNKNOWN, FaceSource, Ints, UInt8Images


@dataclass(frozen=True)
class Joined:
    """First the labelled faces, then the unlabelled, whose readers' own labels are not looked at."""

    labelled: FaceSource
    unlabelled: FaceSource

    @cached_property
    def labels(self) -> Ints:
        """As in `training.data.faces.FaceSource`."""
        return np.concatenate([self.labelled.labels, np.full(len(self.unlabelled.labels), UNKNOWN)])

    @property
    def identities(self) -> tuple[str, ...]:
        """Names of the labelled people."""
        return self.labelled.identities

    @property
    def digest(self) -> str:
        """Both digests."""
        return f"{self.labelled.digest} {self.unlabelled.digest}"

    @property
    def left_out(self) -> int:
        """Of both."""
        return self.labelled.left_out + self.unlabelled.left_out

    def read(self, chosen: Ints) -> UInt8Images:
        """As in `training.data.faces.FaceSource`."""
        own = chosen < len(self.labelled.labels)
        images = np.empty((len(chosen), *self._shape), np.uint8)
        images[own] = self.labelled.read(chosen[own])
        images[~own] = self.unlabelled.read(chosen[~own] - len(self.labelled.labels))
        return images

    def name(self, index: int) -> str:
        """As in `training.data.faces.FaceSource`."""
        first = len(self.labelled.labels)
        return self.labelled.name(index) if index < first else self.unlabelled.name(index - first)

    def order(self, random: np.random.Generator) -> Ints:
        """Shuffle everything."""
        return random.permutation(len(self.labels))

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        return self.labelled.read(np.zeros(1, np.int64)).shape[1:]
