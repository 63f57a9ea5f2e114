"""Embedding many photos into one feature file, in parts that are kept until it is written: a stopped run goes on.

A part is `_SHARD` photos: an `.npz` in a folder beside the file, named by a digest of the photos (path, size, time,
person) and of all that decides about their vectors. What was made of other photos, or otherwise, has another name.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from faceid.engine import FaceEngine, Features, labelled
from faceid.npz_file import read_arrays
from faceid.pipeline import PictureFaces
from faceid.vision.detection import FacePolicy
from faceid.vision.images import ImageError
from faceid.vision.photo_list import PersonPhoto
from faceid.vision.picture import Picture
from faceid.workers.crew import Crew
from indexer.durable_file import replacing
from indexer.records import FloatMatrix

_SHARD = 1_000

Photo = tuple[Picture, str]


@dataclass(frozen=True, eq=False)
class EmbeddedParts:
    """The features of all photos, and how many photos an earlier run had embedded; `drop` once they are written."""

    features: Features
    reused: int
    folder: Path

    def drop(self) -> None:
        """Take the parts away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def embed_in_parts(
    engine: FaceEngine,
    photos: Iterable[PersonPhoto | Picture],
    output: Path,
    *,
    faces: FacePolicy = "largest",
    crew: Crew | None = None,
) -> EmbeddedParts:
    """Embed as `FaceEngine.embed` does; finished parts lie in `<output>.parts` until they are dropped.

    Raises FileNotWritten where a part cannot be written.
    """
    folder = output.with_name(f"{output.name}.parts")
    found, reused = [], 0
    for shard in _shards(labelled(photos)):
        part = _part(engine, shard, folder, faces)
        features = None if part is None else _read(part, shard, engine.binding.dimension)
        if features is None:
            features = engine.embed([_person(picture, label) for picture, label in shard], faces=faces, crew=crew)
            if part is not None:
                _write(part, shard, features)
        else:
            reused += len(shard)
        found.append(features)
    return EmbeddedParts(_joined(found, engine.binding.dimension), reused, folder)


def _person(picture: Picture, label: str) -> PersonPhoto | Picture:
    return PersonPhoto(picture, label) if label else picture


def _shards(photos: Iterator[Photo]) -> Iterator[list[Photo]]:
    while shard := list(islice(photos, _SHARD)):
        yield shard


def _part(engine: FaceEngine, shard: Sequence[Photo], folder: Path, faces: FacePolicy) -> Path | None:
    """Return the file of a part; None where a photo is no file, and cannot be known again."""
    known = hashlib.sha256(json.dumps([engine.circumstances, faces]).encode())
    for picture, label in shard:
        if picture.path is None:
            return None
        try:
            status = picture.path.stat()
        except (OSError, ValueError):  # perhaps it is there the next time; ValueError: a NUL in the path
            return None
        stamp = os.fsencode(picture.path.absolute()), picture.source, label, status.st_size, status.st_mtime_ns
        known.update(repr(stamp).encode("utf-8", "backslashreplace"))
    return folder / f"{known.hexdigest()}.npz"


def _write(part: Path, shard: Sequence[Photo], features: Features) -> None:
    """Keep a part: the vectors, what stands beside them, and why photos gave none, under a checksum."""
    places = {id(picture): place for place, (picture, _) in enumerate(shard)}
    failures = [
        (places[id(one.picture)], one.reason_code, None if one.error is None else one.error.reason)
        for one in features.failures
    ]
    beside = json.dumps([features.labels, features.paths, failures])
    part.parent.mkdir(parents=True, exist_ok=True)
    with replacing(part) as temporary, temporary.open("wb") as file:
        digest = _digest(features.vectors, beside)
        np.savez(file, vectors=features.vectors, beside=np.array(beside), digest=np.array(digest))


def _read(part: Path, shard: Sequence[Photo], dimension: int) -> Features | None:
    """Read a part; None where there is none, or it is not as it was written."""
    try:
        arrays = read_arrays(part)
        vectors, beside, digest = arrays["vectors"], str(arrays["beside"]), str(arrays["digest"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    if vectors.dtype != np.float32 or vectors.shape[1:] != (dimension,) or digest != _digest(vectors, beside):
        return None
    labels, paths, failures = json.loads(beside)
    without = [_failure(shard[place][0], code, reason) for place, code, reason in failures]
    return Features(vectors, tuple(labels), tuple(paths), tuple(without))


def _digest(vectors: FloatMatrix, beside: str) -> str:
    return hashlib.sha256(vectors.tobytes() + beside.encode()).hexdigest()


def _failure(picture: Picture, code: str, reason: str | None) -> PictureFaces:
    error = None if reason is None else ImageError(picture.source, code, reason)
    return PictureFaces(picture, None, (), code, error)


def _joined(parts: Sequence[Features], dimension: int) -> Features:
    vectors = np.concatenate([np.empty((0, dimension), np.float32), *(one.vectors for one in parts)])
    return Features(
        vectors,
        tuple(label for one in parts for label in one.labels),
        tuple(path for one in parts for path in one.paths),
        tuple(failure for one in parts for failure in one.failures),
    )
