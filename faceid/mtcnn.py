"""MTCNN in PyTorch: three small networks find faces and five landmarks, each looking closer than the one before.

Zhang, Zhang, Li, Qiao: Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks, 2016.
P-Net slides a 12 px window over a pyramid of the photo and proposes boxes, R-Net (24 px) refines and rejects,
O-Net (48 px) does so again and places the landmarks.  The weights are those of the `mtcnn` package.

Inside this file a box is (x1, y1, x2, y2) in edge coordinates: pixel i covers [i, i + 1], so widths are x2 - x1
and a resize is one multiplication.  `Faces` has pixel centres at integers, half a pixel less.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from faceid.detection import DetectorError, Faces, UInt8Image
from faceid.mtcnn_weights import Float32Array, load_weights

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
CHUNK_PIXELS = 4_000_000  # photos that are in work together; a photo of MAX_SIDE x MAX_SIDE is less
CHUNK_CROPS = 256  # crops that R-Net or O-Net sees at once

# Overlap above which the weaker of two boxes goes: among proposals of one pyramid level, among those of all
# levels, after R-Net, and after O-Net (where overlap is measured on the smaller box, so nested boxes go too).
NMS_LEVEL, NMS_PROPOSALS, NMS_REFINED, NMS_OUTPUT = 0.5, 0.7, 0.7, 0.7

WINDOW, STRIDE = 12, 2  # P-Net's window, and the step from one window to the next, in pixels of a level


class PNet(nn.Module):
    """Proposal network: for every 12 x 12 window (stride 2) a face logit and four box offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 10, kernel_size=3)
        self.prelu1 = nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(10, 16, kernel_size=3)
        self.prelu2 = nn.PReLU(16)
        self.conv3 = nn.Conv2d(16, 32, kernel_size=3)
        self.prelu3 = nn.PReLU(32)
        self.offsets = nn.Conv2d(32, 4, kernel_size=1)
        self.face = nn.Conv2d(32, 2, kernel_size=1)

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:  # [B, 3, H, W] -> [B, 4, h, w], [B, h, w]
        x = self.pool1(self.prelu1(self.conv1(level)))
        x = self.prelu2(self.conv2(x))
        x = self.prelu3(self.conv3(x))
        return self.offsets(x), face_logit(self.face(x))


