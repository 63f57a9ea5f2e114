"""From packed faces to the network's input: one affine map a face, with or without chance in it."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faceid.vision.opencv import cv2
from training.covers import draw_mask, draw_sunglasses

UInt8Images = npt.NDArray[np.uint8]
UInt8Image = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]

LOW_RESOLUTION = (0.2, 1.0)
BLUR = (0.3, 2.0)  # pixels of the 112x112 crop
JPEG_QUALITY = (20, 90)
OCCLUSION = (0.2, 1.0)
MOTION = (3, 13)  # pixels of the 112x112 crop
INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)

CROP = 112  # side of the aligned crop inside a packed face; the rest is border


@dataclass(frozen=True)
class Augmentation:
    """How far chance may go; lengths are in pixels of the 112x112 crop, every draw is uniform.

    Attributes:
        flip: probability of mirroring left and right.
        shift: largest shift along x and along y.
        rotation: largest rotation, in degrees.
        scale: largest relative change of size.
        contrast: largest relative change of contrast about mid-grey.
        brightness: largest change of brightness, in grey levels of 255.
        plain_sampling: probability that a smaller crop is sampled without low-pass filter, as by an aligner
            that warps the photo straight to the input size.
        low_resolution: probability of a crop as of a smaller face, of 0.2 to 1 of its size (AdaFace, Kim et al. 2022,
            section 4.1, for this and `occlusion`).
        blur: probability of Gaussian blur, standard deviation 0.3 to 2 pixels.
        jpeg: probability of JPEG at a quality of 20 to 90.
        occlusion: probability that only a box of the crop, 0.2 to 1 of its area, is seen and the rest is black.
        mask: probability of a mask drawn over nose and mouth (`training.covers`).
        sunglasses: probability of dark glasses drawn over the eyes.
        grey: probability of a face without colour.
        motion: probability of a smear along a line of 3 to 13 pixels, as of a face that moves.
    """

    flip: float = 0.5
    shift: float = 4.0
    rotation: float = 0.0
    scale: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    plain_sampling: float = 0.0
    low_resolution: float = 0.0
    blur: float = 0.0
    jpeg: float = 0.0
    occlusion: float = 0.0
    mask: float = 0.0
    sunglasses: float = 0.0
    grey: float = 0.0
    motion: float = 0.0


@dataclass(frozen=True)
class Chances:
    """What chance made of B faces.

    Attributes:
        matrices: float64 [B, 3, 3], pixels of each crop to pixels of its packed face.
        gains: float64 [B], factor on the contrast about mid-grey.
        lifts: float64 [B], added brightness in grey levels.
        plain: bool [B], sampled without low-pass filter.
        worsened: bool [B, 4]: low resolution, blur, JPEG, occlusion.
        covered: bool [B, 2]: mask, sunglasses.
        altered: bool [B, 2]: grey, motion.
    """

    matrices: Doubles
    gains: Doubles
    lifts: Doubles
    plain: npt.NDArray[np.bool_]
    worsened: npt.NDArray[np.bool_]
    covered: npt.NDArray[np.bool_]
    altered: npt.NDArray[np.bool_]


def draw(
    count: int, side: int, size: tuple[int, int], augmentation: Augmentation, random: np.random.Generator
) -> Chances:
    """Draw what `augment` does to `count` packed faces of `side` x `side` pixels."""
    mirrored = random.random(count) < augmentation.flip
    angles = np.radians(augmentation.rotation) * random.uniform(-1, 1, count)
    scales = 1 + augmentation.scale * random.uniform(-1, 1, count)
    shifts = augmentation.shift * random.uniform(-1, 1, (count, 2))
    gains = 1 + augmentation.contrast * random.uniform(-1, 1, count)
    lifts = augmentation.brightness * random.uniform(-1, 1, count)
    plain = random.random(count) < augmentation.plain_sampling
    chances = [augmentation.low_resolution, augmentation.blur, augmentation.jpeg, augmentation.occlusion]
    worsened = random.random((count, len(chances))) < chances
    # Drawn last, and where they are wanted: an older config draws what it always did.
    newer = [augmentation.mask, augmentation.sunglasses, augmentation.grey, augmentation.motion]
    more = random.random((count, len(newer))) < newer if any(newer) else np.zeros((count, len(newer)), np.bool_)
    jitters = _about_centre(side, angles, scales, mirrored, shifts)
    return Chances(jitters @ _crop_to_face(side, size), gains, lifts, plain, worsened, more[:, :2], more[:, 2:])


def augment(
    faces: UInt8Images, size: tuple[int, int], augmentation: Augmentation, random: np.random.Generator
) -> UInt8Images:
    """Packed faces [B, side, side, 3] -> crops [B, h, w, 3], each moved and lit a little differently."""
    drawn = draw(len(faces), faces.shape[1], size, augmentation, random)
    crops = np.empty((len(faces), *size, 3), np.uint8)
    for index, whole in enumerate(faces):
        face = whole
        for cover, happens in zip((draw_mask, draw_sunglasses), drawn.covered[index], strict=True):
            face = cover(face, random) if happens else face
        crop = _sample(face, drawn.matrices[index], size, plain=bool(drawn.plain[index]))
        levels = (np.arange(256) - 127.5) * drawn.gains[index] + 127.5 + drawn.lifts[index]
        crop = np.asarray(cv2.LUT(crop, np.clip(np.rint(levels), 0, 255).astype(np.uint8)), np.uint8)
        ways = (_grey, _motion, _low_resolution, _blur, _jpeg, _occlusion)
        for worsen, happens in zip(ways, (*drawn.altered[index], *drawn.worsened[index]), strict=True):
            crop = worsen(crop, random) if happens else crop
        crops[index] = crop
    return crops


def centre_crops(faces: UInt8Images, size: tuple[int, int]) -> UInt8Images:
    """Packed faces [B, side, side, 3] -> crops [B, h, w, 3], as they are."""
    matrix = _crop_to_face(faces.shape[1], size)
    crops = np.empty((len(faces), *size, 3), np.uint8)
    for index, face in enumerate(faces):
        crops[index] = _sample(face, matrix, size, plain=False)
    return crops


def _crop_to_face(side: int, size: tuple[int, int]) -> Doubles:
    """Map pixels of the h x w crop to pixels of the packed face: [3, 3], pixel centres at integers.

    A crop shows the full height of the 112x112 crop and the middle w / h of its width, so that a landmark that lies on
    a reference point of 112x112 lies on that of the crop (`faceid.vision.alignment.centre_points`).
    """
    height, width = size
    step = CROP / height
    left = (side - width * step) / 2
    top = (side - CROP) / 2
    return np.array([[step, 0, left + step / 2 - 0.5], [0, step, top + step / 2 - 0.5], [0, 0, 1]])


def _about_centre(
    side: int, angles: Doubles, scales: Doubles, mirrored: npt.NDArray[np.bool_], shifts: Doubles
) -> Doubles:
    """Turn, scale, mirror about the middle of each face, then shift: [B, 3, 3], face pixels to face pixels."""
    cosines, sines = scales * np.cos(angles), scales * np.sin(angles)
    matrices = np.tile(np.eye(3), (len(angles), 1, 1))
    linear = matrices[:, :2, :2]
    linear[:] = np.array([[cosines, -sines], [sines, cosines]]).transpose(2, 0, 1)
    linear[mirrored, :, 0] *= -1
    middle = np.full(2, (side - 1) / 2)
    matrices[:, :2, 2] = middle - linear @ middle + shifts
    return matrices


def _sample(face: UInt8Images, matrix: Doubles, size: tuple[int, int], *, plain: bool) -> UInt8Images:
    """Cut the crop whose pixel p shows the face at matrix @ p; averaged over 2x2 where it is smaller."""
    height, width = size
    fine = 1 if plain or height >= CROP else 2
    finer = matrix @ np.array([[1 / fine, 0, 0.5 / fine - 0.5], [0, 1 / fine, 0.5 / fine - 0.5], [0, 0, 1]])
    crop = cv2.warpAffine(
        face,
        finer[:2],
        (width * fine, height * fine),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if fine > 1:
        crop = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, np.uint8)


def motion_kernel(length: int, angle: float) -> npt.NDArray[np.float32]:
    """Make a filter [length, length] that smears along a line; the angle in radians."""
    kernel = np.zeros((length, length), np.float32)
    middle = (length - 1) / 2
    reach = middle * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple(int(place) for place in np.rint(middle + sign * reach)) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    smear: npt.NDArray[np.float32] = kernel / kernel.sum()
    return smear


def _grey(crop: UInt8Image, _: np.random.Generator) -> UInt8Image:
    return np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)


def _motion(crop: UInt8Image, random: np.random.Generator) -> UInt8Image:
    length = round(random.uniform(*MOTION) * crop.shape[0] / CROP)
    return np.asarray(cv2.filter2D(crop, -1, motion_kernel(max(1, length), random.uniform(0, np.pi))))


def _low_resolution(crop: UInt8Image, random: np.random.Generator) -> UInt8Image:
    """Make the crop smaller and large again, by any of the ways in use."""
    height, width = crop.shape[:2]
    factor = random.uniform(*LOW_RESOLUTION)
    smaller = (max(1, round(width * factor)), max(1, round(height * factor)))
    down, up = random.choice(INTERPOLATIONS, 2)
    return np.asarray(cv2.resize(cv2.resize(crop, smaller, interpolation=down), (width, height), interpolation=up))


def _blur(crop: UInt8Image, random: np.random.Generator) -> UInt8Image:
    deviation = random.uniform(*BLUR) * crop.shape[0] / CROP
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), deviation))


def _jpeg(crop: UInt8Image, random: np.random.Generator) -> UInt8Image:
    quality = int(random.integers(*JPEG_QUALITY, endpoint=True))
    encoded = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))


def _occlusion(crop: UInt8Image, random: np.random.Generator) -> UInt8Image:
    """Black outside a box that is 3/4 to 4/3 as wide as high, where it fits."""
    height, width = crop.shape[:2]
    area, shape = random.uniform(*OCCLUSION), math.sqrt(random.uniform(3 / 4, 4 / 3))
    high = min(height, max(1, round(height * math.sqrt(area) / shape)))
    wide = min(width, max(1, round(width * math.sqrt(area) * shape)))
    top, left = random.integers(height - high + 1), random.integers(width - wide + 1)
    seen = np.zeros_like(crop)
    seen[top : top + high, left : left + wide] = crop[top : top + high, left : left + wide]
    return seen
