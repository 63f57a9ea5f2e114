"""Work that takes minutes: bulk enrolment, calibration, rebuilding, deep checks. One at a time, all in the database.

A job that a stopped or killed server left is taken up again at the next start: each kind may be done twice. One that
was begun too often ends as failed. None is ever lost.
"""

import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from faceid.engine import FaceEngine
from faceid.records import EnrollmentRecord, Job, JobKind, JobState
from faceid.results import Enrollment
from faceid.service.archive import PackedPhoto, check_archive, packed_photos
from faceid.service.audit import AuditLog, Entry
from faceid.service.database import FILE, UPLOADS, ServiceDatabase, ServiceDatabaseError, job, job_record, now
from faceid.service.galleries import Galleries, OpenGallery
from faceid.service.logs import log
from faceid.service.metrics import Metrics
from faceid.service.pictures import picture_of
from faceid.service.problems import Problem, of_error
from faceid.service.settings import Settings
from faceid.thresholds import calibrate_gallery
from faceid.vision.photo_list import PersonPhoto, photos_of_people
from faceid.vision.picture import Picture
from faceid.vision.quality import Limits
from indexer.errors import FaceIdError, GalleryLocked
from indexer.gallery import Gallery
from indexer.text import counted

ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")

_AT_ONCE = 16  # photos between two looks at whether to stop
_MOST_STARTS = 3
_PATIENCE = 1.0  # seconds before a gallery that another program writes to is tried again


class Cancelled(Exception):
    """Somebody asked for the job to end."""


class Stopping(Exception):
    """The server ends; the job goes on at the next start."""


