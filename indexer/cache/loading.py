"""From the caches' files to a snapshot: what is of this gallery's past, whole and without contradiction, or nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from indexer.cache.file_bytes import FileRecord, SegmentDamaged
from indexer.cache.index_manifest import Manifest, belongs, read_manifest
from indexer.cache.segment_file import FileVectors, SegmentFile
from indexer.cache.snapshot import FileSegment, Members, Snapshot, live_rows
from indexer.records import Ids
from indexer.search.certified_search import Part
from indexer.search.codes import Codes
from indexer.store.queries import GalleryRow
from indexer.store.tally import pair_sum


class OutdatedRead(Exception):
    """The files are of a later revision than the transaction: it began a moment too early and must begin again."""


def load(
    folder: Path,
    connection: Connection,
    row: GalleryRow,
    known: Sequence[Part] = (),
    distrusted: Manifest | None = None,
    *,
    sealing: bytes | None,
) -> Snapshot | None:
    """Return the snapshot that the files hold, of this or an older revision; None if they cannot be believed.

    Segments that `known` parts have already are not read again. Raises OutdatedRead for files of a later revision.
    """
    for _ in range(3):  # a writer may delete a file between the reading of its name and the opening
        manifest = read_manifest(folder, sealing)
        if manifest is None or manifest == distrusted:
            return None
        if manifest.gallery == row.uuid and manifest.revision > row.revision:
            raise OutdatedRead
        if not belongs(manifest, connection, row):
            return None
        try:
            return read_files(folder, manifest, row, known, sealing=sealing)
        except SegmentDamaged:
            if manifest == read_manifest(folder, sealing):
                return None
    return None


def read_files(
    folder: Path, manifest: Manifest, row: GalleryRow, known: Sequence[Part] = (), *, sealing: bytes | None
) -> Snapshot:
    """Return the snapshot that a manifest describes; raises SegmentDamaged."""
    at_hand = {part.segment.record: part.segment for part in known if isinstance(part.segment, FileSegment)}
    segments = [at_hand.get(one) or _segment(folder, one, row.model.dimension, sealing) for one in manifest.segments]
    nobody: Ids = np.empty(0, np.int64)
    owners, members = nobody, None if manifest.fusion == "max" else Members(nobody, nobody)
    if manifest.owners is not None:
        file = SegmentFile(folder, manifest.owners, sealing)
        owners = file.whole("owners")
        if members is not None:
            members = Members(file.whole("templates"), file.whole("template_owners"))
    if owners.dtype != np.int64 or owners.shape != (sum(map(len, segments)),):
        raise SegmentDamaged("the owners do not fit the segments")
    starts = np.cumsum([len(segment) for segment in segments])[:-1]
    parts = [Part(*pair) for pair in zip(segments, np.split(owners, starts), strict=True)] if segments else []
    _check_owners(parts, members, manifest)
    seen = replace(row, revision=manifest.revision)
    return Snapshot(seen, tuple(parts), manifest.last_template, manifest.active, members)


def _segment(folder: Path, record: FileRecord, dimension: int, sealing: bytes | None) -> FileSegment:
    file = SegmentFile(folder, record, sealing)
    ids = file.whole("ids")
    coded = "codes" in file.specs
    vectors = FileVectors(file) if coded else file.whole("vectors")
    codes = Codes(file.whole("codes"), file.whole("scales"), file.whole("residuals")) if coded else None
    expected = {"ids": (len(ids),), "vectors": (len(ids), dimension)}
    if codes is not None:
        expected.update(codes=(len(ids), dimension), scales=(len(ids),), residuals=(len(ids),))
    if any(
        file.specs[name].shape != shape or file.specs[name].dtype != _TYPES[name] for name, shape in expected.items()
    ):
        raise SegmentDamaged(f"{record.file} holds arrays of other shapes")
    if (np.diff(ids) <= 0).any():
        raise SegmentDamaged(f"{record.file} holds ids in no order")
    return FileSegment(ids, vectors, codes, record=record)


_TYPES = {
    "ids": np.dtype("<i8"),
    "vectors": np.dtype("<f4"),
    "codes": np.dtype("i1"),
    "scales": np.dtype("<f4"),
    "residuals": np.dtype("<f4"),
}


def _check_owners(parts: Sequence[Part], members: Members | None, manifest: Manifest) -> None:
    """Raise SegmentDamaged unless the owners are those of the templates that the manifest counts as active."""
    ids, owners, _ = live_rows(parts)
    if members is not None:
        if not _is_one_row_a_person(ids, owners, members):
            raise SegmentDamaged("the rows are not those of the people who have templates")
        ids, owners = members.ids, members.owners
    if (len(ids), pair_sum(ids, owners)) != manifest.active:
        raise SegmentDamaged("the owners are not those of the active templates")


def _is_one_row_a_person(ids: Ids, owners: Ids, members: Members) -> bool:
    whole = all(one.dtype == np.int64 and one.ndim == 1 for one in (members.ids, members.owners))
    if not whole or len(members.ids) != len(members.owners) or (np.diff(members.ids) <= 0).any():
        return False
    return np.array_equal(ids, owners) and np.array_equal(np.sort(ids), np.unique(members.owners))
