"""Watching a video: frames in, and events out, one decision a person's track.

for event in watch(engine, gallery, open_source("door.mp4"), track_threshold(engine, gallery, fpir=0.01)):
    print(event.seconds, event.event, event.identity)
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from faceid.engine import FaceEngine
from faceid.model_binding import search_with
from faceid.probability import probability_law
from faceid.thresholds import verification_threshold
from faceid.video.events import Event, EventKind, TrackAnswer
from faceid.video.frames import Frame, SourceNotice
from faceid.video.looking import Looker
from faceid.video.reader import QUEUE, FrameReader, Sampling
from faceid.video.sources import Source
from faceid.video.track_identity import TrackFace, TrackIdentity, TrackPolicy
from faceid.video.tracker import FaceTracker, SeenFace, Tracker
from faceid.vision.detection import Box, Faces
from faceid.vision.images import UInt8Image
from faceid.vision.quality import measure_quality
from indexer.decision.context import decision_score
from indexer.decision.decision import Threshold, decide
from indexer.decision.match_probability import CONTEXT, context_of, match_probability
from indexer.errors import CalibrationError
from indexer.gallery import Gallery
from indexer.records import Candidate

TOP_K = 5  # candidates that an event lists
SPLIT_FAR, RELINK_FAR = 1e-3, 1e-5
"""Pairs of different people whose faces would pass for one track's, and for one that was left."""

UNMEASURED_LINKS = 0.2, 0.7
"""The two similarities for a network whose pairs nobody measured: low enough to split, high enough to link, for any."""

MARGIN = 0.6  # of a face's box, on each side of the pictures that are kept of it: detectors need surroundings
_GRID = 8
_FORGOTTEN_AFTER = 62.0  # seconds: a second more than a tracker links again within
_EVER = math.inf

