"""The caches beside the database: segment files, the owners of their rows, and a manifest that is written last.

`index.json` names every file of one revision with its size and the SHA-256 of each mebibyte. Whatever is missing, torn,
altered or another gallery's is not believed; nothing here is needed to answer, it only saves time. Files are never
changed: a new revision adds a small segment and a new list of owners, and now and then joins small segments or drops
dead rows.
"""

import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from indexer.cache.index_manifest import (
    MANIFEST,
    Manifest,
    belongs,
    files_are_there,
    is_fresh,
    read_manifest,
    trail_at,
    write_manifest,
)
from indexer.cache.segment_file import ArraySpec, FileRecord, SegmentDamaged, SegmentFile, SegmentWriter
from indexer.cache.snapshot import (
    MappedVectors,
    Snapshot,
    can_follow,
    file_of,
    follow,
    is_sound,
    live_rows,
    read_all,
    small_tail,
)
from indexer.durable_file import PRIVATE, replacing
from indexer.records import FloatMatrix, Ids
from indexer.search import codes as coding
from indexer.search.certified_search import Part
from indexer.search.codes import Codes, encode
from indexer.search.shortlist import Segment
from indexer.store import queries as store
from indexer.store.queries import GalleryRow

_FILES = "index-*.safetensors"
_LEFTOVERS = ".index*"
_OLDER = "index.safetensors"  # the cache of version 0.1: it holds vectors, and an erase must reach them
_DEAD_SHARE = 0.25  # a segment with a larger share of tombstones is written anew without them
_OFFERED = 1 << 30  # bytes of vectors kept from their enrolment to the next search or saving
_CODES = ("codes", "scales", "residuals")  # the arrays of `indexer.search.codes.Codes`
_BLOCK = 16_384  # rows written at a time: 32 MiB of 512-number vectors


class OutdatedRead(Exception):
    """The files are of a later revision than the transaction: it began a moment too early and must begin again."""


