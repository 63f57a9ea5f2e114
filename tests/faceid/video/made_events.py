"""Events without a video."""

from datetime import UTC, datetime

import numpy as np

from faceid.video.events import Event, EventKind, TrackAnswer
from faceid.video.track_identity import TrackFace
from faceid.vision.quality import Quality
from indexer.decision.decision import user_threshold
from indexer.records import Candidate


def candidate(person: int) -> Candidate:
    return Candidate(id=person, name=f"Person {person}", similarity=0.8, rank=1)


def face(seconds: float = 1.0, *, brightness: int = 120) -> TrackFace:
    picture = np.full((40, 30, 3), brightness, np.uint8)
    return TrackFace(seconds, (1, 2, 3, 4), Quality(60, 1.0, 80, 0.1), np.ones(2, np.float32), picture)


def event(
    kind: EventKind,
    seconds: float,
    *,
    track: int | None = 1,
    person: int | None = None,
    source: str = "film.mp4",
    at: datetime | None = None,
    resume: tuple[float, int] = (0.0, 1),
) -> Event:
    answer = TrackAnswer("identified" if person else "unknown", (candidate(person),) if person else (), 0.9, 3)
    faces = (face(), face(2.0)) if kind == "lost" else ()
    about_track = kind in ("identified", "unknown", "revised", "lost")
    return Event(
        source,
        kind,
        seconds,
        at,
        track=track if about_track else None,
        first_seconds=0.0,
        last_seconds=seconds,
        box=(1, 2, 3, 4),
        answer=answer if about_track else None,
        threshold=user_threshold(0.5),
        frames_seen=3,
        frames_used=2,
        best=face(),
        faces=faces,
        model="net",
    ).resuming_at(*resume)


NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
