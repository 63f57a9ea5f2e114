"""The best score of each stranger of a cohort in the gallery as it is: what the gallery's own thresholds count.

A cache beside the others: one small file a cohort, believed only where it is whole and of this very gallery, written by
the one writer. New templates alone bring it up to date, because a best score can only grow by them; where anybody was
removed, merged or brought back, everybody is asked anew.
"""

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from indexer.cache.index_manifest import trail_at
from indexer.cache.snapshot import Snapshot
from indexer.durable_file import PRIVATE, replacing
from indexer.records import Embeddings, FloatMatrix, FloatVector, Ids
from indexer.search.certified_search import Part, search
from indexer.search.fusion import fuse
from indexer.store import queries as store
from indexer.store.queries import GalleryRow

_FILES = "cohort-*.safetensors"
_LEFTOVERS = ".cohort-*"
_FORMAT = "faceid-cohort-scores-1"
_LARGEST = 1 << 26  # bytes of a file that is looked at: five million strangers


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


def ask_cohort(
    vectors: FloatMatrix,
    key: str,
    connection: Connection,
    snapshot: Snapshot,
    known: CohortScores | None,
) -> CohortScores:
    """Return the scores of the cohort's vectors [n, D] in the snapshot, the revision that the transaction sees.

    `known`, of an older or the same revision, saves what did not change.
    """
    row = snapshot.row
    if known is not None and _usable(known, key, len(vectors), row):
        if known.row.revision == row.revision:
            return known
        if not len(store.changed_since(connection, known.row.revision)):
            return _grown(known, vectors, connection, snapshot)
    scores, owners = _best(snapshot.parts, vectors)
    return CohortScores(key, row, snapshot.last_template, snapshot.people, scores, owners)


def read_scores(folder: Path, key: str, connection: Connection) -> CohortScores | None:
    """Read the scores of a cohort from the gallery's folder; None unless the file is whole and of this gallery."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    row = store.gallery_row(connection)
    try:
        content = _regular_bytes(_path(folder, key))
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        facts = json.loads(header["faceid"])
        arrays = load(content)
        scores, owners = arrays["scores"], arrays["owners"]
        sound = facts["sha256"] == _digest({k: v for k, v in facts.items() if k != "sha256"}, scores, owners)
        whose = (facts["format"], facts["cohort"], facts["gallery"], facts["model"], facts["fusion"])
        trail = (int(facts["trail"][0]), int(facts["trail"][1]))
        past = trail == (0, 0) or trail == trail_at(connection, trail[0])  # not a backup's that went another way
        if not sound or not past or whose != (_FORMAT, key, row.uuid, row.model.digest, row.fusion):
            return None
        seen = replace(row, revision=int(facts["revision"]))
        return CohortScores(key, seen, int(facts["last_template"]), int(facts["people"]), scores, owners)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError):
        return None


def write_scores(folder: Path, scores: CohortScores, connection: Connection) -> None:
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
    with replacing(_path(folder, scores.key), PRIVATE) as temporary:
        temporary.write_bytes(content)


def remove_scores(folder: Path) -> None:
    """Delete the scores of every cohort, and what a writer that died left of them."""
    for file in [*folder.glob(_FILES), *folder.glob(_LEFTOVERS)]:
        file.unlink(missing_ok=True)


def _usable(known: CohortScores, key: str, count: int, row: GalleryRow) -> bool:
    same = (known.row.uuid, known.row.model, known.row.fusion) == (row.uuid, row.model, row.fusion)
    whole = known.key == key and len(known.scores) == len(known.owners) == count
    return same and whole and row.model_since <= known.row.revision <= row.revision


def _grown(known: CohortScores, vectors: FloatMatrix, connection: Connection, snapshot: Snapshot) -> CohortScores:
    """Return the scores after templates were added and nothing else happened."""
    fresh, fresh_owners = store.newer_templates(connection, known.last_template)
    scores, owners = known.scores.copy(), known.owners.copy()
    if len(fresh):
        touched = np.unique(fresh_owners)
        members = snapshot.members
        if members is not None:  # another template changes its person's score, also for the worse
            its = np.isin(members.owners, touched)
            fresh, fresh_owners = members.ids[its], members.owners[its]
            again = np.isin(known.owners, touched)
            scores[again], owners[again] = _best(snapshot.parts, vectors[again])
        part = fuse(Embeddings(fresh, fresh_owners, store.vectors_of(connection, fresh)), snapshot.row.fusion)
        found, whose = _best([part], vectors)
        better = found > scores
        scores[better], owners[better] = found[better], whose[better]
    return CohortScores(known.key, snapshot.row, snapshot.last_template, snapshot.people, scores, owners)


def _best(parts: Sequence[Part], vectors: FloatMatrix) -> tuple[FloatVector, Ids]:
    """Return each vector's best score [n] and whose it is [n]; both empty where nobody is enrolled."""
    found = search(parts, vectors, 1)
    return found.scores.reshape(-1), found.ids.reshape(-1)


def _path(folder: Path, key: str) -> Path:
    return folder / f"cohort-{key[:16]}.safetensors"


def _regular_bytes(path: Path) -> bytes:
    """Read a file that is no link, pipe or device, and no larger than such a file can be."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise OSError("not a cache file")
        return file.read(_LARGEST + 1)


def _digest(facts: dict[str, object], scores: NDArray[np.float32], owners: Ids) -> str:
    if scores.dtype != np.float32 or owners.dtype != np.int64 or scores.shape != owners.shape or scores.ndim != 1:
        raise ValueError("not scores and their owners")
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(scores.tobytes())
    digest.update(owners.tobytes())
    return digest.hexdigest()
