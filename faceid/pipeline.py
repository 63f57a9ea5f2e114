"""From photos to unit vectors, in batches: decode, detect, choose, align, measure, embed.

Every step takes a list and returns a list in the same order, with one result per photo, an error included.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from faceid.models.embedding import Embedder
from faceid.vision.alignment import align
from faceid.vision.detection import Detector, FacePolicy, Faces, NotExactlyOneFace, select_faces
from faceid.vision.images import ImageError, UInt8Image, decode, digest, read_bytes
from faceid.vision.quality import Quality, measure_quality
from indexer.records import FloatVector

# Photos per batch: enough to fill the detector's and the network's batches, few enough that memory stays small.
BATCH_PHOTOS = 32
# Decoded pixels per batch (3 bytes each): photos of 50 megapixels must not be held 32 at a time.
BATCH_PIXELS = 64_000_000
# Photos decoded ahead in threads: one a core and one waiting.
DECODE_THREADS = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class PhotoFile:
    """A photo's bytes as read, and their SHA-256 (32 bytes)."""

    path: Path
    data: bytes
    digest: bytes


@dataclass(frozen=True)
class FoundFace:
    """One face: `box` (x, y, w, h) in pixels of the upright photo, `vector` [D] float32 of unit length."""

    box: tuple[float, float, float, float]
    detection_score: float
    quality: Quality
    vector: FloatVector


@dataclass(frozen=True)
class PhotoFaces:
    """The faces of one photo; none with the reason: `no_face`, `several_faces`, or the code of `error`."""

    path: Path
    digest: bytes | None
    faces: tuple[FoundFace, ...]
    reason_code: str | None = None
    error: ImageError | None = None


class Pipeline:
    """A detector and an embedder, and the steps between; `seconds` adds up what each step took."""

    def __init__(self, detector: Detector, embedder: Embedder) -> None:
        self.detector = detector
        self.embedder = embedder
        self.seconds: dict[str, float] = defaultdict(float)

    def read(self, paths: Iterable[Path]) -> list[PhotoFile | ImageError]:
        """Read the files and their digests, without decoding: enrolment knows by the digest what it has already."""
        with self.timed("read"):
            return [_read_file(path) for path in paths]

    def find_faces(self, files: Sequence[PhotoFile | ImageError], policy: FacePolicy) -> list[PhotoFaces]:
        """Find, choose and embed the faces of the photos; errors come back as results in their place."""
        found: list[PhotoFaces] = []
        for batch in self._decoded_batches(files):
            found.extend(self._process(batch, policy))
        return found

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time of the block to `seconds[step]`."""
        start = time.perf_counter()
        yield
        self.seconds[step] += time.perf_counter() - start

    def _decoded_batches(
        self, files: Sequence[PhotoFile | ImageError]
    ) -> Iterator[list[tuple[PhotoFile, UInt8Image] | ImageError]]:
        batch: list[tuple[PhotoFile, UInt8Image] | ImageError] = []
        pixels = 0
        with ThreadPoolExecutor(DECODE_THREADS) as pool:
            decoded = _map_ahead(pool, _decode_file, files)
            while True:
                with self.timed("decode"):
                    item = next(decoded, None)
                if item is None:
                    break
                batch.append(item)
                pixels += 0 if isinstance(item, ImageError) else item[1].shape[0] * item[1].shape[1]
                if len(batch) >= BATCH_PHOTOS or pixels >= BATCH_PIXELS:
                    yield batch
                    batch, pixels = [], 0
        if batch:
            yield batch

    def _process(
        self, batch: Sequence[tuple[PhotoFile, UInt8Image] | ImageError], policy: FacePolicy
    ) -> Iterator[PhotoFaces]:
        images = [item[1] for item in batch if not isinstance(item, ImageError)]
        with self.timed("detect"):
            detected = self.detector.detect(images)
        chosen = [_choose(faces, policy, image) for faces, image in zip(detected, images, strict=True)]
        with self.timed("align"):
            crops = [self._align(image, faces) for image, (faces, _) in zip(images, chosen, strict=True)]
        with self.timed("quality"):
            qualities = [measure_quality(image, faces) for image, (faces, _) in zip(images, chosen, strict=True)]
        with self.timed("embed"):
            vectors = self._embed(crops)
        results = iter(zip(chosen, qualities, vectors, strict=True))
        for item in batch:
            if isinstance(item, ImageError):
                yield PhotoFaces(item.path, None, (), item.reason_code, item)
            else:
                (faces, reason), quality, face_vectors = next(results)
                yield PhotoFaces(item[0].path, item[0].digest, _found_faces(faces, quality, face_vectors), reason)

    def _align(self, image: UInt8Image, faces: Faces) -> UInt8Image:
        spec = self.embedder.spec
        return align(image, faces.landmarks, spec.reference_points, spec.input_size)

    def _embed(self, crops: Sequence[UInt8Image]) -> list[FloatVector]:
        vectors = self.embedder.embed(np.concatenate(crops)) if crops else np.empty((0, 0), np.float32)
        return np.split(vectors, np.cumsum([len(c) for c in crops])[:-1]) if crops else []


def _read_file(path: Path) -> PhotoFile | ImageError:
    try:
        data = read_bytes(path)
    except ImageError as error:
        return error
    return PhotoFile(path, data, digest(data))


def _decode_file(file: PhotoFile | ImageError) -> tuple[PhotoFile, UInt8Image] | ImageError:
    if isinstance(file, ImageError):
        return file
    try:
        return file, decode(file.data, file.path)
    except ImageError as error:
        return error


def _choose(faces: Faces, policy: FacePolicy, image: UInt8Image) -> tuple[Faces, str | None]:
    """Return the faces that the policy keeps, and the reason if it keeps none."""
    try:
        kept = select_faces(faces, policy, (image.shape[1], image.shape[0]))
    except NotExactlyOneFace as error:
        return Faces.none(), error.reason_code
    return kept, None if len(kept) else "no_face"


def _found_faces(faces: Faces, qualities: Sequence[Quality], vectors: FloatVector) -> tuple[FoundFace, ...]:
    return tuple(
        FoundFace((float(x), float(y), float(w), float(h)), float(score), quality, vector)
        for (x, y, w, h), score, quality, vector in zip(faces.boxes, faces.scores, qualities, vectors, strict=True)
    )


def _map_ahead(pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map in threads, in order, with only a few items in flight, so that memory does not grow with their number."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > DECODE_THREADS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
