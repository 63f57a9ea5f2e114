"""Cameras that the server watches: started and stopped by name, their last events kept in memory with a face each."""

import io
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from PIL import Image

from faceid.service.audit import AuditLog, Entry
from faceid.service.galleries import Galleries, OpenGallery
from faceid.service.logs import log
from faceid.service.problems import Problem
from faceid.service.settings import Settings
from indexer.errors import FaceIdError, GalleryError

if TYPE_CHECKING:
    from faceid.video.events import Event, EventRecord
    from faceid.video.sources import Source
    from faceid.video.watcher import Watcher

KEPT_EVENTS = 100  # of a camera
_FACE_SIDE, _FACE_QUALITY = 160, 85
_TO_END = 10.0  # seconds that a camera which falls silent may take to let go
_AGAIN = 5.0  # seconds before a camera is watched again whose gallery could not be asked


@dataclass(frozen=True, eq=False)
class CameraEvent:
    """An event, when it was, and the picture of the track's best face as JPEG, kept in memory alone."""

    number: str
    at: str
    record: "EventRecord"
    face: bytes | None


@dataclass(eq=False)
class Monitor:
    """One camera of one gallery: whether it is watched, what happened last (newest first), and what went wrong."""

    camera: str
    events: deque[CameraEvent] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    watcher: "Watcher | None" = None
    thread: threading.Thread | None = None
    problem: str | None = None
    stopping: threading.Event = field(default_factory=threading.Event)  # also while there is no watcher

    @property
    def running(self) -> bool:
        """Whether it is being watched."""
        return self.thread is not None and self.thread.is_alive()


class Monitors:
    """The cameras of the settings, for each gallery: nobody can name another address.

    Nothing is kept over a restart: neither what was watched nor what happened.
    """

    def __init__(self, settings: Settings, galleries: Galleries, audit: AuditLog) -> None:
        self._settings = settings
        self._galleries = galleries
        self._audit = audit
        self._lock = threading.Lock()
        self._monitors: dict[tuple[str, str], Monitor] = {}

    def of(self, gallery: str) -> list[Monitor]:
        """Return the cameras as they stand for a gallery, by name; of people who are gone nothing is left."""
        found = [self.find(gallery, camera) for camera in sorted(self._settings.cameras)]
        known = {person.id for person in self._galleries.get(gallery).people()}
        for monitor in found:
            for event in [one for one in tuple(monitor.events) if not _people_of(one.record) <= known]:
                monitor.events.remove(event)
        return found

    def find(self, gallery: str, camera: str) -> Monitor:
        """Return one camera; raises Problem `no_such_page`."""
        if camera not in self._settings.cameras:
            raise Problem("no_such_page", "there is no camera of this name in the settings")
        with self._lock:
            return self._monitors.setdefault((gallery, camera), Monitor(camera))

    def start(self, gallery: str, camera: str) -> None:
        """Watch a camera with a gallery; nothing where it is watched already. Its page tells why it cannot be."""
        from faceid.video.sources import open_source

        monitor = self.find(gallery, camera)
        opened = self._galleries.get(gallery)
        try:
            source = open_source(self._settings.cameras[camera])
        except FaceIdError as error:  # the extra lacks, say
            monitor.problem = str(error)
            return
        with self._lock:
            if monitor.running:
                return
            monitor.problem = None
            monitor.stopping.clear()
            work = threading.Thread(
                target=self._watch, args=(monitor, opened, source), name=f"faceid-camera-{camera}", daemon=True
            )
            monitor.thread = work
            work.start()

    def stop(self, gallery: str, camera: str) -> None:
        """Stop watching a camera; returns when it has let go, or after some seconds."""
        monitor = self.find(gallery, camera)
        monitor.stopping.set()
        if (watcher := monitor.watcher) is not None:
            watcher.stop()
        if monitor.thread is not None:
            monitor.thread.join(_TO_END)

    def face(self, gallery: str, camera: str, number: str) -> bytes:
        """Return the picture of an event; raises Problem `no_such_page` where there is none any more."""
        for event in tuple(self.find(gallery, camera).events):
            if event.number == number and event.face is not None:
                return event.face
        raise Problem("no_such_page", "this picture is not kept any more")

    def close(self) -> None:
        """Stop all of them."""
        for gallery, camera in tuple(self._monitors):
            self.stop(gallery, camera)

    def _watch(self, monitor: Monitor, opened: OpenGallery, source: "Source") -> None:
        while not monitor.stopping.is_set():
            try:
                self._watch_once(monitor, opened, source)
                return
            except GalleryError as error:  # its server is away, a backup or another model took its place: that passes
                monitor.problem = str(error)
                monitor.stopping.wait(_AGAIN)
            except FaceIdError as error:
                monitor.problem = str(error)
                return
            except Exception as error:
                log.error("defect while a camera was watched", exc_info=error)
                monitor.problem = "see the server's log"
                return
            finally:
                monitor.watcher = None

    def _watch_once(self, monitor: Monitor, opened: OpenGallery, source: "Source") -> None:
        from faceid.video.heap import HeapKeeper
        from faceid.video.track_thresholds import track_threshold
        from faceid.video.watcher import Watcher

        heap = HeapKeeper()
        engine, reader = opened.engine, opened.reader
        fpir = self._settings.fpir
        monitor.watcher = Watcher(
            engine, reader, source, lambda: track_threshold(engine, reader, fpir), keep_pictures=True
        )
        if monitor.stopping.is_set():
            return
        for look in monitor.watcher.looks():
            monitor.problem = None
            for event in look.events:
                self._note(event, monitor.camera, opened.name)
                monitor.events.appendleft(_kept(event))
            heap.look()

    def _note(self, event: "Event", camera: str, gallery: str) -> None:
        """Note a decision in the audit log, as a search is noted."""
        if event.event in ("identified", "unknown", "revised"):
            about = () if event.identity is None else (event.identity.id,)
            value, way = (event.threshold.value, event.threshold.way) if event.threshold else (None, None)
            number = f"camera.{camera}"[:64]
            noted = Entry(
                "camera", "done", number, gallery=gallery, about=about, threshold=value, threshold_way=way, faces=1
            )
            try:
                self._audit.write(noted).result()
            except Exception as error:  # whatever the disk says
                log.error("the audit log cannot be written", extra={"request_id": number}, exc_info=error)
                if self._settings.strict_audit:
                    raise


def _people_of(record: "EventRecord") -> set[int]:
    """Return the ids of everybody whom an event names."""
    before = record["before"]
    named = (record["identity"], before and before["identity"], *record["candidates"])
    return {who["id"] for who in named if who}


def _kept(event: "Event") -> CameraEvent:
    picture = event.best.picture if event.best is not None else None
    at = event.at or datetime.now(UTC)
    face = None
    if picture is not None:
        small = Image.fromarray(picture)
        small.thumbnail((_FACE_SIDE, _FACE_SIDE))
        encoded = io.BytesIO()
        small.save(encoded, format="JPEG", quality=_FACE_QUALITY)
        face = encoded.getvalue()
    return CameraEvent(uuid.uuid4().hex, at.isoformat(timespec="seconds"), event.record(), face)
