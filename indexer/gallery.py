"""The gallery: unit vectors and names in a directory, searched exactly, written by one process at a time.

A gallery is a directory: `gallery.db` (SQLite, the truth), `index.safetensors` (a cache), `writer.lock`.
"""

import secrets
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from filelock import FileLock, Timeout
from sqlalchemy import Connection, insert, update

from indexer import checks, curation, index_cache, reembedding, store, transfer
from indexer.database import Database, check_database, create_database, migrate
from indexer.decision import Calibration
from indexer.enrolment import add_templates
from indexer.errors import GalleryError, GalleryLocked, ModelMismatch
from indexer.identity_index import IdentityIndex, fuse
from indexer.records import (
    Added,
    Candidate,
    Embeddings,
    Enrolled,
    FloatMatrix,
    Fusion,
    Identity,
    ModelBinding,
    NewTemplate,
    Problem,
    Stats,
    TemplateRow,
)
from indexer.schema import HEAD, gallery, model

DATABASE, CACHE, LOCK = "gallery.db", "index.safetensors", "writer.lock"

_TEMPLATES_AT_ONCE = 2_000


class Gallery:
    """Enrolled people and their templates, bound to one model. Made by `create` or `open`; a context manager.

    Every call that changes something is one transaction: when it returns, the change is on the disk. Every call that
    reads sees one revision. One process may write at a time, any number may read meanwhile.
    """

    def __init__(self, path: Path, database: Database, lock: FileLock | None) -> None:
        """Use `create` or `open`."""
        self.path = path
        self._database = database
        self._lock = lock
        self._index: IdentityIndex | None = None
        self._indexed: store.GalleryRow | None = None

    @classmethod
    def create(cls, path: str | Path, model: ModelBinding, fusion: Fusion = "max") -> "Gallery":
        """Make an empty gallery in a directory that is empty or does not exist, and open it for writing.

        Raises GalleryError where something is already there, GalleryLocked while another process creates it.
        """
        path = Path(path)
        if fusion not in ("max", "mean"):
            raise GalleryError(f"fusion is 'max' or 'mean', not {fusion!r}")
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise GalleryError(f"{path} cannot be made a gallery: {error.strerror}") from error
        lock = _lock(path)
        try:
            _create_in(path, model, fusion)
        finally:
            lock.release()
        return cls.open(path, writable=True)

    @classmethod
    def open(cls, path: str | Path, *, writable: bool = False, model_digest: str | None = None) -> "Gallery":
        """Open a gallery; `model_digest` (hex), if given, must be the one it is bound to.

        Raises GalleryError where there is none, StoreDamaged, ModelMismatch, and for writing GalleryLocked.
        """
        path = Path(path)
        version = check_database(path / DATABASE)
        lock = _lock(path) if writable else None
        try:
            if version != HEAD:
                if not writable:
                    raise GalleryError(f"{path} has the older schema {version}; open it once for writing to upgrade it")
                migrate(path / DATABASE)
            self = cls(path, Database(path / DATABASE, writable=writable), lock)
            self._check_model(model_digest)
            if writable:
                index_cache.remove_leftovers(path / CACHE)
                if self._row().erase_pending:
                    self._finish_erase()
            return self
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    def close(self) -> None:
        """Bring the cache up to date (after writing), and let go of the files and the lock."""
        if self._database.closed:
            return
        try:
            if self._lock is not None:
                if self._row().erase_pending:
                    self._finish_erase()
                with suppress(GalleryError):  # what was written is safe; without a cache the next search reads it
                    self._save_cache()
        finally:
            self._database.close()
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What it is

    @property
    def model(self) -> ModelBinding:
        """The model that embedded every template in here."""
        return self._row().model

    @property
    def fusion(self) -> Fusion:
        """An identity's score: its best template's ('max') or that of the mean of its templates ('mean')."""
        return self._row().fusion

    @property
    def revision(self) -> int:
        """Grows with every change that a search or a listing could show."""
        return self._row().revision

    @property
    def size(self) -> int:
        """N: the identities that a search can return."""
        with self._database.read() as connection:
            return store.size(connection)

    # Enrolling and searching

    def enrolled(self, digests: Sequence[bytes]) -> dict[bytes, list[Enrolled]]:
        """For photos by SHA-256 (32 bytes), the templates they already have; a photo without one is left out."""
        with self._database.read() as connection:
            return store.enrolled(connection, digests)

    def add(self, templates: Sequence[NewTemplate], *, restore: bool = False) -> list[Added]:
        """Enrol templates, in one transaction; one Added for each, in order. Enrolling twice changes nothing.

        An identity is the external id, or without one the name. What was removed is rejected unless `restore`. A photo
        that is enrolled under somebody else is rejected. Raises VectorError, and adds nothing, for bad vectors.
        """
        with self._database.write() as connection:
            return add_templates(connection, templates, restore)

    def search(self, vectors: FloatMatrix, k: int) -> list[list[Candidate]]:
        """Return the min(k, N) best identities of each vector [Q, D] float32 of unit length, best first, ties by id.

        Similarities are canonical: float64 inner products of the stored float32 vectors, rounded to float32.
        Raises VectorError.
        """
        with self._database.read() as connection:
            index = self._fresh_index(connection)
            ids, scores = index.search(vectors, k)
            names = store.names(connection, np.unique(np.concatenate([*ids, np.empty(0, np.int64)])).tolist())
        return [
            [
                Candidate(person, names[person], similarity, rank)
                for rank, (person, similarity) in enumerate(zip(one.tolist(), its.tolist(), strict=True), start=1)
            ]
            for one, its in zip(ids, scores, strict=True)
        ]

    def embeddings(self) -> Embeddings:
        """Every active template's vector with its template id and identity id, in order of template id."""
        with self._database.read() as connection:
            return store.embeddings(connection)

    # People

    def identities(self, include_removed: bool = False) -> list[Identity]:
        """Everybody in order of id."""
        with self._database.read() as connection:
            return store.identities(connection, include_removed)

    def find(self, ref: str | int) -> list[Identity]:
        """Whom `ref` may mean, removed people included: by id, external id or name. Two people may bear one name."""
        with self._database.read() as connection:
            return store.find(connection, ref)

    def templates(self, include_removed: bool = False) -> Iterator[TemplateRow]:
        """Every template with its source, in order of id; safe to change the gallery while iterating."""
        after = 0
        while True:
            with self._database.read() as connection:
                rows = store.template_rows(connection, include_removed, after, _TEMPLATES_AT_ONCE)
            yield from rows
            if len(rows) < _TEMPLATES_AT_ONCE:
                return
            after = rows[-1].id

    def rename(self, identity_id: int, new_name: str) -> None:
        """Give a person another name. Raises InvalidName, and GalleryError if the name is somebody else's key."""
        with self._database.write() as connection:
            curation.rename(connection, identity_id, new_name)

    def merge(self, source_id: int, into_id: int) -> None:
        """Make `source_id` the same person as `into_id`, which keeps its name; the old key leads there from now on."""
        with self._database.write() as connection:
            curation.merge(connection, source_id, into_id)

    def remove(self, identity_id: int) -> None:
        """Hide a person from searches; stays hidden when the photos are enrolled again, until restored."""
        with self._database.write() as connection:
            curation.remove(connection, identity_id)

    def restore(self, identity_id: int) -> None:
        """Bring a removed person back, without photos that were removed singly or are somebody else's by now."""
        with self._database.write() as connection:
            curation.restore(connection, identity_id)

    def remove_templates(self, template_ids: Sequence[int]) -> int:
        """Hide single templates; how many were active until now. Raises GalleryError for an unknown id."""
        with self._database.write() as connection:
            return curation.remove_templates(connection, template_ids)

    def erase(self, identity_id: int) -> Literal["done", "pending"]:
        """Destroy a person: afterwards no byte of the templates, names, digests or paths is in the gallery's files.

        'pending' while another process still reads an older revision: the person is gone from every new search, the
        bytes go when the gallery is next opened or closed for writing without such a reader. Of the audit trail a
        salted digest of the name remains; exports and backups are not reached.
        """
        with self._database.write() as connection:
            curation.erase(connection, identity_id)
        return "done" if self._finish_erase() else "pending"

    # Thresholds

    def calibrations(self) -> list[Calibration]:
        """List what was measured on this gallery with its present model, oldest first."""
        with self._database.read() as connection:
            return store.calibrations(connection)

    def save_calibrations(self, calibrations: Sequence[Calibration]) -> None:
        """Keep measurements; one of the same target, data and gallery size is replaced."""
        with self._database.write() as connection:
            store.save_calibrations(connection, calibrations)
            store.record_audit(connection, "calibrate", [(None, None, {"calibrations": len(calibrations)})])
            store.bump_revision(connection)

    # Another model

    def reembedding_left(self, new_model: ModelBinding) -> Iterator[TemplateRow]:
        """Return the templates, removed ones included, that have no vector of `new_model` yet, in order of id."""
        after = 0
        while True:
            with self._database.read() as connection:
                rows = reembedding.left(connection, new_model, after, _TEMPLATES_AT_ONCE)
            yield from rows
            if len(rows) < _TEMPLATES_AT_ONCE:
                return
            after = rows[-1].id

    def add_embeddings(self, new_model: ModelBinding, template_ids: Sequence[int], vectors: FloatMatrix) -> None:
        """Store vectors [n, D] of a model the gallery will switch to; searches do not see them yet. Repeatable."""
        with self._database.write() as connection:
            reembedding.add(connection, new_model, template_ids, vectors)

    def switch_model(self, new_model: ModelBinding, drop: Sequence[int] = ()) -> None:
        """Bind the gallery to a model for which every template has a vector; the old vectors go.

        `drop` names templates that cannot be embedded again and are deleted. Raises GalleryError if others lack one.
        """
        with self._database.write() as connection:
            reembedding.switch(connection, new_model, drop)

    # Care

    def export(self, file: str | Path) -> int:
        """Write everybody, removed people included, into one file for another machine; the number of templates."""
        with self._database.read() as connection:
            return transfer.write_export(connection, Path(file))

    def import_(self, file: str | Path) -> list[Added]:
        """Add what another gallery of the same model exported; importing twice changes nothing.

        Raises GalleryError for a file that is damaged or no export, ModelMismatch for another model's.
        """
        export = transfer.read_export(Path(file))
        with self._database.write() as connection:
            return transfer.add_export(connection, export, Path(file))

    def check(self) -> list[Problem]:
        """Everything that is wrong with the gallery's files: an empty list if it is sound. Reads every vector."""
        with self._database.read() as connection:
            return checks.find_problems(connection, self.path / CACHE)

    def stats(self) -> Stats:
        """Return counts and sizes."""
        with self._database.read() as connection:
            return checks.collect_stats(connection, self.path / DATABASE, self.path / CACHE)

    def rebuild(self) -> None:
        """Make the cache anew from the database."""
        (self.path / CACHE).unlink(missing_ok=True)
        self._index = None
        self._save_cache()

    # Within

    def _row(self) -> store.GalleryRow:
        with self._database.read() as connection:
            return store.gallery_row(connection)

    def _check_model(self, digest: str | None) -> None:
        bound = self.model
        if digest is not None and digest != bound.digest:
            self._database.close()
            raise ModelMismatch(
                f"the gallery {self.path} was embedded by {bound.name} (SHA-256 {bound.digest}), the model at hand has"
                f" {digest}; use that model, or `faceid gallery reembed` to move the gallery to this one"
            )

    def _fresh_index(self, connection: Connection) -> IdentityIndex:
        """Bring the index to the revision that the transaction sees: from memory, the cache, or the database."""
        row = store.gallery_row(connection)
        known = self._indexed
        if self._index is None or known is None or (row.fusion == "mean" and known != row) or known.model != row.model:
            entries = index_cache.load(self.path / CACHE, row)
            if entries is None:
                entries = fuse(store.embeddings(connection), row.fusion)
            self._index = IdentityIndex(entries, row.model.dimension)
        elif known != row:
            ids, owners = store.active_templates(connection)
            self._index.refresh(ids, owners, lambda fresh: store.embeddings(connection, fresh).vectors)
        self._indexed = row
        return self._index

    def _save_cache(self) -> None:
        with self._database.read() as connection:
            row = store.gallery_row(connection)
            if self._lock is None or index_cache.is_fresh(self.path / CACHE, row):
                return
            if self._index is None:
                entries = fuse(store.embeddings(connection), row.fusion)
            else:
                entries = self._fresh_index(connection).entries
            index_cache.save(self.path / CACHE, row, entries)

    def _finish_erase(self) -> bool:
        """Get erased bytes out of the files; False while a reader of an older revision is in the way."""
        (self.path / CACHE).unlink(missing_ok=True)
        self._index = None
        if not self._database.scrub():
            return False
        with self._database.write() as connection:
            connection.execute(update(gallery).values(erase_pending=0))
        with suppress(GalleryError):
            self._save_cache()
        return True


