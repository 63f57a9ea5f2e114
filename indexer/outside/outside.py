"""The seam to an engine elsewhere: it holds vectors under ids, and lists the nearest of them.

An adapter does what it is told and answers what it is asked. What is told and what an answer is worth is decided here,
for all of them: `indexer.outside.following` keeps one up with the gallery, `indexer.outside.searching` searches by it.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from indexer.errors import GalleryError
from indexer.records import FloatMatrix, Ids


class OutsideError(GalleryError):
    """An engine elsewhere is down, slow, behind, foreign or not what it says."""


@dataclass(frozen=True)
class Mark:
    """What an index says that it is complete for: written last, by us, and believed only where it fits.

    `fusion`: its rows are templates ('max') or people ('mean'). `since`: the revision from which on vectors are these
    (`GalleryRow.model_since`). `trail`: id and checksum of the newest entry of the audit trail then, by which a
    database that was put back is noticed. `rows` it held.
    """

    gallery: str
    model: str
    fusion: str
    since: int
    revision: int
    trail: tuple[int, int]
    last_template: int
    rows: int

    def text(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: object) -> "Mark | None":
        """Read what `text` wrote; None for anything else."""
        try:
            fields: dict[str, Any] = json.loads(str(text))
            mark = cls(**{**fields, "trail": tuple(fields["trail"])})
        except (TypeError, ValueError, KeyError):
            return None
        numbers = (mark.since, mark.revision, *mark.trail, mark.last_template, mark.rows)
        return mark if all(type(one) is int for one in numbers) and len(mark.trail) == 2 else None


@dataclass(frozen=True, eq=False)
class Listed:
    """For Q queries the nearest rows: ids int64 [Q, m] (-1: none) and float32 inner products [Q, m], falling."""

    ids: Ids
    scores: FloatMatrix


class OutsideIndex(Protocol):
    """One gallery's vectors in an engine elsewhere. Every method raises OutsideError where it cannot be had.

    Reads see what was written before them, by whomever. For one thread at a time.
    """

    address: str
    """What a user calls it by, without secrets."""

    exhaustive: bool
    """Every search looks at every vector; else it may miss some, and nothing is proved by it."""

    def mark(self) -> Mark | None:
        """Return the mark; None where there is none, or no index."""
        ...

    def count(self) -> int:
        """Return how many vectors it holds; asked of the vectors, not of a statistic."""
        ...

    def make(self, model: str, dimension: int) -> None:
        """Begin anew, empty and without a mark, for vectors of this model (its digest) and size."""
        ...

    def put(self, ids: Ids, vectors: FloatMatrix) -> None:
        """Add vectors [n, D] under ids [n], or put them in the place of those that are there."""
        ...

    def settle(self) -> None:
        """Make many vectors that were just put quick to search."""
        ...

    def remove(self, ids: Ids) -> None:
        """Take out those of the ids that are there."""
        ...

    def set_mark(self, mark: Mark) -> None:
        """Note the mark, once everything before it can be searched."""
        ...

    def shortlist(self, queries: FloatMatrix, width: int) -> Listed:
        """List the nearest `width` (at most 4,096) of each query [Q, D], or all where there are fewer."""
        ...

    def held(self, ids: Ids) -> Ids:
        """Return those of the ids that it holds: how a deletion is verified."""
        ...

    def scrub(self) -> None:
        """Get what was removed out of the engine's own files, as far as it can."""
        ...

    def drop(self) -> None:
        """Take away everything of this gallery, of whatever model."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...
