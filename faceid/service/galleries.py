"""The galleries that are served: a reader of each stays open, a writer only for the length of a change."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faceid.engine import FaceEngine
from faceid.models import model_zoo
from faceid.service.problems import Problem
from faceid.service.settings import Settings
from faceid.thresholds import identification_threshold, verification_threshold
from indexer.decision.decision import Target, Threshold
from indexer.errors import GalleryLocked, ModelMismatch
from indexer.gallery import Gallery
from indexer.records import Identity, ModelBinding
from indexer.store.database import file_at
from indexer.store.place import place_of
from indexer.store.sqlite_store import DATABASE
from indexer.store.stores import has_store

_THRESHOLDS = 64  # kept for the rates that were asked for last
_PATIENCE = 2.0  # seconds that a change waits for another program's
_LONGEST_HOLD = 5.0  # seconds after which changes let another program have its turn


class Engines:
    """One engine for each model, made when a gallery of the model is first opened."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[str, FaceEngine] = {}
        self._making = threading.Lock()

    def default(self) -> FaceEngine:
        """Return an engine of the model that new galleries get."""
        return self.of(FaceEngine(self._settings.model, **self._settings.engine()).binding)

    def of(self, binding: ModelBinding) -> FaceEngine:
        """Return the engine of a gallery's model; raises ModelError where it is not there."""
        with self._making:
            if binding.digest not in self._made:
                engine = FaceEngine(self._place_of(binding), **self._settings.engine())
                if engine.model.digest != binding.digest:
                    raise ModelMismatch(
                        f"a gallery is bound to the model {binding.name!r} ({binding.digest}), and the model of that"
                        f" name here is {engine.model.digest}; bring the first, or `faceid gallery reembed`"
                    )
                engine.pipeline.most_faces = self._settings.faces
                self._made[binding.digest] = engine
            return self._made[binding.digest]

    def _place_of(self, binding: ModelBinding) -> str:
        """Return what the model is found by: its name, or the file that the settings name, where it is that one."""
        own = self._settings.model
        return own if own is not None and model_zoo.find_model(own).digest == binding.digest else binding.name


class OpenGallery:
    """One gallery: its reader, its engine, thresholds that were asked for, and its turn to write."""

    def __init__(self, name: str, path: str | Path, engines: Engines) -> None:
        if not has_store(place_of(path)):
            Gallery.open(path, create=engines.default().binding).close()
        self.name = name
        self.path = path
        self._opening = threading.Lock()
        self._former: list[Gallery] = []
        self._open_reader()
        self._engines = engines
        self._thresholds: OrderedDict[tuple[int, str, Target, float], Threshold] = OrderedDict()
        self._alone = threading.Lock()
        self._turn = threading.Condition()
        self._writer: Gallery | None = None
        self._writers = 0
        self._held_since = 0.0

    @property
    def reader(self) -> Gallery:
        """The reader; opened anew where another gallery was put in this one's place, as a backup is to restore it."""
        if self._file_here() != self._file:
            with self._opening:
                if self._file_here() != self._file:
                    self._former.append(self._reader)  # somebody may be reading in it
                    self._open_reader()
                    self._thresholds.clear()
        return self._reader

    @property
    def engine(self) -> FaceEngine:
        """The engine of the model that the gallery is bound to now."""
        return self._engines.of(self.reader.model)

    def threshold(self, target: Target, rate: float) -> Threshold:
        """Return the threshold for a rate at this revision, worked out once; raises CalibrationError."""
        engine = self.engine
        place = (self.reader.revision, engine.model.digest, target, rate)
        with self._alone:
            known = self._thresholds.get(place)
            if known is None:
                known = self._work_out(engine, target, rate)
                self._thresholds[place] = known
                if len(self._thresholds) > _THRESHOLDS:
                    self._thresholds.popitem(last=False)
            return known

    def people(self) -> list[Identity]:
        """Everybody, removed people included, in order of id; read once a revision."""
        return self.reader.remember("people", lambda: self.reader.identities(include_removed=True))

    def person(self, identity_id: int) -> Identity:
        """Return one person; raises Problem `no_such_person`."""
        found = [one for one in self.reader.find(identity_id) if one.id == identity_id] if identity_id < 2**63 else []
        if not found:
            raise Problem("no_such_person", f"nobody has the id {identity_id} in the gallery {self.name}")
        return found[0]

    @contextmanager
    def writing(self) -> Iterator[Gallery]:
        """Open the gallery for a change; several threads' changes share one opening. Raises GalleryLocked.

        The lock is let go when nobody has a change any more, and now and then between: other programs write, too.
        """
        writer = self._enter()
        try:
            yield writer
        finally:
            self._leave()

    def close(self) -> None:
        """Let go of the files."""
        for reader in (*self._former, self._reader):
            reader.close()

    def _open_reader(self) -> None:
        file = self._file_here()
        self._reader, self._file = Gallery.open(self.path), file

    def _file_here(self) -> tuple[int, int] | None:
        place = place_of(self.path)
        return file_at(place / DATABASE) if isinstance(place, Path) else None

    def _work_out(self, engine: FaceEngine, target: Target, rate: float) -> Threshold:
        if target == "far":
            return verification_threshold(engine.model, self.reader, rate)
        return identification_threshold(engine.model, self.reader, rate, detector=engine.detector_digest)

    def _enter(self) -> Gallery:
        with self._turn:
            if self._writer is not None and time.monotonic() - self._held_since > _LONGEST_HOLD:
                self._turn.wait(_PATIENCE)  # or until the last change is through, and the lock was let go
            if self._writer is None:
                self._writer = self._open_patiently()
                self._held_since = time.monotonic()
            self._writers += 1
            return self._writer

    def _leave(self) -> None:
        with self._turn:
            self._writers -= 1
            if self._writers == 0 and self._writer is not None:
                writer, self._writer = self._writer, None
                writer.close()
                self._turn.notify_all()

    def _open_patiently(self) -> Gallery:
        ends = time.monotonic() + _PATIENCE
        while True:
            try:
                return Gallery.open(self.path, writable=True)
            except GalleryLocked:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.05)


class Galleries:
    """All galleries by name."""

    def __init__(self, settings: Settings) -> None:
        engines = Engines(settings)
        self._open = {name: OpenGallery(name, path, engines) for name, path in settings.galleries.items()}

    @property
    def names(self) -> list[str]:
        """The names, as the settings list them."""
        return list(self._open)

    def get(self, name: str) -> OpenGallery:
        """Return a gallery; raises Problem `no_such_gallery`."""
        if name not in self._open:
            raise Problem("no_such_gallery", f"there is no gallery {name!r} here")
        return self._open[name]

    def warm_up(self) -> None:
        """Compile, load and search once, so that the first caller does not wait for it."""
        for gallery in self._open.values():
            engine = gallery.engine
            model_zoo.load_cohort(engine.model)
            if gallery.reader.size:
                sample = gallery.reader.sample(1)
                gallery.reader.search(sample.vectors, 1)

    def close(self) -> None:
        """Let go of all files."""
        for gallery in self._open.values():
            gallery.close()
