"""Events in a file, a line each, so that a run that was killed goes on and writes none of them twice."""

import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from faceid.video.events import Event, EventRecord
from indexer.durable_file import require_file
from indexer.errors import FaceIdError, FileNotWritten
from indexer.text import printable

_Key = tuple[object, ...]

_BEGINNING = b'{"schema_version": '
_KINDS: dict[str, tuple[type, ...]] = {
    "resume_at": (int, float),
    "resume_track": (int,),
    "track": (int,),
    "decision": (str,),
}
"""What a run that goes on reckons with; each may be null, too."""


class EventFileError(FaceIdError):
    """A file that is not one of events, or that is there already and was not to be gone on with."""


@dataclass(frozen=True)
class Resumed:
    """Where a source is to be gone on with: from `seconds` on, with the next track's number; `done` if it ended."""

    seconds: float = 0.0
    first_track: int = 1
    done: bool = False


class EventFile:
    """A file of events as JSON Lines, each on the disk before it is passed on.

    With `resume`, what is in the file counts as told: reading a source again from `resumed(source).seconds` on writes
    only what is missing. A last line that was cut off is taken away. Without it a file with events is refused. Raises
    EventFileError and FileNotWritten.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self._path = path
        self.records: list[EventRecord] = []
        require_file(path)  # each line is synced, and no pipe takes that
        if path.exists() and path.stat().st_size:
            if not resume:
                raise EventFileError(f"{printable(path)}: it has events already; --resume goes on with them")
            self.records = _whole_lines(path)
        self._written = {_key(record) for record in self.records}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise _not_written(path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def resumed(self, source: str, *, live: bool) -> Resumed:
        """Return where to go on with a source; a live one begins anew, with new numbers of tracks."""
        own = [record for record in self.records if record["source"] == source]
        if not own:
            return Resumed()
        last = own[-1]
        if live:
            return Resumed(0.0, 1 + max(record["track"] or 0 for record in own))
        return Resumed(last["resume_at"] or 0.0, last["resume_track"] or 1, last["event"] == "source_ended")

    def through(self, events: Iterable[Event]) -> Iterator[Event]:
        """Write the events that are not in the file yet, and pass those on."""
        for event in events:
            record = event.record()
            key = _key(record)
            if event.at is None and key in self._written:
                continue
            self._written.add(key)
            try:
                self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise _not_written(self._path, error) from error
            yield event


def _key(record: EventRecord) -> _Key:
    who = record["identity"]
    return (
        record["source"],
        record["event"],
        record["track"],
        round(record["seconds"], 2),
        record["decision"],
        who and who["id"],
    )


def _whole_lines(path: Path) -> list[EventRecord]:
    """Read the events; a last line that was cut off is taken away once the file is known to be one of events."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    records = [_event(line, number, path) for number, line in enumerate(content[:whole].splitlines(), start=1)]
    if whole < len(content):
        tail = content[whole:]
        if not records and tail[: len(_BEGINNING)] != _BEGINNING[: len(tail)]:
            raise _no_event(path, 1)
        with path.open("r+b") as file:
            file.truncate(whole)
    return records


def _event(line: bytes, number: int, path: Path) -> EventRecord:
    try:
        record = json.loads(line)
        hash(_key(record))
        for name, kinds in _KINDS.items():
            if record[name] is not None and type(record[name]) not in kinds:
                raise ValueError(name)
        if not 0 <= (record["resume_at"] or 0) < math.inf:  # NaN neither
            raise ValueError("resume_at")
    # RecursionError: brackets without end; OverflowError: seconds beyond any float.
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise _no_event(path, number) from error
    return cast(EventRecord, record)


def _no_event(path: Path, number: int) -> EventFileError:
    return EventFileError(f"{printable(path)}, line {number}: not an event of `faceid watch`")


def _not_written(path: Path, error: OSError) -> FileNotWritten:
    return FileNotWritten(f"{printable(path)} could not be written: {error.strerror or error}")
