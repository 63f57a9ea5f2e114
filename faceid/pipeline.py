"""From photos to unit vectors, in batches: decode, detect, choose, align, measure, embed.

Every step takes a list and returns a list in the same order, with one result per photo, an error included.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from faceid.explanations import explanation
from faceid.forks import require_own_threads
from faceid.inference.onnx_session import threads_for
from faceid.models.embedding import Embedder, NoEmbedding
from faceid.vision.alignment import align
from faceid.vision.decoding import Pixels
from faceid.vision.detection import (
    Box,
    Detector,
    DetectorError,
    FacePolicy,
    Faces,
    Landmarks,
    NotExactlyOneFace,
    select_faces,
)
from faceid.vision.images import ImageError, UInt8Image
from faceid.vision.picture import Picture, ReadPicture
from faceid.vision.quality import Quality, measure_quality
from faceid.vision.turning import look_in_all_directions
from indexer.errors import FaceIdError
from indexer.records import FloatMatrix, FloatVector

# Photos per batch: enough to fill the detector's and the network's batches, few enough that memory stays small.
BATCH_PHOTOS = 32
# Decoded pixels per batch (3 bytes each): photos of 50 megapixels must not be held 32 at a time.
BATCH_PIXELS = 64_000_000
# Faces of one photo: a crowd, or a sheet of thumbnails, must not cost what thousands of photos cost.
MOST_FACES = 1000
# Photos decoded ahead in threads: one a core and one waiting.
DECODE_THREADS = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class DecodedPicture:
    """A picture in memory with its pixels."""

    read: ReadPicture
    pixels: Pixels


@dataclass(frozen=True, eq=False)
class FoundFace:
    """One face: where it is, how good it is, and its `vector` [D] float32 of unit length.

    `box` (x, y, w, h) and `landmarks` (x, y of left eye, right eye, nose, left and right mouth corner, left as seen)
    are in pixels of the upright photo; `detection_score` is the detector's probability of a face. `crop` is the aligned
    face that the network saw, RGB uint8 [H, W, 3], where it was asked for.
    """

    box: Box
    landmarks: Landmarks
    detection_score: float
    quality: Quality
    vector: FloatVector
    crop: UInt8Image | None = None


@dataclass(frozen=True, eq=False)
class PictureFaces:
    """The faces of one picture; none with the reason: `no_face`, `several_faces`, or the code of `error`.

    `remarks` are reason codes that did not cost the picture, such as `truncated`. `digest` is the SHA-256 by which the
    picture is known again; None where it could not be read.
    """

    picture: Picture
    digest: bytes | None
    faces: tuple[FoundFace, ...]
    reason_code: str | None = None
    error: ImageError | None = None
    remarks: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """What names the picture."""
        return self.picture.source


class Pipeline:
    """A detector and an embedder, and the steps between; `seconds` adds up what each step took.

    Many threads may use one at once: nothing is kept from one call to the next but the seconds.
    """

    def __init__(self, detector: Detector, embedder: Embedder) -> None:
        self.detector = detector
        self.embedder = embedder
        self.most_faces = MOST_FACES  # of one photo; of more the surest are taken
        self.seconds: dict[str, float] = defaultdict(float)
        self._adding = threading.Lock()
        # Detectors whose scores do not tell how a face is turned are sure of whatever they find.
        self._sure: float = getattr(detector, "sure_score", 1e-9)

    def read(self, pictures: Iterable[Picture]) -> list[ReadPicture | PictureFaces]:
        """Read the bytes and their digests, without decoding: enrolment knows by the digest what it has already.

        A picture that cannot be read, or came with a reason not to, is its own result.
        """
        with self.timed("read"):
            return [_read(picture) for picture in pictures]

    def find_faces(
        self, read: Sequence[ReadPicture | PictureFaces], policy: FacePolicy, *, crops: bool = False
    ) -> list[PictureFaces]:
        """Find, choose and embed the faces of the pictures; results that are there already stay in their place.

        With `crops` each face comes with its aligned picture.
        """
        require_own_threads()
        found: list[PictureFaces] = []
        for batch in self._decoded_batches(read):
            found.extend(self._process(batch, policy, crops))
        return found

    def detect(self, images: Sequence[UInt8Image]) -> list[Faces]:
        """Find the faces of upright pictures that are decoded already; one `Faces` each, in order."""
        with self.timed("detect"):
            return self._detect(images)

    def embed_faces(self, image: UInt8Image, faces: Faces, chosen: Sequence[int]) -> dict[int, FloatVector]:
        """Return the unit vectors float32 [D] of chosen faces of a picture; of those to which the network gives one."""
        with self.timed("align"):
            crops = self._align(image, faces.take(chosen))
        with self.timed("embed"):
            found = self._embed(list(crops[:, None]))
        return {number: its[0] for number, its in zip(chosen, found, strict=True) if not isinstance(its, NoEmbedding)}

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time of the block to `seconds[step]`."""
        start = time.perf_counter()
        yield
        with self._adding:
            self.seconds[step] += time.perf_counter() - start

    def _decoded_batches(
        self, read: Sequence[ReadPicture | PictureFaces]
    ) -> Iterator[list[DecodedPicture | PictureFaces]]:
        batch: list[DecodedPicture | PictureFaces] = []
        pixels = 0
        with ExitStack() as stack:
            decoded: Iterator[DecodedPicture | PictureFaces] = map(_decode, read)
            if threads_for(len(read)) > 1:
                pool = stack.enter_context(ThreadPoolExecutor(DECODE_THREADS))
                decoded = _map_ahead(pool, _decode, read, _announced)
            while True:
                with self.timed("decode"):
                    item = next(decoded, None)
                if item is None:
                    break
                size = 0 if isinstance(item, PictureFaces) else item.pixels.rgb.size // 3
                if batch and (len(batch) >= BATCH_PHOTOS or pixels + size > BATCH_PIXELS):
                    yield batch
                    batch, pixels = [], 0
                batch.append(item)
                pixels += size
        if batch:
            yield batch

    def _process(
        self, batch: Sequence[DecodedPicture | PictureFaces], policy: FacePolicy, keep: bool
    ) -> Iterator[PictureFaces]:
        images = [item.pixels.rgb for item in batch if isinstance(item, DecodedPicture)]
        with self.timed("detect"):
            turned = look_in_all_directions(self._detect, images, self._detect(images), self._sure)
        chosen = [_choose(each.faces, policy, image) for each, image in zip(turned, images, strict=True)]
        with self.timed("align"):
            crops = [self._align(image, faces) for image, (faces, _) in zip(images, chosen, strict=True)]
        with self.timed("quality"):
            qualities = [
                measure_quality(image, faces, each.quarters)
                for image, (faces, _), each in zip(images, chosen, turned, strict=True)
            ]
        with self.timed("embed"):
            vectors = self._embed(crops)
        results = iter(zip(turned, chosen, qualities, vectors, crops, strict=True))
        for item in batch:
            if isinstance(item, PictureFaces):
                yield item
                continue
            all_faces, (faces, reason), quality, face_vectors, pictures = next(results)
            read = item.read
            if isinstance(face_vectors, NoEmbedding):
                yield _failed(read, ImageError(read.picture.source, "no_embedding", str(face_vectors)))
                continue
            kept = list(pictures) if keep else [None] * len(faces)
            found = _found_faces(_in_photo(faces, item.pixels.reduction), quality, face_vectors, kept)
            crowd = ("crowd",) if len(all_faces.faces) >= self.most_faces else ()
            yield PictureFaces(read.picture, read.digest, found, reason, remarks=item.pixels.remarks + crowd)

    def _detect(self, images: Sequence[UInt8Image]) -> list[Faces]:
        """Run the detector; what one of somebody else's raises becomes a DetectorError that says whose it is."""
        try:
            found = [_surest(faces, self.most_faces) for faces in self.detector.detect(images)]
            if len(found) != len(images):
                raise ValueError(f"it gave {len(found)} answers")
            return found
        except (FaceIdError, MemoryError):
            raise
        except Exception as error:
            name = type(self.detector).__name__
            raise DetectorError(f"the detector {name} failed on {len(images)} photos: {error!r}") from error

    def _align(self, image: UInt8Image, faces: Faces) -> UInt8Image:
        spec = self.embedder.spec
        return align(image, faces.landmarks, spec.reference_points, spec.input_size)

    def _embed(self, crops: Sequence[UInt8Image]) -> Sequence[FloatMatrix | NoEmbedding]:
        """Embed the crops of each picture, [n, H, W, 3] -> [n, D]; one that has no vector costs its picture alone."""
        if not crops:
            return []
        try:
            vectors = self.embedder.embed(np.concatenate(crops))
        except NoEmbedding as error:
            return [error] if len(crops) == 1 else [found for one in crops for found in self._embed([one])]
        return np.split(vectors, np.cumsum([len(c) for c in crops])[:-1])


