"""The best score of each stranger of a cohort in the gallery as it is: what the gallery's own thresholds count.

A cache beside the others: one small file a cohort, believed only where it is whole and of this very gallery, written by
the one writer. New templates alone bring it up to date, because a best score can only grow by them; where anybody was
removed, merged or brought back, everybody is asked anew.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from indexer.cache.index_manifest import is_stored, trail_at
from indexer.cache.snapshot import Snapshot
from indexer.crypto.sealed import SealBroken, open_bytes, seal_bytes
from indexer.decided_on import DEFAULT_DECIDED_ON, DecidedOn
from indexer.decision.context import LISTED, WEIGHT, on_context
from indexer.durable_file import PRIVATE, replacing
from indexer.records import FloatMatrix, FloatVector, Ids
from indexer.regular_file import read_regular
from indexer.search.certified_search import Part, search
from indexer.search.scores import canonical_scores
from indexer.search.shortlist import Segment
from indexer.store import queries as store
from indexer.store.queries import GalleryRow

_FILES = "cohort-*.safetensors"
_LEFTOVERS = ".cohort-*"
_FORMAT = "faceid-cohort-scores-1"
_LARGEST = 1 << 26  # bytes of a file that is looked at: five million strangers
_HIGHEST = 1.01 * (1 + WEIGHT)  # of a score, also one on context, and rounding
_ROWS = 2048  # searched at a time: their products with a cohort's vectors take 24 MB
_NO_SCORE, _NOBODY = -4.0, -1  # of a row that is gone


@dataclass(frozen=True, eq=False)
class CohortScores:
    """Best scores float32 [n] of the strangers of the cohort `key`, and whose each was: owners int64 [n].

    Of the gallery with this row; `last_template` is the newest template that was searched, `people` are N. Without
    anybody enrolled the scores are empty.
    """

    key: str
    row: GalleryRow
    last_template: int
    people: int
    scores: FloatVector
    owners: Ids


@dataclass(frozen=True, eq=False)
class Since:
    """What became of a gallery since scores were known: new templates of the identities `touched`, and nothing else.

    `known` is None where everybody must be asked anew.
    """

    known: CohortScores | None
    touched: Ids

    def nothing_changed(self, snapshot: Snapshot) -> bool:
        """Whether the known scores are those of this very snapshot."""
        return self.known is not None and self.known.row.revision == snapshot.row.revision


def changes_since(
    known: CohortScores | None, key: str, count: int, snapshot: Snapshot, connection: Connection
) -> Since:
    """Look up what the snapshot has that scores of `count` strangers did not see; the transaction may be a later one.

    What happened after the snapshot counts as a change that asks everybody anew.
    """
    nobody = np.empty(0, np.int64)
    if known is None or not _usable(known, key, count, snapshot.row):
        return Since(None, nobody)
    if known.row.revision == snapshot.row.revision:
        return Since(known, nobody)
    if len(store.changed_since(connection, known.row.revision)):
        return Since(None, nobody)
    fresh, owners = store.newer_templates(connection, known.last_template)
    return Since(known, np.unique(owners[fresh <= snapshot.last_template]))


def ask_cohort(
    vectors: FloatMatrix, key: str, snapshot: Snapshot, since: Since, on: DecidedOn = DEFAULT_DECIDED_ON
) -> CohortScores:
    """Return the scores of the cohort's vectors [n, D] in the snapshot; no transaction is open meanwhile.

    What is known already saves what did not change; on context, where one new person is in everybody's, only where
    nothing did.
    """
    known = since.known
    if known is not None and since.nothing_changed(snapshot):
        return known
    if on == "context":
        scores, owners = _in_context(snapshot.parts, vectors)
    elif known is None:
        scores, owners = _best(snapshot.parts, vectors)
    else:
        scores, owners = _grown(known, vectors, snapshot, since.touched)
    return CohortScores(key, snapshot.row, snapshot.last_template, snapshot.people, scores, owners)


def read_scores(folder: Path, key: str, connection: Connection, sealing: bytes | None) -> CohortScores | None:
    """Read the scores of a cohort from the gallery's folder; None unless the file is whole and of this gallery.

    An encrypted gallery's is sealed with the key `sealing`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    row = store.gallery_row(connection)
    try:
        path = _path(folder, key)
        content = read_regular(path, _LARGEST, follow=False)
        if sealing is not None:
            content = open_bytes(sealing, path.name, content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        facts = json.loads(header["faceid"])
        arrays = load(content)
        scores, owners = arrays["scores"], arrays["owners"]
        sound = facts["sha256"] == _digest({k: v for k, v in facts.items() if k != "sha256"}, scores, owners)
        whose = (facts["format"], facts["cohort"], facts["gallery"], facts["model"], facts["fusion"])
        first, second = facts["trail"]
        numbers = (facts["revision"], facts["last_template"], facts["people"], first, second)
        if not all(map(is_stored, numbers)) or not np.isfinite(scores).all() or (np.abs(scores) > _HIGHEST).any():
            return None
        trail = (first, second)
        past = trail == (0, 0) or trail == trail_at(connection, trail[0])  # not of another copy
        if not sound or not past or whose != (_FORMAT, key, row.uuid, row.model.digest, row.fusion):
            return None
        seen = replace(row, revision=facts["revision"])
        return CohortScores(key, seen, facts["last_template"], facts["people"], scores, owners)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError, SealBroken):
        return None


