"""A folder of photos becomes a feature file, a million of them too: a run that was killed goes on where it stopped.

What is embedded goes into a SQLite file beside the feature file, a transaction every CHUNK photos; the feature file is
written from it at the end, row by row. Neither photos nor features are ever all in memory.
"""

import csv
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.aligned_crops import input_crop
from faceid.engine import FaceEngine, explain, sent
from faceid.explanations import explanation
from faceid.feature_file import TextColumn, write_feature_blocks
from faceid.feature_set import UNIT_TOLERANCE, FeatureError
from faceid.pipeline import DECODE_THREADS
from faceid.vision.detection import FacePolicy
from faceid.vision.images import ImageError, UInt8Image
from faceid.vision.photo_list import PersonPhoto
from faceid.vision.picture import Picture
from faceid.workers.crew import Crew
from indexer.durable_file import writing
from indexer.records import FloatVector, ModelBinding
from indexer.text import csv_cell, printable

# Photos a transaction: what a kill can cost; one fsync each is far cheaper than the photos.
CHUNK = 128
# Why a photo gave none that gives one as soon as it may be read, a plugin is there, or the machine has less to do.
_OF_THE_MACHINE = ("unreadable", "needs_plugin", "too_large", "too_slow")
# Rows that are put together at a time when the feature file is written.
BLOCK_ROWS = 4096

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS photos (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, vector BLOB, reason_code TEXT, message TEXT
);
CREATE TEMP TABLE listed (place INTEGER PRIMARY KEY, path BLOB NOT NULL, shown TEXT NOT NULL, label TEXT NOT NULL);
"""


@dataclass(frozen=True)
class PhotoCounts:
    """What became of the photos: `rows` in the feature file, `reused` of an earlier run, `failed` without a face."""

    rows: int
    reused: int
    failed: int


@dataclass(frozen=True)
class _Photo:
    """A photo with what tells it from a changed one."""

    photo: PersonPhoto
    key: bytes
    size: int
    changed: int


@dataclass(frozen=True)
class _NoVector:
    """Why a photo gave no vector, as a code and in words that name the photo."""

    reason_code: str
    message: str


_Embed = Callable[[FaceEngine, Sequence[Picture]], list[FloatVector | _NoVector]]


def embed_photos(
    engine: FaceEngine,
    photos: Iterable[PersonPhoto],
    output: Path,
    *,
    faces: FacePolicy = "largest",
    aligned: bool = False,
    crew: Crew | None = None,
) -> PhotoCounts:
    """Embed one face of each photo into `output` (.npz as `read_features` takes it); the labels are the photos' names.

    `aligned` takes the photos for aligned crops (square, the 112x112 reference crop with or without a border) and looks
    for no face. Photos that gave no vector are listed in `<output>.failed.csv` with the reason. Photos that an earlier
    run embedded, or found no face on, and that have not changed (size, time) are not looked at again; that run's record
    stays beside the output as `<output>.progress`. A `crew`, whose tools are twins of the engine, looks at photos
    ahead. Raises FeatureError where that record was made by another model or with other settings, or is damaged, and
    where no photo at all has a usable face; ValueError for the policy `all`.
    """
    if faces == "all":
        raise ValueError("a feature file for a benchmark takes one face a photo: exactly-one, largest or centre")
    progress = output.with_name(f"{output.name}.progress")
    with _opened(progress) as store:
        _require_same_settings(store, _settings(engine, faces, aligned), progress)
        reused = 0
        embed = _embed_aligned if aligned else partial(_embed, faces)
        for (chunk, todo), vectors in _embedded(engine, _left(store, photos), embed, crew):
            reused += len(chunk) - len(todo)
            _keep(store, chunk, todo, vectors)
        failed = _write_failures(store, output.with_name(f"{output.name}.failed.csv"))
        return PhotoCounts(_write_features(store, output, engine.binding), reused, failed)


@contextmanager
def _opened(progress: Path) -> Iterator[sqlite3.Connection]:
    try:
        progress.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FeatureError(f"{printable(progress.parent)}: cannot be made ({error.strerror})") from error
    try:
        with closing(sqlite3.connect(progress)) as store:
            store.execute("PRAGMA journal_mode = WAL")
            store.execute("PRAGMA synchronous = FULL")  # a finished chunk survives a power cut, too
            store.executescript(SCHEMA)
            yield store
    except sqlite3.Error as error:
        raise FeatureError(
            f"{printable(progress)}: the record of what is embedded cannot be used ({error}); if the disk is not"
            " full and no other run writes to it, delete it to begin again"
        ) from error


def _settings(engine: FaceEngine, faces: FacePolicy, aligned: bool) -> dict[str, Any]:
    """Return all that decides about a vector; runs with other settings must not be mixed."""
    binding = engine.binding
    named = {"model": binding.name, "digest": binding.digest, "aligned": aligned, "faces": faces}
    settings = engine.circumstances | named
    found_by = ("faces", "detector", "min_face_size") if aligned else ()  # aligned crops are not looked for
    return {key: value for key, value in settings.items() if key not in found_by}


def _require_same_settings(store: sqlite3.Connection, settings: dict[str, Any], progress: Path) -> None:
    row = store.execute("SELECT record FROM settings").fetchone()
    if row is None:
        with store:
            store.execute("INSERT INTO settings VALUES (?)", [json.dumps(settings)])
        return
    try:
        before = dict(json.loads(row[0]))
    except (TypeError, ValueError) as error:
        raise FeatureError(f"{printable(progress)} is damaged ({error}); delete it to begin again") from error
    changed = sorted(key for key in before.keys() | settings.keys() if before.get(key) != settings.get(key))
    if changed:
        differences = ", ".join(f"{key} {before.get(key)} there, {settings.get(key)} now" for key in changed)
        raise FeatureError(
            f"{printable(progress)} was begun with other settings ({differences}); use the same, "
            "another output file, or delete it to begin again"
        )


def _chunks(photos: Iterable[PersonPhoto]) -> Iterator[list[_Photo]]:
    iterator = iter(photos)
    while chunk := [_stamped(photo) for photo in islice(iterator, CHUNK)]:
        yield chunk


def _stamped(photo: PersonPhoto) -> _Photo:
    key = os.fsencode(photo.path)
    try:
        status = photo.path.stat()
    except OSError:  # reading it gives the reason
        return _Photo(photo, key, -1, -1)
    return _Photo(photo, key, status.st_size, status.st_mtime_ns)


def _not_done(store: sqlite3.Connection, chunk: Sequence[_Photo]) -> Iterator[_Photo]:
    for item in chunk:
        same = "SELECT reason_code FROM photos WHERE path = ? AND size = ? AND changed = ?"
        row = store.execute(same, [item.key, item.size, item.changed]).fetchone()
        if row is None or row[0] in _OF_THE_MACHINE or item.size < 0:
            yield item


def _left(store: sqlite3.Connection, photos: Iterable[PersonPhoto]) -> Iterator[tuple[list[_Photo], list[_Photo]]]:
    """Yield the photos chunk by chunk, with those of each that no run has embedded yet."""
    for chunk in _chunks(photos):
        yield chunk, list(_not_done(store, chunk))


def _embedded(
    engine: FaceEngine, chunks: Iterable[tuple[list[_Photo], list[_Photo]]], embed: _Embed, crew: Crew | None
) -> Iterator[tuple[tuple[list[_Photo], list[_Photo]], list[FloatVector | _NoVector]]]:
    """Yield each chunk with what its photos gave, here or by the crew."""
    items = (((chunk, todo), [sent(one.photo.picture) for one in todo]) for chunk, todo in chunks)
    if crew is not None:
        return crew.map(embed, items)
    return ((kept, embed(engine, pictures)) for kept, pictures in items)


def _embed(faces: FacePolicy, engine: FaceEngine, pictures: Sequence[Picture]) -> list[FloatVector | _NoVector]:
    """Return for each photo the vector of its face, or the reason why there is none."""
    features = engine.embed(pictures, faces=faces)
    reasons = {
        photo.picture.path: _NoVector(photo.reason_code or "no_face", explain(photo)) for photo in features.failures
    }
    vectors = iter(features.vectors)
    return [reasons.get(picture.path) or next(vectors) for picture in pictures]


def _embed_aligned(engine: FaceEngine, pictures: Sequence[Picture]) -> list[FloatVector | _NoVector]:
    spec = engine.model.spec

    def cut(picture: Picture) -> UInt8Image | _NoVector:
        if reason := picture.reason_code:
            return _NoVector(reason, f"{picture.source}: {explanation(reason)}")
        try:
            return input_crop(picture.pixels(), spec, picture.source)
        except ImageError as error:
            return _NoVector(error.reason_code, str(error))

    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        crops = list(pool.map(cut, pictures))
    usable = [crop for crop in crops if not isinstance(crop, _NoVector)]
    vectors = iter(engine.pipeline.embedder.embed(np.stack(usable)) if usable else ())
    return [crop if isinstance(crop, _NoVector) else next(vectors) for crop in crops]


def _keep(
    store: sqlite3.Connection, chunk: Sequence[_Photo], todo: Sequence[_Photo], found: Sequence[FloatVector | _NoVector]
) -> None:
    """Store what was found, in one transaction, and note which photos this run has seen, in their order."""
    with store:
        store.executemany(
            "INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?)",
            [(item.key, item.size, item.changed, *_columns(one)) for item, one in zip(todo, found, strict=True)],
        )
        store.executemany(
            "INSERT INTO listed (path, shown, label) VALUES (?, ?, ?)",
            [(item.key, printable(item.photo.path), item.photo.name) for item in chunk],
        )


def _columns(one: FloatVector | _NoVector) -> tuple[bytes | None, str | None, str | None]:
    if isinstance(one, _NoVector):
        return None, one.reason_code, one.message
    return one.astype("<f4").tobytes(), None, None


def _write_features(store: sqlite3.Connection, output: Path, model: ModelBinding) -> int:
    """Write the vectors of this run's photos, in the photos' order; return their number."""
    # CROSS JOIN fixes the order of the tables: one read after the other, where a sort would hold all vectors.
    found = "FROM listed CROSS JOIN photos USING (path) WHERE vector IS NOT NULL"
    sizes = store.execute(f"SELECT count(*), max(length(label)), max(length(shown)) {found}")
    rows, label_size, path_size = sizes.fetchone()
    if not rows and store.execute("SELECT 1 FROM listed").fetchone() is None:
        raise FeatureError(f"{printable(output)} was not written: there is no photo to embed")
    if not rows:
        raise FeatureError(
            f"{printable(output)} was not written: no photo gave a face; {output.name}.failed.csv says why"
        )

    def column(name: str) -> Iterator[list[Any]]:
        cursor = store.execute(f"SELECT {name} {found} ORDER BY place")
        while block := [row[0] for row in cursor.fetchmany(BLOCK_ROWS)]:
            yield block

    progress = output.with_name(f"{output.name}.progress")
    vectors = (_checked(block, model.dimension, progress) for block in column("vector"))
    texts = [TextColumn("labels", label_size, column("label")), TextColumn("paths", path_size, column("shown"))]
    write_feature_blocks(output, rows, vectors, texts, model)
    return int(rows)


def _checked(vectors: Sequence[bytes], dimension: int, progress: Path) -> bytes:
    """Put kept vectors together; raises FeatureError where one is no longer what was kept: of unit length."""
    whole = b"".join(vectors)
    if all(len(vector) == 4 * dimension for vector in vectors):
        lengths = np.linalg.norm(np.frombuffer(whole, "<f4").reshape(-1, dimension).astype(np.float64), axis=1)
        if (np.abs(lengths - 1) < UNIT_TOLERANCE).all():  # NaN must not pass
            return whole
    raise FeatureError(f"{printable(progress)} is damaged (a vector in it is none); delete it to begin again")


def _write_failures(store: sqlite3.Connection, output: Path) -> int:
    """List the photos of this run that gave no vector; no file where there are none. Returns their number."""
    failures = store.execute(
        "SELECT shown, reason_code, message FROM listed CROSS JOIN photos USING (path) "
        "WHERE vector IS NULL ORDER BY place"
    )
    count = 0
    with writing(output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "reason_code", "message"])
        for row in failures:
            writer.writerow(map(csv_cell, row))
            count += 1
    if not count:
        output.unlink()
    return count
