"""Findings of a review that somebody called wrong: remembered in the trail, so that they are not asked again.

A finding is known by its key, which holds ids and nothing else; the newest answer counts.
"""

import json
from collections.abc import Sequence

from sqlalchemy import Connection

from indexer.errors import GalleryError
from indexer.store.queries import record_audit
from indexer.store.schema import audit
from indexer.store.sealed_rows import sound_rows

_ACTION = "answer"
_LONGEST = 200  # characters of a key


def rejected(connection: Connection) -> set[str]:
    """Return the keys of findings that were called wrong and not asked for again since."""
    answers: dict[str, bool] = {}
    for row in sorted(sound_rows(connection, "audit", audit.c.action == _ACTION), key=lambda row: row.id):
        details = json.loads(row.details)
        answers[details["finding"]] = details["rejected"]
    return {key for key, is_rejected in answers.items() if is_rejected}


def answer(connection: Connection, keys: Sequence[str], *, reject: bool) -> None:
    """Remember that findings are wrong, or that they are to be asked again. Raises GalleryError for what is no key."""
    for key in keys:
        kind, _, numbers = key.partition(":")
        if not kind.replace("_", "").isalpha() or not numbers.replace("-", "").isdecimal() or len(key) > _LONGEST:
            raise GalleryError(f"{key!r:.80} is no finding of a review, such as duplicate:3-17")
    known = rejected(connection)
    new = [key for key in dict.fromkeys(keys) if (key in known) != reject]
    if new:
        record_audit(connection, _ACTION, [(None, {"finding": key, "rejected": reject}) for key in new])