def write_scores(folder: Path, scores: CohortScores, connection: Connection, sealing: bytes | None) -> None:
    """Keep scores of the transaction's revision in the gallery's folder; for the one writer. Raises FileNotWritten."""
    from safetensors.numpy import save

    facts: dict[str, object] = {
        "format": _FORMAT,
        "cohort": scores.key,
        "gallery": scores.row.uuid,
        "model": scores.row.model.digest,
        "fusion": scores.row.fusion,
        "revision": scores.row.revision,
        "last_template": scores.last_template,
        "trail": trail_at(connection, store.last_id(connection, "audit")),
        "people": scores.people,
    }
    facts["sha256"] = _digest(facts, scores.scores, scores.owners)
    content = save({"scores": scores.scores, "owners": scores.owners}, metadata={"faceid": json.dumps(facts)})
    path = _path(folder, scores.key)
    with replacing(path, PRIVATE) as temporary:
        temporary.write_bytes(content if sealing is None else seal_bytes(sealing, path.name, content))


def remove_scores(folder: Path) -> None:
    """Delete the scores of every cohort, and what a writer that died left of them."""
    for file in [*folder.glob(_FILES), *folder.glob(_LEFTOVERS)]:
        file.unlink(missing_ok=True)


def _usable(known: CohortScores, key: str, count: int, row: GalleryRow) -> bool:
    same = (known.row.uuid, known.row.model, known.row.fusion) == (row.uuid, row.model, row.fusion)
    whole = known.key == key and len(known.scores) == len(known.owners) == count
    return same and whole and row.model_since <= known.row.revision <= row.revision


def _grown(known: CohortScores, vectors: FloatMatrix, snapshot: Snapshot, touched: Ids) -> tuple[FloatVector, Ids]:
    """Return the scores after templates of some identities were added and nothing else happened."""
    scores, owners = known.scores.copy(), known.owners.copy()
    if snapshot.row.fusion == "max":
        fresh = [_chosen(part, part.segment.ids > known.last_template) for part in snapshot.parts]
    else:  # another template changes its person's score, also for the worse
        fresh = [_chosen(part, np.isin(part.owners, touched)) for part in snapshot.parts]
        again = np.isin(known.owners, touched)
        if again.any():
            scores[again], owners[again] = _best(snapshot.parts, vectors[again])
    found, whose = _best(fresh, vectors)
    if len(found):
        better = found > scores
        scores[better], owners[better] = found[better], whose[better]
    return scores, owners


def _chosen(part: Part, rows: NDArray[np.bool_]) -> Part:
    """Return some rows of a part."""
    places = np.flatnonzero(rows)
    return Part(Segment(part.segment.ids[places], part.segment.vectors[places]), part.owners[places])


def _best(parts: Sequence[Part], vectors: FloatMatrix) -> tuple[FloatVector, Ids]:
    """Return each vector's best score [n] and whose it is [n]; both empty where nobody is enrolled.

    Plain products, block by block: for thousands of queries at once they cost a fifth of certified lists. The best row
    is scored canonically; another whose score is the same but for float32's error may have been as good.
    """
    best = np.full(len(vectors), _NO_SCORE, np.float32)
    owners = np.full(len(vectors), _NOBODY, np.int64)
    for part in parts:
        for start in range(0, len(part), _ROWS):
            rows = slice(start, start + _ROWS)
            block = part.segment.vectors[rows]
            products = vectors @ block.T
            products[:, part.owners[rows] == _NOBODY] = _NO_SCORE
            better = np.flatnonzero(products.max(axis=1) > best)
            places = products[better].argmax(axis=1)
            best[better] = canonical_scores(vectors[better], block[places])
            owners[better] = part.owners[rows][places]
    there = bool((owners != _NOBODY).all())
    return (best, owners) if there else (best[:0], owners[:0])


def _in_context(parts: Sequence[Part], vectors: FloatMatrix) -> tuple[FloatVector, Ids]:
    """Return what deciding on context is made on for each vector [n], and whose it is [n]."""
    found = search(parts, vectors, LISTED)
    if not found.ids.shape[1]:
        return np.empty(0, np.float32), np.empty(0, np.int64)
    return on_context(found.scores), found.ids[:, 0]


def _path(folder: Path, key: str) -> Path:
    return folder / f"cohort-{key[:16]}.safetensors"


def _digest(facts: dict[str, object], scores: NDArray[np.float32], owners: Ids) -> str:
    if scores.dtype != np.float32 or owners.dtype != np.int64 or scores.shape != owners.shape or scores.ndim != 1:
        raise ValueError("not scores and their owners")
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(scores.tobytes())
    digest.update(owners.tobytes())
    return digest.hexdigest()