class RNet(nn.Module):
    """Refinement network: for a 24 x 24 crop a face logit and four box offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 28, kernel_size=3)
        self.prelu1 = nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(28, 48, kernel_size=3)
        self.prelu2 = nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2)
        self.conv3 = nn.Conv2d(48, 64, kernel_size=2)
        self.prelu3 = nn.PReLU(64)
        self.dense4 = nn.Linear(3 * 3 * 64, 128)
        self.prelu4 = nn.PReLU(128)
        self.offsets = nn.Linear(128, 4)
        self.face = nn.Linear(128, 2)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:  # [n, 3, 24, 24] -> [n, 4], [n]
        x = self.pool1(self.prelu1(self.conv1(crops)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x))
        x = self.prelu4(self.dense4(flatten_columns_first(x)))
        return self.offsets(x), face_logit(self.face(x))


class ONet(nn.Module):
    """Output network: for a 48 x 48 crop a face logit, four box offsets and five landmarks (x1..x5, y1..y5)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3)
        self.prelu1 = nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3)
        self.prelu2 = nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2)
        self.conv3 = nn.Conv2d(64, 64, kernel_size=3)
        self.prelu3 = nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2)
        self.conv4 = nn.Conv2d(64, 128, kernel_size=2)
        self.prelu4 = nn.PReLU(128)
        self.dense5 = nn.Linear(3 * 3 * 128, 256)
        self.prelu5 = nn.PReLU(256)
        self.offsets = nn.Linear(256, 4)
        self.landmarks = nn.Linear(256, 10)
        self.face = nn.Linear(256, 2)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # [n, 3, 48, 48] -> [n, 4], [n, 10], [n]
        x = self.pool1(self.prelu1(self.conv1(crops)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.pool3(self.prelu3(self.conv3(x)))
        x = self.prelu4(self.conv4(x))
        x = self.prelu5(self.dense5(flatten_columns_first(x)))
        return self.offsets(x), self.landmarks(x), face_logit(self.face(x))


def face_logit(classes: Tensor) -> Tensor:
    """Return the logit of "face" from the two classes (no face, face) on axis 1: sigmoid of it is their softmax."""
    return classes[:, 1] - classes[:, 0]


def flatten_columns_first(x: Tensor) -> Tensor:
    """Flatten [n, C, H, W] in the order (W, H, C) in which the dense layers were trained."""
    return x.permute(0, 3, 2, 1).flatten(1)


def fill(network: nn.Module, arrays: Sequence[Float32Array]) -> None:
    """Put the weights, as `mtcnn_weights.load_weights` gives them, into a network whose layers have the same order."""
    parameters = list(network.parameters())
    for parameter, array in zip(parameters, arrays, strict=True):
        value = torch.from_numpy(array.copy())
        if value.ndim == 4:  # convolution: [kh, kw, in, out] -> [out, in, kh, kw]
            value = value.permute(3, 2, 0, 1)
        elif value.ndim == 2:  # dense: [in, out] -> [out, in]
            value = value.T
        else:  # bias [out], PReLU slope [1, 1, out] or [out]
            value = value.flatten()
        parameter.data = value.contiguous()


class MtcnnDetector:
    """Finds faces with MTCNN; the same photo gives the same faces, alone or in a batch, to float32 rounding."""

    def __init__(
        self,
        min_face_size: int = MIN_FACE_SIZE,
        scale_factor: float = SCALE_FACTOR,
        thresholds: tuple[float, float, float] = THRESHOLDS,
        device: str = "cpu",
    ) -> None:
        """Load the weights onto `device` ('cpu', 'cuda', 'cuda:1' ...).

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
        self.device = available_device(device)
        self._min_logits = [math.log(t / (1 - t)) for t in thresholds]
        self._pnet, self._rnet, self._onet = PNet(), RNet(), ONet()
        fill(self._pnet, load_weights("pnet"))
        fill(self._rnet, load_weights("rnet"))
        fill(self._onet, load_weights("onet"))
        for network in (self._pnet, self._rnet, self._onet):
            network.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)

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
        with torch.inference_mode(), exact_arithmetic():
            for chunk in chunks_by_pixels(images):
                for index, faces in zip(chunk, self._detect_chunk([images[i] for i in chunk]), strict=True):
                    found[index] = faces
        return found

    def _detect_chunk(self, images: Sequence[UInt8Image]) -> list[Faces]:
        photos = [normalised(image) for image in images]
        pixels = [torch.from_numpy(photo).to(self.device).permute(2, 0, 1)[None] for photo in photos]
        candidates = self._refine(pixels, self._propose(photos))
        return self._locate(pixels, candidates, [image.shape[:2] for image in images])

    def _propose(self, photos: Sequence[Float32Array]) -> "Candidates":
        """P-Net over the pyramids of all photos; photos of one size share their levels' batches."""
        found = [Candidates.none()]
        for size in sorted({photo.shape[:2] for photo in photos}):
            members = [i for i, photo in enumerate(photos) if photo.shape[:2] == size]
            levels = [
                self._propose_level([photos[i] for i in members], level_size)
                for level_size in pyramid(size, self.min_face_size, self.scale_factor)
            ]
            for position, index in enumerate(members):
                of_photo = [suppress(level.of_photo(position), NMS_LEVEL) for level in levels]
                merged = suppress(Candidates.concatenate([Candidates.none(), *of_photo]), NMS_PROPOSALS)
                found.append(Candidates(np.full(len(merged.logits), index), squared(merged.boxes), merged.logits))
        return Candidates.concatenate(found)

    def _propose_level(self, photos: Sequence[Float32Array], size: tuple[int, int]) -> "Candidates":
        """P-Net over one pyramid level ([height, width] `size`) of photos that are equal in size."""
        level = np.stack([cv2.resize(photo, size[::-1], interpolation=cv2.INTER_AREA) for photo in photos])
        offset_maps, logit_maps = self._pnet(torch.from_numpy(level).to(self.device).permute(0, 3, 1, 2))
        photo, row, column = torch.nonzero(logit_maps > self._min_logits[0], as_tuple=True)
        logits = logit_maps[photo, row, column].cpu().numpy()
        offsets = offset_maps[photo, :, row, column].cpu().numpy()
        to_photo = np.tile(np.divide(photos[0].shape[1::-1], size[::-1], dtype=np.float32), 2)
        first = torch.stack([column, row], dim=1).cpu().numpy().astype(np.float32) * STRIDE + 1
        boxes = moved(np.concatenate([first, first + WINDOW - 1], axis=1), offsets) * to_photo
        boxes[:, 2:] += 1  # from the last pixel to its far edge
        return Candidates(photo.cpu().numpy(), boxes, logits)

    def _refine(self, photos: Sequence[Tensor], candidates: "Candidates") -> "Candidates":
        """R-Net on the proposals: those that stay get better boxes, made square for O-Net."""
        outputs = [self._rnet(crops) for crops in crops_by_chunks(photos, candidates, 24)]
        if not outputs:
            return candidates
        offsets, logits = (torch.cat(output).cpu().numpy() for output in zip(*outputs, strict=True))
        refined = Candidates(candidates.photo, moved(candidates.boxes, offsets), logits)
        refined = refined.take(logits > self._min_logits[1])
        kept = [suppress(refined.of_photo(i), NMS_REFINED) for i in np.unique(refined.photo)]
        refined = Candidates.concatenate([Candidates.none(), *kept])
        return Candidates(refined.photo, squared(refined.boxes), refined.logits)

    def _locate(
        self, photos: Sequence[Tensor], candidates: "Candidates", sizes: Sequence[tuple[int, int]]
    ) -> list[Faces]:
        """O-Net on what is left: final boxes and landmarks, in pixels of the photos as they came (`sizes`)."""
        outputs = [self._onet(crops) for crops in crops_by_chunks(photos, candidates, 48)]
        if not outputs:
            return [Faces.none()] * len(photos)
        offsets, places, logits = (torch.cat(output).cpu().numpy() for output in zip(*outputs, strict=True))
        corners, sides = (
            candidates.boxes[:, None, :2],
            candidates.boxes[:, None, 2:] - candidates.boxes[:, None, :2],
        )
        landmarks = corners + sides * places.reshape(-1, 2, 5).transpose(0, 2, 1)
        located = Candidates(candidates.photo, moved(candidates.boxes, offsets), logits, landmarks)
        located = located.take(logits > self._min_logits[2])
        return [
            output(suppress(located.of_photo(i), NMS_OUTPUT, of_smaller=True), photo.shape[-2:], size)
            for i, (photo, size) in enumerate(zip(photos, sizes, strict=True))
        ]


@dataclass(frozen=True)
class Candidates:
    """Boxes that may be faces, between two networks; arrays share their first axis."""

    photo: npt.NDArray[np.intp]  # [n]: index of the photo
    boxes: Float32Array  # [n, 4]: x1, y1, x2, y2, edge coordinates
    logits: Float32Array  # [n]: of "face", by the last network
    landmarks: Float32Array | None = None  # [n, 5, 2], from O-Net only

    @classmethod
    def none(cls) -> "Candidates":
        return cls(np.empty(0, np.intp), np.empty((0, 4), np.float32), np.empty(0, np.float32))

    @classmethod
    def concatenate(cls, parts: Sequence["Candidates"]) -> "Candidates":
        """Join candidates without landmarks."""
        return cls(
            np.concatenate([part.photo for part in parts]),
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.logits for part in parts]),
        )

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice) -> "Candidates":
        landmarks = None if self.landmarks is None else self.landmarks[chosen]
        return Candidates(self.photo[chosen], self.boxes[chosen], self.logits[chosen], landmarks)

    def of_photo(self, index: int) -> "Candidates":
        return self.take(self.photo == index)