def _read(picture: Picture) -> ReadPicture | PictureFaces:
    try:
        if picture.reason_code is not None:
            raise ImageError(picture.source, picture.reason_code, explanation(picture.reason_code))
        return picture.read()
    except ImageError as error:
        return PictureFaces(picture, None, (), error.reason_code, error)


def _decode(read: ReadPicture | PictureFaces) -> DecodedPicture | PictureFaces:
    if isinstance(read, PictureFaces):
        return read
    try:
        return DecodedPicture(read, read.decode())
    except ImageError as error:
        return _failed(read, error)


def _failed(read: ReadPicture, error: ImageError) -> PictureFaces:
    return PictureFaces(read.picture, read.digest, (), error.reason_code, error)


def _surest(faces: Faces, most: int) -> Faces:
    return faces.take((-faces.scores).argsort(kind="stable")[:most]) if len(faces) > most else faces


def _choose(faces: Faces, policy: FacePolicy, image: UInt8Image) -> tuple[Faces, str | None]:
    """Return the faces that the policy keeps, and the reason if it keeps none."""
    try:
        kept = select_faces(faces, policy, (image.shape[1], image.shape[0]))
    except NotExactlyOneFace as error:
        return Faces.none(), error.reason_code
    return kept, None if len(kept) else "no_face"


