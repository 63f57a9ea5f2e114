"""From a snapshot to the caches' files: what lies in none yet is written, what is worn anew, the manifest last."""

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from indexer.cache.file_bytes import FileRecord
from indexer.cache.index_manifest import Manifest, trail_at, write_manifest
from indexer.cache.segment_file import ArraySpec, SegmentWriter, row_sums
from indexer.cache.snapshot import FileSegment, Snapshot, live_rows, small_tail
from indexer.durable_file import PRIVATE, replacing
from indexer.records import Ids
from indexer.search import codes as coding
from indexer.search.certified_search import Part
from indexer.search.codes import encode
from indexer.store import queries as store

_DEAD_SHARE = 0.25  # a segment with a larger share of tombstones is written anew without them
_CODES = ("codes", "scales", "residuals")  # the arrays of `indexer.search.codes.Codes`
_BLOCK = 16_384  # rows written at a time: 32 MiB of 512-number vectors


def write_files(
    folder: Path,
    snapshot: Snapshot,
    connection: Connection,
    before: Manifest | None,
    *,
    erased: bool,
    sealing: bytes | None,
) -> Manifest:
    """Write what is in no file of the manifest `before` yet, then the new manifest, which is returned.

    With `erased`, nothing of a template that does not exist any more goes into, or stays in, a file. An encrypted
    gallery's files are sealed with the key `sealing`. Raises FileNotWritten, SegmentDamaged.
    """
    rows = sum(map(_alive, snapshot.parts))
    # A snapshot may hold a segment whose file an earlier saving deleted.
    there = set(before.segments) if before else set()
    may_stay = _rows_that_may_stay(snapshot, connection) if erased else None
    records: list[FileRecord] = []
    owners: list[Ids] = []
    for group in _groups(snapshot.parts):
        first = group[0].segment
        known = len(group) == 1 and isinstance(first, FileSegment) and first.record in there
        if isinstance(first, FileSegment) and known and not _is_worn(group[0], may_stay):
            records.append(first.record)
            owners.append(group[0].owners)
            continue
        coded = rows >= coding.CODED_FROM
        record, its = _write_segment(folder, group, snapshot.row.model.dimension, coded=coded, sealing=sealing)
        if record is not None:
            records.append(record)
            owners.append(its)
    every_owner = np.concatenate(owners) if owners else np.empty(0, np.int64)
    manifest = Manifest(
        gallery=snapshot.row.uuid,
        revision=snapshot.row.revision,
        fusion=snapshot.row.fusion,
        model=snapshot.row.model.digest,
        last_template=snapshot.last_template,
        trail=trail_at(connection, store.last_id(connection, "audit")),
        active=snapshot.active,
        codes=coding.FORMAT,
        segments=tuple(records),
        owners=_write_file(folder, {"owners": every_owner, **_members(snapshot)}, sealing) if records else None,
    )
    write_manifest(folder, manifest, sealing)
    return manifest


def _groups(parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
    """Return which parts go into a file together: the large ones alone, the small ones at the end as one."""
    keep = small_tail([_alive(part) for part in parts])
    yield from ([part] for part in parts[:keep])
    if keep < len(parts):
        yield parts[keep:]


def _alive(part: Part) -> int:
    return int(np.count_nonzero(part.owners >= 0))


def _is_worn(part: Part, may_stay: Ids | None) -> bool:
    """Whether a segment must be written anew: too many dead rows, or one that may not stay."""
    dead = part.owners < 0
    if np.count_nonzero(dead) > _DEAD_SHARE * len(part):
        return True
    return may_stay is not None and not np.isin(part.segment.ids[dead], may_stay).all()


def _rows_that_may_stay(snapshot: Snapshot, connection: Connection) -> Ids:
    """Return the ids of dead rows that hold nothing of an erased template; with 'mean' nobody knows of any."""
    return store.every_template(connection) if snapshot.members is None else np.empty(0, np.int64)


def _members(snapshot: Snapshot) -> dict[str, Ids]:
    if snapshot.members is None:
        return {}
    return {"templates": snapshot.members.ids, "template_owners": snapshot.members.owners}


def _write_segment(
    folder: Path, parts: Sequence[Part], dimension: int, *, coded: bool, sealing: bytes | None
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
        specs["sums"] = ArraySpec((n,), np.dtype("<i8"))
    path = folder / _new_name()
    with replacing(path, PRIVATE) as temporary:
        writer = SegmentWriter(temporary, path.name, specs, sealing)
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
                if coded:
                    rows["sums"] = row_sums(rows["vectors"])
                for name, one in rows.items():
                    writer.write(name, start, one)
        except BaseException:
            writer.abandon()
            raise
        record = writer.finish()
    return record, owners[order]


def _write_file(folder: Path, arrays: dict[str, Ids], sealing: bytes | None) -> FileRecord:
    path = folder / _new_name()
    specs = {name: ArraySpec(one.shape, one.dtype) for name, one in arrays.items()}
    with replacing(path, PRIVATE) as temporary:
        writer = SegmentWriter(temporary, path.name, specs, sealing)
        try:
            for name, one in arrays.items():
                writer.write(name, 0, one)
        except BaseException:
            writer.abandon()
            raise
        record = writer.finish()
    return record


def _new_name() -> str:
    # Never a name that was there before: a reader may still hold the manifest that spoke of that file.
    return f"index-{secrets.token_hex(8)}.safetensors"