def available_device(name: str) -> torch.device:
    """Return the device of that name, or say clearly that it is not there."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DetectorError(f"device {name!r} is unknown; use 'cpu' or 'cuda'") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DetectorError(
            f"device {name!r} was asked for, but PyTorch {torch.__version__} finds {torch.cuda.device_count()} "
            "CUDA devices; use 'cpu', or install PyTorch with CUDA and check the driver with `nvidia-smi`"
        )
    return device


def exact_arithmetic() -> AbstractContextManager[None]:
    """On CUDA: no TF32 and the same algorithm every time, so that results agree with the CPU's and repeat."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


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


def searched_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return [height, width] of the copy that is searched: the photo's own, or reduced to MAX_SIDE."""
    reduction = min(1.0, MAX_SIDE / max(shape[0], shape[1], 1))
    return math.ceil(shape[0] * reduction), math.ceil(shape[1] * reduction)


def normalised(image: UInt8Image) -> Float32Array:
    """Return the photo as the networks want it, [H, W, 3] float32 in -1..1, no side over MAX_SIDE."""
    size = searched_size(image.shape)
    if size != image.shape[:2]:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return (image.astype(np.float32) - 127.5) * np.float32(1 / 128)


def pyramid(size: tuple[int, int], min_face_size: int, scale_factor: float) -> Iterator[tuple[int, int]]:
    """Yield the [height, width] of each level: faces of min_face_size fill P-Net's window in the first."""
    scale = WINDOW / min_face_size
    while min(size) * scale >= WINDOW:
        yield int(size[0] * scale), int(size[1] * scale)
        scale *= scale_factor


