"""The same chance as `training.augment`, for faces that lie in a GPU's memory: as fast as the network learns."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from training.augment import BLUR, CROP, LOW_RESOLUTION, MOTION, OCCLUSION, Augmentation, draw, motion_kernel
from training.covers import glasses_colour, mask_colour, opacities

GROUPS = 8  # worsened crops share their size or width of blur in groups: a call a group, where a call a crop is slow


def augment_on_device(
    faces: Tensor, size: tuple[int, int], augmentation: Augmentation, random: np.random.Generator
) -> Tensor:
    """Packed faces uint8 [B, side, side, 3] -> crops uint8 [B, h, w, 3] on the same device.

    Moved and lit by the same draws as `augment` makes of this state of `random`; low resolution, blur and occlusion are
    drawn alike but not the same. JPEG, and crops of less than 112 pixels in height, are left to the processor.
    """
    drawn = draw(len(faces), faces.shape[1], size, augmentation, random)
    faces = _covered(faces, drawn.covered, random)
    crops = _sample(faces, drawn.matrices, size)
    gains, lifts = (_along_batch(values, faces.device) for values in (drawn.gains, drawn.lifts))
    crops = ((crops - 127.5) * gains + 127.5 + lifts).clamp(0, 255).round()
    low, blurred, _, occluded = drawn.worsened.T
    grey, moved = drawn.altered.T
    _worsen(crops, np.flatnonzero(grey), _grey)
    for chosen in np.array_split(random.permutation(np.flatnonzero(moved)), GROUPS) if moved.any() else ():
        _worsen(crops, chosen, lambda some: _motion(some, random))
    for chosen in np.array_split(random.permutation(np.flatnonzero(low)), GROUPS):
        _worsen(crops, chosen, lambda some: _low_resolution(some, random))
    for chosen in np.array_split(random.permutation(np.flatnonzero(blurred)), GROUPS):
        _worsen(crops, chosen, lambda some: _blur(some, random))
    _worsen(crops, np.flatnonzero(occluded), lambda some: _occlusion(some, random))
    return crops.permute(0, 2, 3, 1).round().to(torch.uint8)


def refusal(size: tuple[int, int], augmentation: Augmentation) -> str | None:
    """Say why this augmentation cannot be had on a device; None where it can."""
    if augmentation.jpeg > 0:
        return "augmentation.jpeg needs a processor"
    if size[0] < CROP:
        return f"an input of less than {CROP} pixels in height is sampled by a processor"
    return None


def _sample(faces: Tensor, matrices: npt.NDArray[np.float64], size: tuple[int, int]) -> Tensor:
    """Cut the crops whose pixel p shows the face at matrix @ p: float32 [B, 3, h, w], bilinear, border repeated."""
    height, width = size
    side = faces.shape[1]
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x.ravel(), y.ravel(), np.ones(height * width)])
    # In float32 on the device: 1e-5 of a pixel.
    places = torch.from_numpy(matrices[:, :2]).float().to(faces.device) @ torch.from_numpy(pixels).float().to(
        faces.device
    )
    grid = (places * (2 / (side - 1)) - 1).transpose(1, 2).reshape(-1, height, width, 2)
    return functional.grid_sample(
        faces.permute(0, 3, 1, 2).float(), grid, mode="bilinear", padding_mode="border", align_corners=True
    )


def _covered(faces: Tensor, covered: npt.NDArray[np.bool_], random: np.random.Generator) -> Tensor:
    """Draw masks and sunglasses, shapes drawn ahead in colours drawn now; uint8 [B, side, side, 3]."""
    if not covered.any():
        return faces
    faces = faces.clone()
    shapes = opacities(faces.shape[1])
    for opacity, colour, happens in zip(shapes, (mask_colour, glasses_colour), covered.T, strict=True):
        chosen = np.flatnonzero(happens)
        if len(chosen) > 0:
            indices = torch.from_numpy(chosen).to(faces.device)
            drawn = torch.from_numpy(opacity[random.integers(len(opacity), size=len(chosen))]).to(faces.device)
            colours = torch.tensor([colour(random) for _ in chosen], dtype=torch.float32).to(faces.device)
            some = faces[indices].float()
            some += drawn[..., None] * (colours[:, None, None] - some)
            faces[indices] = some.clamp(0, 255).round().to(torch.uint8)
    return faces


def _worsen(crops: Tensor, chosen: npt.NDArray[np.int64], worsen: Callable[[Tensor], Tensor]) -> None:
    if len(chosen) > 0:
        indices = torch.from_numpy(chosen).to(crops.device)
        crops[indices] = worsen(crops[indices])


def _grey(crops: Tensor) -> Tensor:
    """Leave the brightness alone, by the weights of ITU-R BT.601."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=crops.device)[:, None, None]
    return (crops * weights).sum(1, keepdim=True).expand(-1, 3, -1, -1)