class Jobs:
    """The queue of jobs and the thread that does them."""

    def __init__(
        self, database: ServiceDatabase, galleries: Galleries, audit: AuditLog, metrics: Metrics, settings: Settings
    ) -> None:
        self._database = database
        self._galleries = galleries
        self._audit = audit
        self._metrics = metrics
        self._settings = settings
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._take_up_again()
        self._thread = threading.Thread(target=self._run, name="faceid-jobs", daemon=True)
        self._thread.start()

    def create(
        self, gallery: str, kind: JobKind, asked: dict[str, Any], key_id: int | None, upload: Path | None
    ) -> Job:
        """Put a job at the end of the queue. An `upload` (a zip file in the uploads folder) is its own from now on."""
        number = uuid.uuid4().hex
        total = None
        if upload is not None:
            total = check_archive(upload, self._settings.archive_photos)
            upload.rename(self._upload_of(number))
        try:
            with self._database.write() as connection:
                connection.execute(
                    insert(job).values(
                        id=number,
                        gallery=gallery,
                        kind=kind,
                        state="queued",
                        asked=json.dumps(asked),
                        key_id=key_id,
                        done=0,
                        total=total,
                        counts="{}",
                        starts=0,
                        created_at=now(),
                    )
                )
                row = _row(connection, number)
        except BaseException:  # of a full disk, which an archive without a job would keep full
            self._upload_of(number).unlink(missing_ok=True)
            raise
        self._wake.set()
        return _told(row)

    def of_gallery(self, gallery: str) -> list[Job]:
        """Return a gallery's jobs, newest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(job).where(job.c.gallery == gallery).order_by(job.c.created_at.desc(), job.c.id)
            )
            return [_told(row) for row in rows]

    def get(self, gallery: str, number: str) -> Job:
        """Return one job; raises Problem `no_such_job`."""
        with self._database.read() as connection:
            row = _row(connection, number)
        if row is None or row.gallery != gallery:
            raise Problem("no_such_job", f"the gallery {gallery} has no job {number[:64]}")
        return _told(row)

    def records(self, gallery: str, number: str) -> list[EnrollmentRecord]:
        """Return what became of each photo of a job so far; nothing after a person of the gallery was erased."""
        self.get(gallery, number)
        with self._database.read() as connection:
            chosen = select(job_record.c.record).where(job_record.c.job_id == number).order_by(job_record.c.number)
            return [_content(number, text) for text in connection.execute(chosen).scalars()]

    def cancel(self, gallery: str, number: str) -> Job:
        """Let a job end; what it did so far stays. Raises Problem for one that is unknown or has ended."""
        self.get(gallery, number)
        with self._database.write() as connection:
            changed = connection.execute(
                update(job)
                .where(job.c.id == number, job.c.state.not_in(ENDED))
                .values(state="cancelled", ended_at=now(), message="cancelled")
            )
            if not changed.rowcount:
                raise Problem("job_ended", "the job has ended already")
        self._upload_of(number).unlink(missing_ok=True)
        return self.get(gallery, number)

    def forget_people(self, gallery: str) -> None:
        """Destroy what jobs tell of single photos: somebody was erased, and the names are in there."""
        of_gallery = select(job.c.id).where(job.c.gallery == gallery)
        with self._database.write() as connection:
            connection.execute(delete(job_record).where(job_record.c.job_id.in_(of_gallery)))

    def close(self) -> None:
        """Put the running job back into the queue, and end."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _take_up_again(self) -> None:
        (self._settings.data / UPLOADS).mkdir(mode=0o700, exist_ok=True)
        with self._database.write() as connection:
            _put_back(connection)
            waiting = set(connection.execute(select(job.c.id).where(job.c.state == "queued")).scalars())
        for left in (self._settings.data / UPLOADS).iterdir():
            if left.stem not in waiting:
                left.unlink()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                number = self._begin_next()
                if number is not None:
                    self._do(number)
            except Exception as error:  # of a full disk, say: jobs go on when it takes something again
                log.error("what became of a job cannot be noted", exc_info=error)
                self._stopping.wait(_PATIENCE)
            else:
                if number is None:
                    self._wake.wait()

    def _begin_next(self) -> str | None:
        with self._database.write() as connection:
            _put_back(connection)  # whose end could not be noted: here, nothing is running
            chosen = select(job.c.id).where(job.c.state == "queued").order_by(job.c.created_at).limit(1)
            number: str | None = connection.execute(chosen).scalar()
            if number is not None:
                connection.execute(
                    update(job)
                    .where(job.c.id == number)
                    .values(state="running", started_at=now(), starts=job.c.starts + 1)
                )
        return number

    def _do(self, number: str) -> None:
        with self._database.read() as connection:
            row = _row(connection, number)
        assert row is not None
        state: JobState = "done"
        message = None
        try:
            message = self._work(row)
        except Cancelled:
            return
        except Stopping:
            with self._database.write() as connection:  # it did not fail: a planned stop is no try
                self._set(connection, number, state="queued", starts=job.c.starts - 1)
            return
        except Problem as problem:
            state, message = "failed", problem.detail
        except Exception as error:  # the next job must go on
            told = of_error(error) if isinstance(error, FaceIdError) else Problem("internal", str(error))
            state, message = "failed", told.detail
            if told.code == "internal":
                log.error("job failed", extra={"job": number, "kind": row.kind}, exc_info=error)
                message = "the server could not do it; see its log for this job's id"
        with self._database.write() as connection:
            self._set(connection, number, state=state, ended_at=now(), message=message)
        self._upload_of(number).unlink(missing_ok=True)
        with suppress(Exception):  # the job's own row tells of it, too
            self._audit.write(
                Entry(f"job {row.kind}", state, "", key_id=row.key_id, gallery=row.gallery, job=number)
            ).result()

    def _work(self, row: Row[Any]) -> str | None:
        gallery = self._galleries.get(row.gallery)
        asked = _content(row.id, row.asked)
        match row.kind:
            case "enroll":
                return self._enroll(row, gallery, asked)
            case "calibrate":
                return self._calibrate(row, gallery, asked)
            case "rebuild":
                with self._writing(row, gallery) as writer:
                    writer.rebuild()
                return None
            case _:
                problems = gallery.reader.check(deep=True)
                return "; ".join(one.text for one in problems) or "no problem found"

    def _enroll(self, row: Row[Any], gallery: OpenGallery, asked: dict[str, Any]) -> str | None:
        photos = self._people(row, asked)
        done = row.done
        while chunk := list(islice(photos, _AT_ONCE)):
            self._look_up(row.id)
            engine = gallery.engine
            with self._writing(row, gallery) as writer:
                results = engine.enroll(
                    writer, chunk, faces=asked["faces"], limits=Limits(), keep_crops=self._settings.keep_crops
                )
            done = self._note(row, done, results)
        return None

    def _people(self, row: Row[Any], asked: dict[str, Any]) -> Iterator[PersonPhoto]:
        """Yield the photos that are not done yet."""
        if asked["folder"] is None:
            packed = packed_photos(self._upload_of(row.id), self._settings.photo_bytes)
            photos = (self._person_photo(one) for one in packed)
            return islice(photos, row.done, None)
        folder = self._settings.folders.get(asked["folder"])
        if folder is None:
            raise Problem("no_such_folder", f"the settings name no folder {asked['folder']!r}")
        # By their names: since the job was begun before, files may have come to the folder, or gone.
        known = {one["source"] for one in self.records(row.gallery, row.id)}
        left = [one for one in photos_of_people(folder) if one.picture.source not in known]
        with self._database.write() as connection:
            self._set(connection, row.id, total=row.done + len(left))
        return iter(left)

    def _person_photo(self, one: PackedPhoto) -> PersonPhoto:
        reason = one.reason_code or (None if one.folder else "not_in_a_persons_folder")
        return PersonPhoto(picture_of(one.data, one.name, self._settings, reason), one.folder, reason_code=reason)

    def _note(self, row: Row[Any], done: int, results: Sequence[Enrollment]) -> int:
        """Keep what became of some photos, and how far the job is, in one transaction."""
        for result in results:
            self._metrics.enrolled.labels(row.gallery, result.status).inc()
        with self._database.write() as connection:
            known = _content(row.id, connection.execute(select(job.c.counts).where(job.c.id == row.id)).scalar_one())
            counts = Counter(known) + Counter(result.status for result in results)
            connection.execute(
                insert(job_record),
                [
                    {"job_id": row.id, "number": done + place, "record": json.dumps(result.record())}
                    for place, result in enumerate(results)
                ],
            )
            self._set(connection, row.id, done=done + len(results), counts=json.dumps(counts))
        return done + len(results)

    def _calibrate(self, row: Row[Any], gallery: OpenGallery, asked: dict[str, Any]) -> str | None:
        engine: FaceEngine = gallery.engine
        strangers = self._strangers(row) if self._upload_of(row.id).exists() else None
        with self._writing(row, gallery) as writer:
            outcome = calibrate_gallery(
                engine, writer, strangers, faces=asked["faces"], keep_strangers=bool(strangers) and asked["keep"]
            )
        left_out = len(outcome.failures)
        return f"{counted(left_out, 'photo', 'photos')} gave no face, or were copies" if left_out else None

    def _strangers(self, row: Row[Any]) -> Iterator[Picture]:
        for done, one in enumerate(packed_photos(self._upload_of(row.id), self._settings.photo_bytes)):
            if done % _AT_ONCE == 0:
                self._look_up(row.id)
                with self._database.write() as connection:
                    self._set(connection, row.id, done=done)
            yield picture_of(one.data, one.name, self._settings, one.reason_code)
        with self._database.write() as connection:
            self._set(connection, row.id, done=row.total)

    @contextmanager
    def _writing(self, row: Row[Any], gallery: OpenGallery) -> Iterator[Gallery]:
        """Open the gallery for a change; where another program is writing, the job waits for it."""
        with ExitStack() as stack:
            while True:
                self._look_up(row.id)
                try:
                    writer = stack.enter_context(gallery.writing())
                    break
                except GalleryLocked:
                    self._stopping.wait(_PATIENCE)
            yield writer

    def _look_up(self, number: str) -> None:
        """Raise Stopping or Cancelled where the job is not to go on."""
        if self._stopping.is_set():
            raise Stopping
        with self._database.read() as connection:
            row = _row(connection, number)
        if row is None or row.state == "cancelled":
            raise Cancelled

    def _set(self, connection: Connection, number: str, **values: Any) -> None:
        # Who was cancelled meanwhile stays so.
        connection.execute(update(job).where(job.c.id == number, job.c.state == "running").values(**values))

    def _upload_of(self, number: str) -> Path:
        return self._settings.data / UPLOADS / f"{number}.zip"


def _put_back(connection: Connection) -> None:
    """Put jobs that were left running into the queue again; those that were begun too often have failed."""
    running = update(job).where(job.c.state == "running")
    connection.execute(
        running.where(job.c.starts >= _MOST_STARTS).values(
            state="failed", ended_at=now(), message="the server ended each time that it was begun"
        )
    )
    connection.execute(running.values(state="queued"))


def _row(connection: Connection, number: str) -> Row[Any] | None:
    return connection.execute(select(job).where(job.c.id == number)).first()


def _content(number: str, text: str) -> Any:
    """Return what the database keeps of a job as JSON; raises ServiceDatabaseError."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ServiceDatabaseError(
            f"{FILE} is damaged: what it keeps of the job {number} cannot be read; restore it from a backup"
        ) from error


def _told(row: Row[Any] | None) -> Job:
    assert row is not None
    return Job(
        row.id,
        row.gallery,
        row.kind,
        row.state,
        row.done,
        row.total,
        _content(row.id, row.counts),
        row.message,
        row.starts,
        row.created_at,
        row.started_at,
        row.ended_at,
    )