class IndexCache:
    """The snapshot that a gallery searches: loaded from files, brought up to each revision, and saved."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._current: Snapshot | None = None
        self._distrusted: Manifest | None = None
        self._offered: list[tuple[Ids, FloatMatrix]] = []

    @property
    def known(self) -> Snapshot | None:
        """The latest snapshot that is in memory."""
        return self._current

    def at(self, connection: Connection) -> Snapshot:
        """Return the snapshot of the revision that the transaction sees.

        Raises OutdatedRead for a transaction that began before the last refresh or saving; StoreDamaged.
        """
        row = store.gallery_row(connection)
        current = self._current
        if current is not None and _same(current.row, row):
            return current
        with self._lock:
            self._current = self._advanced(self._current, connection, row)
            return self._current

    def offer(self, ids: Ids, vectors: FloatMatrix) -> None:
        """Hand over vectors [n, D] that were just enrolled under ids [n], ascending: they need not be read again."""
        with self._lock:
            if sum(its.nbytes for _, its in self._offered) + vectors.nbytes <= _OFFERED:
                self._offered.append((ids, vectors))

    def drop(self) -> None:
        """Forget what is in memory."""
        with self._lock:
            self._current = None
            self._offered = []

    def distrust(self) -> None:
        """Forget what is in memory, and do not believe the files that are there now: they are damaged or foreign."""
        with self._lock:
            self._current = None
            self._offered = []
            self._distrusted = read_manifest(self._folder)

    def save(self, connection: Connection, *, existing: Ids | None = None) -> None:
        """Bring the files to the transaction's revision; only for the one writer. Raises GalleryError.

        With `existing` (the ids of all templates, ascending) no row of any other template stays in any file.
        """
        manifest = read_manifest(self._folder)
        row = store.gallery_row(connection)
        trusted = manifest is not None and manifest != self._distrusted and files_are_there(self._folder, manifest)
        if existing is None and trusted and manifest is not None and is_fresh(manifest, connection, row):
            return
        try:
            written = _write(self._folder, self.at(connection), connection, existing)
        except (SegmentDamaged, OutdatedRead):  # damaged, or of a later revision that this database never had
            self.distrust()
            written = _write(self._folder, read_all(connection, row, store.vectors_of), connection, existing)
        with self._lock:
            self._current = written

    def _advanced(self, current: Snapshot | None, connection: Connection, row: GalleryRow) -> Snapshot:
        if current is not None and _same(current.row, row):
            return current
        if current is not None and current.row.uuid == row.uuid and current.row.revision > row.revision:
            raise OutdatedRead
        if current is None or not can_follow(current, row):
            current = load(self._folder, connection, row, self._distrusted)
        if current is not None:
            if current.row.revision > row.revision:
                raise OutdatedRead
            if not _same(current.row, row):
                current = follow(current, connection, row, self._take_vectors)
            if is_sound(current, connection):
                return current
        self._distrusted = read_manifest(self._folder)  # not believed once, not believed again, and made anew
        return read_all(connection, row, self._take_vectors)

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


def load(folder: Path, connection: Connection, row: GalleryRow, distrusted: Manifest | None = None) -> Snapshot | None:
    """Return the snapshot that the files hold, of this or an older revision; None if they cannot be believed.

    Maps the files and verifies the ids, the owners and the codes; vectors are verified where they are touched. Raises
    OutdatedRead for files of a later revision.
    """
    for _ in range(3):  # a writer may delete a file between the reading of its name and the opening
        manifest = read_manifest(folder)
        if manifest is None or manifest == distrusted:
            return None
        if manifest.gallery == row.uuid and manifest.revision > row.revision:
            raise OutdatedRead
        if not belongs(manifest, connection, row) or (row.fusion == "mean" and manifest.revision != row.revision):
            return None
        try:
            return _mapped(folder, manifest, row)
        except SegmentDamaged:
            if manifest == read_manifest(folder):
                return None
    return None


def remove_leftovers(folder: Path) -> None:
    """Delete what writers that died left behind: temporary files, and files that no manifest names."""
    manifest = read_manifest(folder)
    named = manifest.files if manifest else set()
    for file in [*folder.glob(_LEFTOVERS), *folder.glob(_FILES), *folder.glob(_OLDER)]:
        if file.name not in named:
            file.unlink(missing_ok=True)


def remove_all(folder: Path) -> None:
    """Delete every cache."""
    (folder / MANIFEST).unlink(missing_ok=True)
    remove_leftovers(folder)


def size_of(folder: Path) -> int:
    """Bytes of all cache files."""
    return sum(file.stat().st_size for file in [*folder.glob(_FILES), *folder.glob(MANIFEST)])


def _mapped(folder: Path, manifest: Manifest, row: GalleryRow) -> Snapshot:
    segments = tuple(_segment(SegmentFile(folder, one), row.model.dimension) for one in manifest.segments)
    owners: Ids = np.empty(0, np.int64)
    if manifest.owners is not None:
        owners = SegmentFile(folder, manifest.owners).whole("owners")
    if len(owners) != sum(map(len, segments)):
        raise SegmentDamaged("the owners do not fit the segments")
    starts = np.cumsum([len(segment) for segment in segments])[:-1]
    seen = replace(row, revision=manifest.revision)
    parts = [Part(*pair) for pair in zip(segments, np.split(owners, starts), strict=True)] if segments else []
    return Snapshot(seen, tuple(parts), manifest.last_template, manifest.active)


def _segment(file: SegmentFile, dimension: int) -> Segment:
    ids = file.whole("ids")
    vectors = MappedVectors(file)
    if vectors.shape != (len(ids), dimension):
        raise SegmentDamaged(f"{file.record.file} holds vectors {list(vectors.shape)}")
    codes = None
    if "codes" in file.specs:
        codes = Codes(file.whole("codes"), file.whole("scales"), file.whole("residuals"))
    return Segment(ids, vectors, codes)


def _write(folder: Path, snapshot: Snapshot, connection: Connection, existing: Ids | None) -> Snapshot:
    """Write what is not in a file yet, then the manifest, then delete what it does not name."""
    rows = sum(map(_alive, snapshot.parts))
    records: list[FileRecord] = []
    owners: list[Ids] = []
    for group in _groups(snapshot.parts):
        kept = file_of(group[0])
        if len(group) == 1 and kept is not None and not _is_worn(group[0], existing):
            records.append(kept.record)
            owners.append(group[0].owners)
            continue
        record, its = _write_segment(folder, group, snapshot.row.model.dimension, coded=rows >= coding.CODED_FROM)
        if record is not None:
            records.append(record)
            owners.append(its)
    every_owner = np.concatenate(owners) if owners else np.empty(0, np.int64)
    record = _write_file(folder, {"owners": every_owner}) if records else None
    manifest = Manifest(
        gallery=snapshot.row.uuid,
        revision=snapshot.row.revision,
        fusion=snapshot.row.fusion,
        model=snapshot.row.model.digest,
        last_template=snapshot.last_template,
        trail=trail_at(connection, store.last_id(connection, "audit")),
        active=snapshot.active,
        segments=tuple(records),
        owners=record,
    )
    write_manifest(folder, manifest)
    remove_leftovers(folder)
    return _mapped(folder, manifest, snapshot.row)


def _groups(parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
    """Return which parts go into a file together: the large ones alone, the small ones at the end as one."""
    keep = small_tail([_alive(part) for part in parts])
    yield from ([part] for part in parts[:keep])
    if keep < len(parts):
        yield parts[keep:]


def _alive(part: Part) -> int:
    return int(np.count_nonzero(part.owners >= 0))


def _is_worn(part: Part, existing: Ids | None) -> bool:
    """Whether a segment must be written anew: too many dead rows, or a row of an erased template."""
    if len(part) - _alive(part) > _DEAD_SHARE * len(part):
        return True
    return existing is not None and not np.isin(part.segment.ids, existing, assume_unique=True).all()


def _write_segment(
    folder: Path, parts: Sequence[Part], dimension: int, *, coded: bool
) -> tuple[FileRecord | None, Ids]:
    """Write the live rows of some parts as one file, in order of id, block by block."""
    ids, owners, places = live_rows(parts)
    if not len(ids):
        return None, owners
    source = np.repeat(np.arange(len(parts)), list(map(len, places)))
    place = np.concatenate(places)
    order = np.argsort(ids, kind="stable")
    n = len(ids)
    specs = {
        "ids": ArraySpec((n,), np.dtype("<i8")),
        "vectors": ArraySpec((n, dimension), np.dtype("<f4")),
    }
    if coded:
        specs["codes"] = ArraySpec((n, dimension), np.dtype("i1"))
        specs["scales"] = specs["residuals"] = ArraySpec((n,), np.dtype("<f4"))
    path = folder / _new_name()
    with replacing(path, PRIVATE) as temporary:
        writer = SegmentWriter(temporary, specs)
        try:
            for start in range(0, n, _BLOCK):
                block = order[start : start + _BLOCK]
                rows = {name: np.empty((len(block), *spec.shape[1:]), spec.dtype) for name, spec in specs.items()}
                for number in np.unique(source[block]):
                    of_it = source[block] == number
                    segment, its_rows = parts[number].segment, place[block[of_it]]
                    rows["vectors"][of_it] = segment.vectors[its_rows]
                    if coded and segment.codes is not None:
                        for name in _CODES:
                            rows[name][of_it] = getattr(segment.codes, name)[its_rows]
                    elif coded:
                        made = encode(rows["vectors"][of_it])
                        for name in _CODES:
                            rows[name][of_it] = getattr(made, name)
                rows["ids"] = ids[block]
                for name, one in rows.items():
                    writer.write(name, start, one)
        finally:
            hashes = writer.close()
        size = writer.bytes
    return FileRecord(path.name, size, hashes), owners[order]


def _write_file(folder: Path, arrays: dict[str, Ids]) -> FileRecord:
    path = folder / _new_name()
    with replacing(path, PRIVATE) as temporary:
        writer = SegmentWriter(temporary, {name: ArraySpec(one.shape, one.dtype) for name, one in arrays.items()})
        try:
            for name, one in arrays.items():
                writer.write(name, 0, one)
        finally:
            hashes = writer.close()
    return FileRecord(path.name, writer.bytes, hashes)


def _new_name() -> str:
    # Never a name that was there before: a reader may still hold the manifest that spoke of that file.
    return f"index-{secrets.token_hex(8)}.safetensors"