def _found_faces(
    faces: Faces, qualities: Sequence[Quality], vectors: FloatVector, crops: Sequence[UInt8Image | None]
) -> tuple[FoundFace, ...]:
    places = zip(faces.boxes.tolist(), faces.landmarks.tolist(), faces.scores.tolist(), strict=True)
    return tuple(
        FoundFace((x, y, w, h), tuple((px, py) for px, py in points), score, quality, vector, crop)
        for ((x, y, w, h), points, score), quality, vector, crop in zip(places, qualities, vectors, crops, strict=True)
    )


def _in_photo(faces: Faces, reduction: int) -> Faces:
    """Bring faces from a reduced picture into pixels of the photo."""
    if reduction == 1:
        return faces
    boxes = np.concatenate([(faces.boxes[:, :2] + 0.5) * reduction - 0.5, faces.boxes[:, 2:] * reduction], axis=1)
    return Faces(boxes, (faces.landmarks + 0.5) * reduction - 0.5, faces.scores)


def _announced(read: ReadPicture | PictureFaces) -> int:
    return read.announced if isinstance(read, ReadPicture) else 0


def _map_ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], pixels: Callable[[Item], int]
) -> Iterator[Result]:
    """Map in threads, in order, with few items and at most BATCH_PIXELS in flight, so that memory stays small."""
    waiting: deque[tuple[Future[Result], int]] = deque()
    for item in items:
        size = pixels(item)
        while waiting and (
            len(waiting) > DECODE_THREADS or size + sum(under_way for _, under_way in waiting) > BATCH_PIXELS
        ):
            yield waiting.popleft()[0].result()
        waiting.append((pool.submit(function, item), size))
    while waiting:
        yield waiting.popleft()[0].result()
