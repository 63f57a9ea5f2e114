"""MTCNN: three small networks find faces and five landmarks, each looking closer than the one before.

Zhang, Zhang, Li, Qiao: Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks, 2016.
P-Net slides a 12 px window over a pyramid of the photo and proposes boxes, R-Net (24 px) refines and rejects,
O-Net (48 px) does so again and places the landmarks.  The weights are those of the `mtcnn` package;
`mtcnn_networks` runs the networks, and this file is what lies before, between and after them.

Inside this file a box is (x1, y1, x2, y2) in edge coordinates: pixel i covers [i, i + 1], so widths are x2 - x1
and a resize is one multiplication.  `Faces` has pixel centres at integers, half a pixel less.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from faceid.inference.onnx_session import in_parts
from faceid.vision.detection import DetectorError, Faces
from faceid.vision.images import UInt8Image
from faceid.vision.mtcnn_networks import Float32Array, Held, Networks, OnnxNetworks
from faceid.vision.mtcnn_weights import SHA256, load_weights
from faceid.vision.opencv import cv2

DIGEST = hashlib.sha256(f"mtcnn {SHA256}".encode()).hexdigest()
"""What calibrations with this detector are known by."""

MIN_FACE_SIZE = 20  # px; the smallest face that is looked for
SCALE_FACTOR = 0.709  # from one pyramid level to the next: half the area
THRESHOLDS = (
    0.6,
    0.7,
    0.8,
)  # least face probability that P-, R- and O-Net let pass; the `mtcnn` package's defaults

# Photos with a longer side are searched on a smaller copy: it bounds memory and time, and a face of
# 20 px in the copy of a 12 Mpx photo is still only 1/80 of its width.
MAX_SIDE = 1600
# Photos that are in work together, which bounds memory; a photo of MAX_SIDE x MAX_SIDE is less.
CHUNK_PIXELS = 4_000_000

# Overlap above which the weaker of two boxes goes: among proposals of one pyramid level, among those of all
# levels, after R-Net, and after O-Net (where overlap is measured on the smaller box, so nested boxes go too).
NMS_LEVEL, NMS_PROPOSALS, NMS_REFINED, NMS_OUTPUT = 0.5, 0.7, 0.7, 0.7

Size = tuple[int, int]  # height, width

WINDOW, STRIDE = 12, 2  # P-Net's window, and the step from one window to the next, in pixels of a level


class MtcnnDetector:
    """Finds faces with MTCNN; the same photo gives the same faces, alone or in a batch, to float32 rounding."""

    # Of 100 photos of LFW 99 score above 0.983 upright; turned by 90, 180 and 270 degrees, 95 score below 0.97 or show
    # nothing (benchmarks/measurements/turned_photos.py).
    sure_score = 0.985

    def __init__(
        self,
        min_face_size: int = MIN_FACE_SIZE,
        scale_factor: float = SCALE_FACTOR,
        thresholds: tuple[float, float, float] = THRESHOLDS,
        device: str = "cpu",
        networks: Networks | None = None,
    ) -> None:
        """Load the weights onto `device` ('cpu', 'cuda', 'cuda:1' ...), or take `networks` that hold them already.

        `min_face_size` (px, at least 12) is the smallest face looked for, `scale_factor` (0..1) the ratio of
        neighbouring pyramid levels, `thresholds` the least face probability for P-, R- and O-Net.

        Raises:
            DetectorError: no such device, or weights that are missing or not the published ones.
            ValueError: a setting out of its range.

        """
        if min_face_size < WINDOW:
            raise ValueError(f"min_face_size must be at least {WINDOW} px, P-Net's window; got {min_face_size}")
        if not 0 < scale_factor < 1:
            raise ValueError(f"scale_factor must lie between 0 and 1; got {scale_factor}")
        if not all(0 < threshold < 1 for threshold in thresholds):
            raise ValueError(f"thresholds must lie between 0 and 1; got {thresholds}")
        self.min_face_size = min_face_size
        self.scale_factor = scale_factor
        self.thresholds = thresholds
        self._networks = networks or _networks(device)
        self._min_logits = [math.log(t / (1 - t)) for t in thresholds]

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what the published weights are."""
        return DIGEST

    def detect(self, images: Sequence[UInt8Image]) -> list[Faces]:
        """Find the faces of each image ([H, W, 3] uint8 RGB, any sizes); one `Faces` an image, in order.

        Raises:
            DetectorError: an image of another shape or type.

        """
        for index, image in enumerate(images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise DetectorError(
                    f"image {index} is {image.dtype} {list(image.shape)}; the detector takes uint8 [H, W, 3] RGB"
                )
        found = [Faces.none()] * len(images)
        for chunk in chunks_by_pixels(images):
            for index, faces in zip(chunk, self._detect_chunk([images[i] for i in chunk]), strict=True):
                found[index] = faces
        return found

    def _detect_chunk(self, images: Sequence[UInt8Image]) -> list[Faces]:
        photos = in_parts(normalised, images)
        proposals = self._propose(photos)
        held = [self._networks.hold(photo) for photo in photos]
        sizes = [(photo.shape[0], photo.shape[1]) for photo in photos]
        return self._locate(held, sizes, self._refine(held, sizes, proposals), [image.shape[:2] for image in images])

    def _propose(self, photos: Sequence[Float32Array]) -> "Candidates":
        """P-Net over the pyramids of all photos; photos of one size share the batches of their levels."""
        batches = list(self._level_batches(photos))
        found = Candidates.concatenate(
            in_parts(lambda batch: self._propose_level([photos[i] for i in batch.members], batch), batches)
        )
        return Candidates.concatenate(
            in_parts(lambda index: merge_proposals(found.of_photo(index)), range(len(photos)))
        )

    def _level_batches(self, photos: Sequence[Float32Array]) -> Iterator["LevelBatch"]:
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, photo in enumerate(photos):
            by_size.setdefault((photo.shape[0], photo.shape[1]), []).append(index)
        for photo_size, members in by_size.items():
            for level, size in enumerate(pyramid(photo_size, self.min_face_size, self.scale_factor)):
                step = max(1, self._networks.level_pixels // math.prod(size))
                for start in range(0, len(members), step):
                    yield LevelBatch(members[start : start + step], size, level)

    def _propose_level(self, photos: Sequence[Float32Array], batch: "LevelBatch") -> "Candidates":
        """P-Net over one pyramid level of some photos that are equal in size."""
        size = batch.size
        resized = [cv2.resize(photo, size[::-1], interpolation=cv2.INTER_AREA) for photo in photos]
        pixels = np.stack(resized).astype(np.float32, copy=False)
        position, row, column, offsets, logits = self._networks.propose(pixels, self._min_logits[0])
        to_photo = np.tile(np.divide(photos[0].shape[1::-1], size[::-1], dtype=np.float32), 2)
        # The authors' code counts pixels from 1 and measures a window from its first pixel to its last; kept, as
        # the package keeps it, because the two detectors agree better so.
        first = np.stack([column, row], axis=1).astype(np.float32) * STRIDE + 1
        boxes = moved(np.concatenate([first, first + WINDOW - 1], axis=1), offsets) * to_photo
        boxes[:, 2:] += 1  # from the last pixel to its far edge
        photo = np.asarray(batch.members)[position]
        return Candidates(photo, boxes, logits, np.full(len(photo), batch.level))

    def _refine(self, photos: Sequence[Held], sizes: Sequence[Size], candidates: "Candidates") -> "Candidates":
        """R-Net on the proposals: those that stay get better boxes, made square for O-Net."""
        parts = in_parts(
            lambda part: self._networks.refine(self._cut(photos, sizes, part, 24)), self._parts(candidates)
        )
        offsets, logits = (np.concatenate(outputs) for outputs in zip(*parts, strict=True))
        refined = Candidates(candidates.photo, moved(candidates.boxes, offsets), logits)
        refined = refined.take(refined.logits > self._min_logits[1])
        kept = [suppress(refined.of_photo(i), NMS_REFINED) for i in range(len(photos))]
        return Candidates.concatenate(kept).made_square()

    def _locate(
        self, photos: Sequence[Held], sizes: Sequence[Size], candidates: "Candidates", originals: Sequence[Size]
    ) -> list[Faces]:
        """O-Net on what is left: final boxes and landmarks, in pixels of the photos as they came (`originals`)."""
        parts = in_parts(
            lambda part: self._networks.locate(self._cut(photos, sizes, part, 48)), self._parts(candidates)
        )
        offsets, places, logits = (np.concatenate(outputs) for outputs in zip(*parts, strict=True))
        corners, sides = candidates.boxes[:, None, :2], candidates.boxes[:, None, 2:] - candidates.boxes[:, None, :2]
        landmarks = corners + sides * places.reshape(-1, 2, 5).transpose(0, 2, 1)
        located = Candidates(candidates.photo, moved(candidates.boxes, offsets), logits)
        faces = []
        for index, (searched, size) in enumerate(zip(sizes, originals, strict=True)):
            chosen = np.flatnonzero((located.photo == index) & (located.logits > self._min_logits[2]))
            chosen = chosen[suppress_nested(located.take(chosen), NMS_OUTPUT)]
            faces.append(in_photo(located.take(chosen), landmarks[chosen], searched, size))
        return faces

    def _parts(self, candidates: "Candidates") -> "list[Candidates]":
        """Cut the candidates into batches for R-Net or O-Net; one batch where there are none."""
        starts = range(0, max(1, len(candidates.logits)), self._networks.crops)
        return [candidates.take(slice(start, start + self._networks.crops)) for start in starts]

    def _cut(self, photos: Sequence[Held], sizes: Sequence[Size], part: "Candidates", side: int) -> list[Held]:
        """Cut the candidates out of their photos, side x side pixels each."""
        return [
            self._networks.cut(photos[i], sampling_points(part.of_photo(i).boxes, side, sizes[i]))
            for i in np.unique(part.photo)
        ]


@dataclass(frozen=True)
class LevelBatch:
    """Work for P-Net: one pyramid level, of [height, width] `size`, of the photos `members`."""

    members: Sequence[int]
    size: tuple[int, int]
    level: int


@dataclass(frozen=True)
class Candidates:
    """Boxes that may be faces, between two networks; arrays share their first axis, a photo's boxes are neighbours."""

    photo: npt.NDArray[np.intp]  # [n]: index of the photo
    boxes: Float32Array  # [n, 4]: x1, y1, x2, y2, edge coordinates
    logits: Float32Array  # [n]: of "face", by the last network
    level: npt.NDArray[np.intp] | None = None  # [n]: pyramid level, of P-Net's candidates

    @classmethod
    def concatenate(cls, parts: Sequence["Candidates"]) -> "Candidates":
        """Join candidates."""
        levels = [part.level for part in parts if part.level is not None]
        return cls(
            np.concatenate([np.empty(0, np.intp), *(part.photo for part in parts)]),
            np.concatenate([np.empty((0, 4), np.float32), *(part.boxes for part in parts)]),
            np.concatenate([np.empty(0, np.float32), *(part.logits for part in parts)]),
            np.concatenate(levels) if levels else None,
        )

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice) -> "Candidates":
        """Return the chosen candidates."""
        level = None if self.level is None else self.level[chosen]
        return Candidates(self.photo[chosen], self.boxes[chosen], self.logits[chosen], level)

    def of_photo(self, index: int) -> "Candidates":
        """Return one photo's candidates."""
        return self.take(self.photo == index)

    def made_square(self) -> "Candidates":
        """Grow the shorter side of each box to the longer, about the same middle."""
        middle = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        half = (self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1, keepdims=True) / 2
        return Candidates(self.photo, np.concatenate([middle - half, middle + half], axis=1), self.logits)


def _networks(device: str) -> Networks:
    """Load the networks: ONNX Runtime's on the processor, PyTorch's elsewhere."""
    weights = load_weights()
    if device == "cpu":
        return OnnxNetworks(weights)
    try:
        from faceid.vision.mtcnn_torch import TorchNetworks
    except ImportError as error:
        raise DetectorError(f"device {device!r} needs PyTorch, which cannot be imported ({error})") from error
    return TorchNetworks(weights, device)


def chunks_by_pixels(images: Sequence[UInt8Image]) -> Iterator[list[int]]:
    """Yield the indices of photos to work on together: equal sizes side by side, CHUNK_PIXELS at most."""
    chunk: list[int] = []
    pixels = 0
    for index in sorted(range(len(images)), key=lambda i: images[i].shape):
        size = searched_size(images[index].shape)
        if chunk and pixels + math.prod(size) > CHUNK_PIXELS:
            yield chunk
            chunk, pixels = [], 0
        chunk.append(index)
        pixels += math.prod(size)
    if chunk:
        yield chunk


def searched_size(shape: tuple[int, ...]) -> Size:
    """Return [height, width] of the copy that is searched: the photo's own, or reduced to MAX_SIDE."""
    reduction = min(1.0, MAX_SIDE / max(shape[0], shape[1], 1))
    return math.ceil(shape[0] * reduction), math.ceil(shape[1] * reduction)


def normalised(image: UInt8Image) -> Float32Array:
    """Return the photo as the networks want it, [H, W, 3] float32 in -1..1, no side over MAX_SIDE."""
    size = searched_size(image.shape)
    fitting = image if size == image.shape[:2] else cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return (fitting.astype(np.float32) - np.float32(127.5)) * np.float32(1 / 128)


def pyramid(size: tuple[int, int], min_face_size: int, scale_factor: float) -> Iterator[tuple[int, int]]:
    """Yield the [height, width] of each level: faces of min_face_size fill P-Net's window in the first."""
    scale = WINDOW / min_face_size
    while min(size) * scale >= WINDOW:
        yield int(size[0] * scale), int(size[1] * scale)
        scale *= scale_factor


def moved(boxes: Float32Array, offsets: Float32Array) -> Float32Array:
    """Move the four edges [n, 4] by the networks' offsets, which are in units of the box's width and height."""
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def merge_proposals(candidates: Candidates) -> Candidates:
    """One photo's proposals: thin them out within each level, then across levels, and make them square for R-Net."""
    best_first = candidates.take(np.argsort(-candidates.logits, kind="stable"))
    boxes, scores = for_opencv(best_first.boxes)
    if boxes and best_first.level is not None:
        kept = cv2.dnn.NMSBoxesBatched(boxes, scores, best_first.level.tolist(), 0.0, NMS_LEVEL)
        best_first = best_first.take(np.asarray(kept, dtype=np.intp))
    return suppress(best_first, NMS_PROPOSALS).made_square()


def suppress(candidates: Candidates, limit: float) -> Candidates:
    """Greedy non-maximum suppression in one photo: best first, without boxes whose IoU with a better one is > limit.

    (The `mtcnn` package lets suppressed boxes suppress others too, which loses faces next to each other.)
    """
    best_first = candidates.take(np.argsort(-candidates.logits, kind="stable"))
    boxes, scores = for_opencv(best_first.boxes)
    kept = cv2.dnn.NMSBoxes(boxes, scores, 0.0, limit) if boxes else ()
    return best_first.take(np.asarray(kept, dtype=np.intp))


def for_opencv(boxes: Float32Array) -> tuple[list[list[float]], list[float]]:
    """Return boxes [n, 4], best first, as OpenCV's x, y, width, height, and falling scores, which it wants positive."""
    corners_and_sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    return corners_and_sides.tolist(), np.arange(len(boxes), 0, -1, dtype=np.float32).tolist()


def suppress_nested(candidates: Candidates, limit: float) -> npt.NDArray[np.intp]:
    """As `suppress`, with overlap measured on the smaller box; returns the indices of those kept, best first."""
    best_first = np.argsort(-candidates.logits, kind="stable")
    boxes = candidates.boxes[best_first].astype(np.float64)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    alive = np.ones(len(boxes), dtype=bool)
    for i, box in enumerate(boxes):
        if alive[i]:
            low, high = np.maximum(box[:2], boxes[i + 1 :, :2]), np.minimum(box[2:], boxes[i + 1 :, 2:])
            alive[i + 1 :] &= (high - low).clip(min=0).prod(axis=1) <= limit * np.minimum(areas[i], areas[i + 1 :])
    return best_first[alive]


def sampling_points(boxes: Float32Array, side: int, size: Size) -> Float32Array:  # [n, 4] -> [n, side, side, 2]
    """Return side x side points (x, y) of each box, from the middle of its first pixel to the middle of its last.

    The photo of `size` (height, width) is -1..1 both ways, from edge to edge.
    """
    steps = np.linspace(0, 1, side, dtype=np.float32)
    x, y = (boxes[:, [i]] + 0.5 + (boxes[:, [i + 2]] - boxes[:, [i]] - 1) * steps for i in (0, 1))  # [n, side] each
    points = np.empty((len(boxes), side, side, 2), np.float32)
    points[..., 0] = (x * (2 / size[1]) - 1)[:, None, :]
    points[..., 1] = (y * (2 / size[0]) - 1)[:, :, None]
    return points


def in_photo(located: Candidates, landmarks: Float32Array, searched: Sequence[int], size: Sequence[int]) -> Faces:
    """Turn edge coordinates in the searched copy into `Faces` of the photo (`searched`, `size`: [height, width])."""
    to_photo = np.divide(size[::-1], searched[::-1], dtype=np.float32)
    corners = (located.boxes.reshape(-1, 2, 2) * to_photo).clip(0, np.asarray(size[::-1], np.float32))
    boxes = np.concatenate([corners[:, 0], corners[:, 1] - corners[:, 0]], axis=1)
    scores = (1 / (1 + np.exp(-located.logits))).astype(np.float32)
    return Faces(boxes, landmarks * to_photo - np.float32(0.5), scores).take(
        np.flatnonzero(boxes[:, 2:].min(axis=1) > 0)
    )


def make_mtcnn(*, device: str, min_face_size: int, weights: Path | None) -> MtcnnDetector:
    """Make the detector with the published weights; raises DetectorError where a file of others is named."""
    if weights is not None:
        raise DetectorError("MTCNN runs with the published weights; --detector-weights goes with --detector yunet")
    return MtcnnDetector(min_face_size=min_face_size, device=device)