def _lock(path: Path) -> FileLock:
    lock = FileLock(path / LOCK, timeout=0, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise GalleryLocked(f"another process is writing to the gallery {path}; try again when it is done") from error
    except OSError as error:
        raise GalleryError(f"the gallery {path} cannot be written: {error.strerror}") from error
    return lock


def _create_in(path: Path, bound: ModelBinding, fusion: Fusion) -> None:
    """Build the database beside its place and rename it in: a crash leaves no half gallery."""
    temporary = path / (DATABASE + ".new")
    others = sorted(file.name for file in path.iterdir() if not file.name.startswith((temporary.name, LOCK)))
    if others:
        raise GalleryError(f"{path} is not empty ({others[0]}); open the gallery that is there, or give another path")
    for leftover in path.glob(temporary.name + "*"):
        leftover.unlink()
    create_database(temporary)
    database = Database(temporary, writable=True)
    try:
        with database.write() as connection:
            connection.execute(
                insert(model).values(id=1, name=bound.name, digest=bound.digest, dimension=bound.dimension)
            )
            connection.execute(
                insert(gallery).values(
                    id=1,
                    uuid=str(uuid.uuid4()),
                    created_at=store.now(),
                    fusion=fusion,
                    revision=1,
                    model_id=1,
                    audit_salt=secrets.token_bytes(32),
                    erase_pending=0,
                )
            )
    finally:
        database.close()
    index_cache.replace_durably(temporary, path / DATABASE)