DecideAt = Threshold | Callable[[], Threshold]


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face of a frame: its box, its track, and what is known of the track by now (None: nothing yet)."""

    box: Box
    track: int
    answer: TrackAnswer | None


@dataclass(frozen=True, eq=False)
class Look:
    """What one frame brought; `frame` is None where the events are not about one (a source was lost, or ended)."""

    frame: Frame | None
    faces: tuple[TrackedFace, ...]
    events: tuple[Event, ...]


@dataclass(eq=False)
class _Followed:
    """What is known of one track."""

    number: int
    first: float
    identity: TrackIdentity
    last: float = 0.0
    box: Box = (0.0, 0.0, 0.0, 0.0)
    frames: int = 0
    answer: TrackAnswer | None = None
    highest: float | None = None
    lost: bool = False


def watch(
    engine: FaceEngine,
    gallery: Gallery,
    source: Source,
    threshold: DecideAt,
    *,
    policy: TrackPolicy | None = None,
    sampling: Sampling | None = None,
) -> Iterator[Event]:
    """Yield what happens in a video while it is read: who was identified, who is unknown, what was revised, who left.

    `threshold` is one for tracks (`track_threshold`): one for photos alarms more often, since a track is searched
    several times. A function that returns one is asked again whenever the gallery changes. Raises VideoError for a
    source that gives no frames, ModelMismatch for a gallery of another model.
    """
    for look in Watcher(engine, gallery, source, threshold, policy=policy, sampling=sampling).looks():
        yield from look.events


class Watcher:
    """One watching of one source. `keep_pictures` keeps cuttings of the best faces for the event `lost`."""

    def __init__(
        self,
        engine: FaceEngine,
        gallery: Gallery,
        source: Source,
        threshold: DecideAt,
        *,
        policy: TrackPolicy | None = None,
        sampling: Sampling | None = None,
        tracker: Tracker | None = None,
        full_scan_every: int = 1,
        keep_pictures: bool = False,
        first_track: int = 1,
    ) -> None:
        engine.require_same_model(gallery)
        self.source = source
        self._engine = engine
        self._gallery = gallery
        self._decide_at = threshold
        self._threshold = threshold if isinstance(threshold, Threshold) else threshold()
        self._policy = policy or TrackPolicy()
        self._sampling = sampling or Sampling()
        split, relink = link_similarities(engine, gallery)
        self._tracker = tracker or FaceTracker(split_below=split, relink_above=relink, first_number=first_track)
        self._looker = Looker(engine.pipeline, full_scan_every)
        self._keep_pictures = keep_pictures
        self._followed: dict[int, _Followed] = {}
        self._revision = gallery.revision
        self._checked = -1
        self._next_track = first_track
        self._quiet = self._sampling.start, first_track
        self._stopped = False
        self._reader: FrameReader | None = None

    def stop(self) -> None:
        """End `looks` from another thread: it tells who was still there, and returns."""
        self._stopped = True
        if self._reader is not None:
            self._reader.stop()

    def looks(self) -> Iterator[Look]:
        """Yield a look for each frame that was looked at, and for what happens to the source."""
        seconds = self._sampling.start
        try:
            with FrameReader(self.source, self._sampling) as reader:
                self._reader = reader
                while not self._stopped and (items := reader.take(1 if self.source.live else QUEUE)):
                    for look in self._look(items):
                        seconds = max(seconds, look.events[-1].seconds if look.frame is None else look.frame.seconds)
                        yield look
        finally:
            self._reader = None
        yield Look(None, (), (*self._leave(seconds, None), self._source_ended(seconds)))

    def _look(self, items: Sequence[Frame | SourceNotice]) -> Iterator[Look]:
        found = iter(self._looker.find([item for item in items if isinstance(item, Frame)]))
        for item in items:
            yield self._step(item, next(found)) if isinstance(item, Frame) else self._notice(item)

    def _step(self, frame: Frame, faces: Faces) -> Look:
        followed, due, back = self._follow(frame, faces)
        events = [*self._revised_by_the_gallery(frame.seconds, frame.at)]
        events += [self._event(_kind(one.answer), one, frame.seconds, frame.at) for one in back if one.answer]
        events += self._decide(due, frame.seconds, frame.at)
        events += self._lose(self._tracker.gone(frame.seconds), frame.seconds, frame.at)
        self._forget(frame.seconds)
        shown = tuple(TrackedFace(one.box, one.number, one.answer) for one in followed)
        return Look(frame, shown, self._resumable(events))

    def _follow(self, frame: Frame, faces: Faces) -> tuple[list[_Followed], list[_Followed], list[_Followed]]:
        """Give the faces their tracks; return these, those to be searched now, and those that came back."""
        boxes: list[Box] = [(x, y, w, h) for x, y, w, h in faces.boxes.tolist()]
        with self._engine.pipeline.timed("quality"):
            qualities = measure_quality(frame.pixels, faces)
        clear = [not quality.reason_codes(self._policy.limits) for quality in qualities]
        guesses = self._tracker.guess(frame.seconds, frame.shot, boxes)
        wanted = [
            index
            for index, (guess, quality) in enumerate(zip(guesses, qualities, strict=True))
            if clear[index] and (guess not in self._followed or self._followed[guess].identity.wants(quality))
        ]
        vectors = self._engine.pipeline.embed_faces(frame.pixels, faces, wanted)
        seen = [SeenFace(box, vectors.get(index), clear[index]) for index, box in enumerate(boxes)]
        with self._engine.pipeline.timed("track"):
            numbers = self._tracker.update(frame.seconds, frame.shot, seen)
        followed, due, back = [], [], []
        for index, number in enumerate(numbers):
            one = self._followed.get(number)
            if one is None:
                one = self._followed[number] = _Followed(number, frame.seconds, TrackIdentity(self._policy))
                self._next_track = max(self._next_track, number + 1)
            if one.lost:
                one.lost = False
                back.append(one)
            one.last, one.box = frame.seconds, boxes[index]
            one.frames += 1
            followed.append(one)
            if index in vectors:
                picture = cutting(frame.pixels, boxes[index]) if self._keep_pictures else None
                face = TrackFace(frame.seconds, boxes[index], qualities[index], vectors[index], picture)
                if one.identity.add(face):
                    due.append(one)
        return followed, due, back

    def _decide(self, due: Sequence[_Followed], seconds: float, at: datetime | None) -> Iterator[Event]:
        """Search the tracks' templates; yield what is said for the first time, and what is said otherwise."""
        for one, answer in zip(due, self._answers(due), strict=True):
            before, one.answer = one.answer, answer
            if answer.score is not None:
                one.highest = max(answer.score, -1.0 if one.highest is None else one.highest)
            if before is None:
                yield self._event(_kind(answer), one, seconds, at)
            elif not answer.says_the_same(before):
                yield self._event("revised", one, seconds, at, before)

    def _answers(self, tracks: Sequence[_Followed]) -> list[TrackAnswer]:
        if not tracks:
            return []
        with self._engine.pipeline.timed("search"):
            templates = np.stack([one.identity.template() for one in tracks])
            found = search_with(self._engine.model, self._gallery, templates, max(TOP_K, 1 + CONTEXT), self._threshold)
        answers = []
        for one, result in zip(tracks, found, strict=True):
            similarities = [candidate.similarity for candidate in result.candidates]
            score = decision_score(similarities, self._threshold.on) if similarities else None
            answers.append(
                TrackAnswer(
                    decide(score, self._threshold),
                    result.candidates[:TOP_K],
                    self._probability(one, result.candidates),
                    result.revision,
                    score,
                )
            )
        return answers

    def _probability(self, one: _Followed, candidates: Sequence[Candidate]) -> float | None:
        law = probability_law(self._engine.model, self._gallery, self._engine.detector_digest, len(one.identity.faces))
        if law is None or not candidates:
            return None
        similarities = [candidate.similarity for candidate in candidates]
        return match_probability(law, similarities[0], context_of(similarities))

    def _revised_by_the_gallery(self, seconds: float, at: datetime | None) -> Iterator[Event]:
        """Once a second see whether the gallery changed; then nobody is named by what it was."""
        if int(seconds) == self._checked:
            return
        self._checked = int(seconds)
        yield from self._ask_again(seconds, at)

    def _ask_again(self, seconds: float, at: datetime | None) -> Iterator[Event]:
        revision = self._gallery.revision
        if revision == self._revision:
            return
        self._revision = revision
        self._engine.require_same_model(self._gallery)
        if not isinstance(self._decide_at, Threshold):
            with suppress(CalibrationError):  # nobody is left, or nothing fits any more: the last one stays
                self._threshold = self._decide_at()
        yield from self._decide([one for one in self._followed.values() if one.answer], seconds, at)

    def _lose(self, gone: Sequence[int], seconds: float, at: datetime | None) -> Iterator[Event]:
        if gone:
            yield from self._ask_again(seconds, at)
        for number in gone:
            one = self._followed[number]
            one.lost = True
            yield self._event("lost", one, seconds, at)

    def _leave(self, seconds: float, at: datetime | None) -> tuple[Event, ...]:
        return self._resumable(list(self._lose(self._tracker.gone(_EVER), seconds, at)))

    def _forget(self, seconds: float) -> None:
        for one in [one for one in self._followed.values() if one.lost and seconds - one.last > _FORGOTTEN_AFTER]:
            del self._followed[one.number]
        if not self._followed and not self._tracker.remembers():
            self._quiet = seconds, self._next_track

    def _notice(self, notice: SourceNotice) -> Look:
        kind: EventKind = "source_back" if notice.kind == "source_back" else "source_lost"
        told = Event(
            self.source.name,
            kind,
            notice.seconds,
            notice.at,
            message=notice.message,
            counts=replace(self.source.counts),
        )
        gone = self._leave(notice.seconds, notice.at) if kind == "source_lost" else ()
        return Look(None, (), (*gone, *self._resumable([told])))

    def _source_ended(self, seconds: float) -> Event:
        remark = self.source.counts.remark
        ended = Event(self.source.name, "source_ended", seconds, message=remark, counts=replace(self.source.counts))
        return self._resumable([ended])[0]

    def _resumable(self, events: Sequence[Event]) -> tuple[Event, ...]:
        return tuple(event.resuming_at(*self._quiet) for event in events)

    def _event(
        self,
        kind: EventKind,
        one: _Followed,
        seconds: float,
        at: datetime | None,
        before: TrackAnswer | None = None,
    ) -> Event:
        return Event(
            self.source.name,
            kind,
            seconds,
            at,
            track=one.number,
            first_seconds=one.first,
            last_seconds=one.last,
            box=one.box,
            answer=one.answer or TrackAnswer("rejected_quality"),
            before=before,
            threshold=self._threshold,
            frames_seen=one.frames,
            frames_used=one.identity.good,
            best=one.identity.best,
            faces=tuple(one.identity.faces) if kind == "lost" else (),
            highest=one.highest,
            model=self._engine.model.spec.name,
        )


def _kind(answer: TrackAnswer) -> EventKind:
    return "identified" if answer.identity else "unknown"


def link_similarities(engine: FaceEngine, gallery: Gallery | None) -> tuple[float, float]:
    """Return the similarities below which a face is not a track's person, and above which a track is taken up again."""
    found = []
    for far, otherwise in zip((SPLIT_FAR, RELINK_FAR), UNMEASURED_LINKS, strict=True):
        try:
            found.append(verification_threshold(engine.model, gallery, far).value)
        except CalibrationError:
            found.append(otherwise)
    return found[0], max(found)


def cutting(pixels: UInt8Image, box: Box) -> UInt8Image:
    """Return a copy of the picture around a face.

    Its sides lie on multiples of _GRID: the last digits of a box must not make another picture of the same frame.
    """
    x, y, w, h = box
    left, top = (max(0, int(low // _GRID) * _GRID) for low in (x - MARGIN * w, y - MARGIN * h))
    right, bottom = (int(high // _GRID + 1) * _GRID for high in (x + (1 + MARGIN) * w, y + (1 + MARGIN) * h))
    return pixels[top:bottom, left:right].copy()
