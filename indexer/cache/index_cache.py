"""The caches beside the database: segment files, the owners of their rows, and a manifest that is written last.

`index.json` names every file of one revision with its size and the SHA-256 of each mebibyte. Whatever is missing, torn,
altered or another gallery's is not believed; nothing here is needed to answer, it only saves time. Files are never
changed: a new revision adds a small segment and a new list of owners, and now and then joins small segments or drops
dead rows.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from stat import S_ISDIR

import numpy as np
from sqlalchemy import Connection

from indexer.cache.following import can_follow, follow
from indexer.cache.index_manifest import MANIFEST, Manifest, files_are_there, is_fresh, read_manifest
from indexer.cache.loading import OutdatedRead, load, read_files
from indexer.cache.saving import write_files
from indexer.cache.snapshot import Snapshot, bytes_in_memory, is_sound, read_all
from indexer.errors import FileNotWritten
from indexer.records import FloatMatrix, Ids
from indexer.store import queries as store
from indexer.store.queries import GalleryRow

_FILES = "index-*.safetensors"
_LEFTOVERS = ".index*"
_OLDER = "index.safetensors"  # the cache of version 0.1: it holds vectors, and an erase must reach them

IN_MEMORY = 64 << 20
"""Bytes of vectors in no file from which a writer should save, and a reader looks for what a writer saved."""

Read = Callable[[], AbstractContextManager[Connection]]
"""What opens a transaction that reads."""


class IndexCache:
    """The snapshot that a gallery searches: loaded from files, brought up to each revision, and saved."""

    def __init__(self, folder: Path, sealing: Callable[[], bytes | None]) -> None:
        """`sealing` gives the key that seals the files of now; None where nothing is sealed."""
        self._folder = folder
        self._sealing_now = sealing
        self._lock = threading.Lock()  # for what is in memory; only a saver waits for it with a transaction open
        self._saving = threading.RLock()  # for the files: one thread of the one writer at a time
        self._current: Snapshot | None = None
        self._distrusted: Manifest | None = None
        self._tried: Manifest | None = None  # the files looked at last, so as not to load them again and again
        self._offered: list[tuple[Ids, FloatMatrix]] = []

    @property
    def _sealing(self) -> bytes | None:
        return self._sealing_now()

    @property
    def known(self) -> Snapshot | None:
        """The latest snapshot that is in memory."""
        return self._current

    @property
    def in_memory(self) -> int:
        """Bytes of vectors that are in no file yet."""
        current = self._current
        waiting = sum(its.nbytes for _, its in self._offered)
        return waiting + (0 if current is None else bytes_in_memory(current.parts))

    def latest(self, read: Read) -> Snapshot:
        """Return the snapshot of the present revision; whoever waits for another thread's holds no transaction.

        Raises OutdatedRead for a transaction that began before the last saving; StoreDamaged.
        """
        with read() as connection:
            row = store.gallery_row(connection)
        current = self._current
        if current is not None and _same(current.row, row):
            return current
        with self._lock, read() as connection:
            self._current = self._advanced(self._current, connection, store.gallery_row(connection))
            return self._current

    def at(self, connection: Connection) -> Snapshot:
        """Return the snapshot of the revision that the transaction sees; raises as `latest`."""
        row = store.gallery_row(connection)
        with self._lock:
            self._current = self._advanced(self._current, connection, row)
            return self._current

    def offer(self, ids: Ids, vectors: FloatMatrix) -> None:
        """Hand over vectors [n, D] that were just enrolled under ids [n], ascending: they need not be read again."""
        with self._lock:
            self._offered.append((ids, vectors))

    def forget_offers(self) -> None:
        """Let go of what was offered: it is in the database."""
        with self._lock:
            self._offered = []

    def drop(self) -> None:
        """Forget what is in memory."""
        with self._lock:
            self._current, self._tried = None, None
            self._offered = []

    def distrust(self) -> None:
        """Forget what is in memory, and do not believe the files that are there now: they are damaged or foreign."""
        with self._lock:
            self._current, self._tried = None, None
            self._offered = []
            self._distrusted = read_manifest(self._folder, self._sealing)

    def save(self, read: Read, *, erased: bool = False) -> None:
        """Bring the files to the present revision; only for the one writer.

        With `erased`, no row of a template that does not exist any more stays in any file. Raises FileNotWritten where
        the disk does not let it, OutdatedRead, SegmentDamaged.
        """
        with self._saving, read() as connection:
            manifest = read_manifest(self._folder, self._sealing)
            row = store.gallery_row(connection)
            if manifest == self._distrusted or (manifest and not files_are_there(self._folder, manifest)):
                manifest = None
            erased = erased or (manifest is not None and store.erased_since(connection, manifest.trail[0]))
            if manifest is not None and not erased and is_fresh(manifest, connection, row):
                return
            snapshot = self.at(connection)
            sealing = self._sealing
            written = write_files(self._folder, snapshot, connection, manifest, erased=erased, sealing=sealing)
            remove_leftovers(self._folder, sealing)
            saved = read_files(self._folder, written, snapshot.row, snapshot.parts, sealing=sealing)
            with self._lock:
                if self._current is snapshot:
                    self._current, self._tried = saved, written

    def holds_erased(self, read: Read) -> bool:
        """Whether the files may hold rows of templates that were deleted since they were written."""
        manifest = read_manifest(self._folder, self._sealing)
        if manifest is None:
            return False
        with read() as connection:
            return store.erased_since(connection, manifest.trail[0])

    def remove(self) -> None:
        """Delete every cache, and forget what is in memory."""
        with self._saving:
            remove_all(self._folder)
            self.drop()

    def _advanced(self, current: Snapshot | None, connection: Connection, row: GalleryRow) -> Snapshot:
        if current is not None and _same(current.row, row):
            return current
        if current is not None and current.row.uuid == row.uuid and current.row.revision > row.revision:
            raise OutdatedRead
        if current is not None and not can_follow(current, row):
            current = None
        if current is None or bytes_in_memory(current.parts) > IN_MEMORY:
            current = self._loaded(current, connection, row) or current
        if current is not None:
            if current.row.revision > row.revision:
                raise OutdatedRead
            if not _same(current.row, row):
                current = follow(current, connection, row, self._take_vectors)
            if is_sound(current, connection):
                return current
        self._distrusted = read_manifest(self._folder, self._sealing)
        return read_all(connection, row, self._take_vectors)

    def _loaded(self, current: Snapshot | None, connection: Connection, row: GalleryRow) -> Snapshot | None:
        """Load the files, unless they are those that were looked at last."""
        manifest = read_manifest(self._folder, self._sealing)
        if current is not None and manifest == self._tried:
            return None
        self._tried = manifest
        known = current.parts if current else ()
        return load(self._folder, connection, row, known, self._distrusted, sealing=self._sealing)

    def _take_vectors(self, connection: Connection, ids: Ids) -> FloatMatrix:
        """Return vectors of templates, those that were offered from memory; an offer is good for one time."""
        offered, self._offered = self._offered, []
        known = np.zeros(len(ids), np.bool_)
        places = [np.searchsorted(its, ids) for its, _ in offered]
        vectors = np.empty((len(ids), store.gallery_row(connection).model.dimension), np.float32)
        for (its, rows), place in zip(offered, places, strict=True):
            here = its[np.minimum(place, len(its) - 1)] == ids
            vectors[here] = rows[place[here]]
            known |= here
        vectors[~known] = store.vectors_of(connection, ids[~known])
        return vectors


def _same(one: GalleryRow, other: GalleryRow) -> bool:
    return _what(one) == _what(other)


def _what(row: GalleryRow) -> tuple[object, ...]:
    return row.uuid, row.revision, row.model, row.model_since, row.fusion


def remove_leftovers(folder: Path, sealing: bytes | None) -> None:
    """Delete what writers that died left behind: temporary files, and files that no manifest names.

    Raises FileNotWritten where the folder does not let it.
    """
    manifest = read_manifest(folder, sealing)
    named = manifest.files if manifest else set()
    for file in [*folder.glob(_LEFTOVERS), *folder.glob(_FILES), *folder.glob(_OLDER)]:
        if file.name not in named:
            _delete(file)


def remove_all(folder: Path) -> None:
    """Delete every cache; raises as `remove_leftovers`."""
    _delete(folder / MANIFEST)
    remove_leftovers(folder, None)


def size_of(folder: Path) -> int:
    """Bytes of all cache files."""
    total = 0
    for file in [*folder.glob(_FILES), *folder.glob(MANIFEST)]:
        try:
            total += file.lstat().st_size
        except OSError:  # a writer has just deleted it
            continue
    return total


def _delete(file: Path) -> None:
    """Delete a file, a link or a pipe; a folder of that name is not ours."""
    try:
        if not S_ISDIR(file.lstat().st_mode):
            file.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileNotWritten(f"{file} cannot be deleted: {error.strerror}") from error
