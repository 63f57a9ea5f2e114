"""What watching a video tells: who came, who is nobody known, what was corrected, who left (docs/records.md)."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from typing_extensions import TypedDict

from faceid.records import SCHEMA_VERSION, CandidateRecord, ThresholdSource, Who
from faceid.results import candidate_record, rounded, threshold_source, who_record
from faceid.video.frames import Counts
from faceid.video.track_identity import TrackFace
from faceid.vision.detection import Box
from indexer.decision.decision import Threshold
from indexer.records import Candidate

EventKind = Literal["identified", "unknown", "revised", "lost", "source_lost", "source_back", "source_ended"]
TrackDecision = Literal["identified", "unknown", "rejected_quality"]


class Before(TypedDict):
    """What had been said of a track before it was revised."""

    decision: TrackDecision
    identity: Who | None


class EventRecord(TypedDict):
    """One event; those of a source, and values that are not known, have nulls."""

    schema_version: int
    source: str
    event: EventKind
    track: int | None
    seconds: float
    at: str | None
    first_seconds: float | None
    last_seconds: float | None
    box: list[float] | None
    decision: TrackDecision | None
    identity: Who | None
    before: Before | None
    similarity: float | None
    probability: float | None
    threshold: float | None
    threshold_source: ThresholdSource | None
    candidates: list[CandidateRecord]
    frames_seen: int | None
    frames_used: int | None
    best_seconds: float | None
    quality: float | None
    model: str | None
    gallery_revision: int | None
    frames: int | None
    damaged: int | None
    dropped: int | None
    message: str | None
    resume_at: float | None
    resume_track: int | None


@dataclass(frozen=True, eq=False)
class TrackAnswer:
    """A decision on a track: that of its last search.  Without a good face there is none: `rejected_quality`."""

    decision: TrackDecision
    candidates: tuple[Candidate, ...] = ()
    probability: float | None = None
    gallery_revision: int | None = None
    score: float | None = None
    """What was held against the threshold: the similarity, or what the gallery decides on instead."""

    @property
    def identity(self) -> Candidate | None:
        """Who it is; None unless `identified`."""
        return self.candidates[0] if self.decision == "identified" else None

    @property
    def similarity(self) -> float | None:
        """The best candidate's."""
        return self.candidates[0].similarity if self.candidates else None

    def says_the_same(self, other: "TrackAnswer") -> bool:
        """Say whether two answers are one decision on one person."""
        return (self.decision, self.identity and self.identity.id) == (
            other.decision,
            other.identity and other.identity.id,
        )


@dataclass(frozen=True, eq=False)
class Event:
    """One thing to tell.

    `track` to `model` belong to events of a track, `faces` (its best) to `lost` alone, `counts` to events of a source.
    `highest` is the best `score` of all its searches: what a stranger's track would have had to stay below.
    `resume_at`: from where on the source must be read again to go on after this event, `resume_track` the number of the
    first track after that.
    """

    source: str
    event: EventKind
    seconds: float
    at: datetime | None = None
    track: int | None = None
    first_seconds: float | None = None
    last_seconds: float | None = None
    box: Box | None = None
    answer: TrackAnswer | None = None
    before: TrackAnswer | None = None
    threshold: Threshold | None = None
    frames_seen: int | None = None
    frames_used: int | None = None
    best: TrackFace | None = None
    faces: tuple[TrackFace, ...] = ()
    highest: float | None = None
    model: str | None = None
    counts: Counts | None = None
    message: str | None = None
    resume_at: float | None = None
    resume_track: int | None = None

    @property
    def identity(self) -> Candidate | None:
        """The person, where one was identified."""
        return self.answer.identity if self.answer else None

    def resuming_at(self, seconds: float, track: int) -> "Event":
        """Return the event with from where to go on."""
        return replace(self, resume_at=seconds, resume_track=track)

    def record(self) -> EventRecord:
        """Return the record of `faceid watch --json`."""
        answer = self.answer
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "event": self.event,
            "track": self.track,
            "seconds": round(self.seconds, 3),
            "at": None if self.at is None else self.at.isoformat(timespec="milliseconds"),
            "first_seconds": _seconds(self.first_seconds),
            "last_seconds": _seconds(self.last_seconds),
            "box": None if self.box is None else [round(side, 2) for side in self.box],
            "decision": answer.decision if answer else None,
            "identity": who_record(self.identity) if self.identity else None,
            "before": _before(self.before) if self.before else None,
            "similarity": rounded(answer.similarity) if answer else None,
            "probability": None if answer is None or answer.probability is None else round(answer.probability, 4),
            "threshold": rounded(self.threshold.value) if self.threshold else None,
            "threshold_source": threshold_source(self.threshold) if self.threshold else None,
            "candidates": [candidate_record(one) for one in answer.candidates] if answer else [],
            "frames_seen": self.frames_seen,
            "frames_used": self.frames_used,
            "best_seconds": _seconds(self.best.seconds) if self.best else None,
            "quality": rounded(self.best.quality.overall) if self.best else None,
            "model": self.model,
            "gallery_revision": answer.gallery_revision if answer else None,
            "frames": self.counts.decoded if self.counts else None,
            "damaged": self.counts.damaged if self.counts else None,
            "dropped": self.counts.dropped if self.counts else None,
            "message": self.message,
            "resume_at": _seconds(self.resume_at),
            "resume_track": self.resume_track,
        }


def _before(answer: TrackAnswer) -> Before:
    return {"decision": answer.decision, "identity": who_record(answer.identity) if answer.identity else None}


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
