"""Telling a person once in a while: whoever stands before a camera is not told at every turn of the head."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime

from faceid.video.events import Event, EventRecord

_REMEMBERED = 1000  # times that a person was told at a source


class OncePer:
    """Leaves out a person's tracks at a source where the person was told less than so many seconds before.

    What is revised is always told. Unknown people are, too: nobody knows whether two of them are one.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._told: dict[tuple[str, int], list[float]] = defaultdict(list)
        self._left_out: set[tuple[str, int | None]] = set()

    def remember(self, records: Iterable[EventRecord]) -> None:
        """Take what an earlier run told for told."""
        for record in records:
            who = record["identity"]
            if record["event"] in ("identified", "revised") and who is not None:
                self._told[record["source"], who["id"]].append(_clock(record["seconds"], record["at"]))

    def through(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass on the events that are to be told."""
        return (event for event in events if self._passes(event))

    def _passes(self, event: Event) -> bool:
        track = (event.source, event.track)
        if event.event == "lost" and track in self._left_out:
            self._left_out.discard(track)
            return False
        if event.event == "revised":
            self._left_out.discard(track)
        if event.event not in ("identified", "revised") or event.identity is None:
            return True
        person = (event.source, event.identity.id)
        now = _clock(event.seconds, None if event.at is None else event.at.isoformat())
        told = self._told[person]
        # Read again after a kill, a file comes to what was told then: it must not stand in its own way, only in that of
        # what came after it.
        if event.event == "identified" and any(0 < now - then < self._seconds for then in told):
            self._left_out.add(track)
            return False
        self._told[person] = [*told[-_REMEMBERED:], now]
        return True


def _clock(seconds: float, at: str | None) -> float:
    """Return when an event was: by the clock for a live source, whose seconds begin anew with each run."""
    return seconds if at is None else datetime.fromisoformat(at).timestamp()