def moved(boxes: Float32Array, offsets: Float32Array) -> Float32Array:
    """Move the four edges [n, 4] by the networks' offsets, which are in units of the box's width and height."""
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def squared(boxes: Float32Array) -> Float32Array:
    """Grow the shorter side of each box [n, 4] to the longer, about the same middle."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def suppress(candidates: Candidates, limit: float, of_smaller: bool = False) -> Candidates:
    """Greedy non-maximum suppression in one photo: best first, without boxes that overlap a better one by > limit.

    Overlap is intersection over union, or with `of_smaller` intersection over the smaller area.
    """
    best_first = candidates.take(np.argsort(-candidates.logits, kind="stable"))
    boxes = best_first.boxes
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    alive = np.ones(len(boxes), dtype=bool)
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        rest = slice(i + 1, None)
        low = np.maximum(boxes[i, :2], boxes[rest, :2])
        high = np.minimum(boxes[i, 2:], boxes[rest, 2:])
        shared = (high - low).clip(min=0).prod(axis=1)
        whole = np.minimum(areas[i], areas[rest]) if of_smaller else areas[i] + areas[rest] - shared
        alive[rest] &= shared <= limit * whole
    return best_first.take(alive)


def crops_by_chunks(photos: Sequence[Tensor], candidates: Candidates, side: int) -> Iterator[Tensor]:
    """Yield the candidates' crops [<= CHUNK_CROPS, 3, side, side], bilinear, mid-grey beyond the photo's edge."""
    for start in range(0, len(candidates.logits), CHUNK_CROPS):
        part = candidates.take(slice(start, start + CHUNK_CROPS))
        yield torch.cat([crop(photos[i], part.of_photo(i).boxes, side) for i in np.unique(part.photo)])


def crop(photo: Tensor, boxes: Float32Array, side: int) -> Tensor:  # [1, 3, H, W], [n, 4] -> [n, 3, side, side]
    """Sample side x side points of each box, from the middle of its first pixel to the middle of its last."""
    steps = np.linspace(0, 1, side, dtype=np.float32)
    x, y = (boxes[:, [i]] + 0.5 + (boxes[:, [i + 2]] - boxes[:, [i]] - 1) * steps for i in (0, 1))  # [n, side] each
    points = np.empty((len(boxes), side, side, 2), np.float32)  # grid_sample's own scale: the photo is -1..1
    points[..., 0] = (x * (2 / photo.shape[-1]) - 1)[:, None, :]
    points[..., 1] = (y * (2 / photo.shape[-2]) - 1)[:, :, None]
    grid = torch.from_numpy(points.reshape(1, -1, side, 2)).to(photo.device)
    sampled = functional.grid_sample(photo, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.view(3, len(boxes), side, side).transpose(0, 1)


def output(located: Candidates, searched: Sequence[int], size: Sequence[int]) -> Faces:
    """Turn what was found in the `searched` copy into `Faces` of the photo (both [height, width])."""
    if located.landmarks is None:
        return Faces.none()
    to_photo = np.divide(size[::-1], searched[::-1], dtype=np.float32)
    corners = (located.boxes.reshape(-1, 2, 2) * to_photo).clip(0, np.asarray(size[::-1], np.float32))
    boxes = np.concatenate([corners[:, 0], corners[:, 1] - corners[:, 0]], axis=1)
    landmarks = located.landmarks * to_photo - np.float32(0.5)
    scores = (1 / (1 + np.exp(-located.logits))).astype(np.float32)
    return Faces(boxes, landmarks, scores).take(np.flatnonzero(boxes[:, 2:].min(axis=1) > 0))
