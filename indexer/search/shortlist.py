"""The seam between kinds of index and the proof: the rows that may score highest, and bounds for them and the rest.

A kind of index is given rows once, which never change. It does not decide: its shortlist says for each row how high
the score can be at most, and how high that of any row outside can be; `certified_search` scores the rows canonically.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.records import FloatMatrix, FloatVector, Ids
from indexer.search.codes import Codes

OUT_OF_REACH = -2.0
"""Below every score: those lie within -1.01 .. 1.01."""


class Vectors(Protocol):
    """float32 [n, D]: an array, or something that reads rows from a checked file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, D)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> FloatMatrix: ...


@dataclass(frozen=True, eq=False)
class Shortlist:
    """For Q queries: upper bounds float32 [Q, m] of the canonical scores of rows int64 [Q, m] (-1: no row).

    No row outside can have a canonical score above `unseen` float32 [Q]. Rows are not sorted, none comes twice.
    """

    uppers: FloatMatrix
    rows: NDArray[np.int64]
    unseen: FloatVector


class Shortlister(Protocol):
    """Rows prepared for search in one way: what an entry point of the group `faceid.shortlisters` names.

    `proves`: `unseen` is a bound that was proved. A kind for which it is false says +inf and serves `fast` only.
    """

    proves: ClassVar[bool]

    @classmethod
    def check_machine(cls) -> None:
        """Raise VectorError where this kind cannot run: a device or a package is missing."""
        ...

    def __init__(self, segment: "Segment") -> None:
        """Prepare the segment's rows."""
        ...

    def shortlist(self, queries: FloatMatrix, width: int, live: NDArray[np.bool_] | None) -> Shortlist:
        """Return at least `width` rows (if there are as many) of those that are `live` bool [n], or of all."""
        ...


@dataclass(eq=False)
class Segment:
    """Rows that never change: ids int64 [n] ascending, unit vectors [n, D], and 8-bit codes in a large gallery."""

    ids: Ids
    vectors: Vectors
    codes: Codes | None = None
    _prepared: dict[Callable[["Segment"], Shortlister], Shortlister] = field(default_factory=dict, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    def __len__(self) -> int:
        return len(self.ids)

    def under(self, kind: Callable[["Segment"], Shortlister]) -> Shortlister:
        """Return the segment prepared by a kind of index: made once, also by many threads."""
        with self._lock:
            if kind not in self._prepared:
                self._prepared[kind] = kind(self)
            return self._prepared[kind]