def _motion(crops: Tensor, random: np.random.Generator) -> Tensor:
    """Smear these crops along one line."""
    length = max(1, round(random.uniform(*MOTION) * crops.shape[2] / CROP)) | 1  # odd: as much on both sides
    kernel = torch.from_numpy(motion_kernel(length, random.uniform(0, np.pi))).to(crops.device)
    padded = functional.pad(crops, (length // 2,) * 4, mode="reflect")
    return functional.conv2d(padded, kernel.expand(3, 1, -1, -1), groups=3)


def _low_resolution(crops: Tensor, random: np.random.Generator) -> Tensor:
    """Make these crops smaller and large again, all by one factor and one of the ways in use."""
    height, width = crops.shape[2:]
    factor = random.uniform(*LOW_RESOLUTION)
    smaller = (max(1, round(height * factor)), max(1, round(width * factor)))
    down, up = random.choice(["nearest", "bilinear", "bicubic", "area"], 2)
    small = functional.interpolate(crops, smaller, mode=str(down))
    return functional.interpolate(small, (height, width), mode=str(up)).clamp(0, 255)


def _blur(crops: Tensor, random: np.random.Generator) -> Tensor:
    """Blur these crops by a Gaussian of one width."""
    deviation = random.uniform(*BLUR) * crops.shape[2] / CROP
    reach = max(1, round(3 * deviation))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=crops.device) / deviation) ** 2)
    weights = (weights / weights.sum()).expand(3, 1, -1)
    padded = functional.pad(crops, (reach, reach, reach, reach), mode="reflect")
    rows = functional.conv2d(padded, weights[:, :, None, :], groups=3)
    return functional.conv2d(rows, weights[:, :, :, None], groups=3)


def _occlusion(crops: Tensor, random: np.random.Generator) -> Tensor:
    """Black outside a box of each crop that is 3/4 to 4/3 as wide as high, where it fits."""
    count, _, height, width = crops.shape
    areas, shapes = random.uniform(*OCCLUSION, count), np.sqrt(random.uniform(3 / 4, 4 / 3, count))
    seen = [
        _span(np.clip(np.rint(length * np.sqrt(areas) * shape), 1, length), length, random)
        for length, shape in ((height, 1 / shapes), (width, shapes))
    ]
    rows, columns = (torch.from_numpy(part).to(crops.device) for part in seen)
    return crops * rows[:, None, :, None] * columns[:, None, None, :]


def _span(lengths: npt.NDArray[np.float64], whole: int, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw where spans of these lengths lie in `whole` pixels: bool [B, whole]."""
    starts = np.floor(random.random(len(lengths)) * (whole - lengths + 1))
    pixels = np.arange(whole)
    inside: npt.NDArray[np.bool_] = (pixels >= starts[:, None]) & (pixels < (starts + lengths)[:, None])
    return inside


def _along_batch(values: npt.NDArray[np.float64], device: torch.device) -> Tensor:
    return torch.from_numpy(values).float().to(device)[:, None, None, None]
