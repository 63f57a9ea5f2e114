"""A crop shows the face where the aligner would put it, and chance stays within its bounds."""

import numpy as np
import pytest

from faceid.vision.alignment import centre_points
from training.augment import Augmentation, augment, centre_crops, draw, motion_kernel

STILL = Augmentation(flip=0, shift=0)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ramp() -> np.ndarray:
    """A face whose red is its x and whose green is its y."""
    face = np.zeros((1, 120, 120, 3), np.uint8)
    face[..., 0] = np.arange(120)
    face[..., 1] = np.arange(120)[:, None]
    return face


def test_a_crop_of_112_is_the_pack_without_its_border() -> None:
    faces = random().integers(0, 256, (2, 120, 120, 3)).astype(np.uint8)
    assert np.array_equal(centre_crops(faces, (112, 112)), faces[:, 4:116, 4:116])
    assert np.array_equal(centre_crops(faces, (112, 96)), faces[:, 4:116, 12:108])


@pytest.mark.parametrize("size", [(64, 64), (112, 96), (32, 32), (96, 80), (56, 48)])
def test_a_landmark_of_the_pack_is_found_at_the_reference_point_of_the_crop(size: tuple[int, int]) -> None:
    crop = centre_crops(ramp(), size)[0]
    for (x, y), at in zip(centre_points(112, 112), centre_points(*size), strict=True):
        column, row = np.rint(at).astype(int)
        scale = 112 / size[0]
        assert crop[row, column, 0] == pytest.approx(x + 4 + (column - at[0]) * scale, abs=1)
        assert crop[row, column, 1] == pytest.approx(y + 4 + (row - at[1]) * scale, abs=1)


@pytest.mark.parametrize("size", [(64, 64), (112, 112)])
def test_without_chance_augmentation_is_the_plain_crop(size: tuple[int, int]) -> None:
    faces = random().integers(0, 256, (3, 120, 120, 3)).astype(np.uint8)
    assert np.array_equal(augment(faces, size, STILL, random()), centre_crops(faces, size))


@pytest.mark.parametrize("size", [(64, 64), (112, 96)])
def test_a_flip_is_the_mirror_image_of_the_crop(size: tuple[int, int]) -> None:
    faces = random().integers(0, 256, (3, 120, 120, 3)).astype(np.uint8)
    flipped = augment(faces, size, Augmentation(flip=1, shift=0), random()).astype(int)
    assert np.abs(flipped - centre_crops(faces, size)[:, :, ::-1]).max() <= 1


def test_half_of_the_faces_are_flipped() -> None:
    faces = np.repeat(ramp(), 400, 0)
    crops = augment(faces, (16, 16), Augmentation(flip=0.5, shift=0), random())
    assert 150 < (crops[:, 8, 0, 0] > crops[:, 8, -1, 0]).sum() < 250


def test_shifts_stay_within_their_bound_and_use_it() -> None:
    crops = augment(np.repeat(ramp(), 500, 0), (112, 112), Augmentation(flip=0, shift=4), random())
    for channel in (0, 1):
        moved = crops[:, 56, 56, channel].astype(int) - 60
        assert moved.min() == -4
        assert moved.max() == 4


def test_scale_and_rotation_keep_the_middle_of_the_face() -> None:
    crops = augment(
        np.repeat(ramp(), 50, 0), (112, 112), Augmentation(flip=0, shift=0, rotation=20, scale=0.1), random()
    )
    middle = crops[:, 55:57, 55:57, :2].astype(float).mean((1, 2))
    np.testing.assert_allclose(middle, 59.5, atol=0.6)
    assert crops[:, 55, 5, 1].std() > 3  # turned
    assert (crops[:, 55, 105, 0].astype(int) - crops[:, 55, 5, 0]).std() > 1  # larger and smaller


def test_light_changes_within_its_bounds() -> None:
    grey = np.full((300, 120, 120, 3), 100, np.uint8)
    crops = augment(grey, (16, 16), Augmentation(flip=0, shift=0, brightness=20), random())
    assert (crops == crops[:, :1, :1]).all()
    assert crops.min() in range(80, 83)
    assert crops.max() in range(118, 121)


def test_the_same_draw_gives_the_same_crops() -> None:
    faces = random().integers(0, 256, (3, 120, 120, 3)).astype(np.uint8)
    lively = Augmentation(rotation=5, scale=0.1, contrast=0.2, brightness=20, plain_sampling=0.5)
    one, same, other = (augment(faces, (64, 64), lively, random(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def noise() -> np.ndarray:
    return random(7).integers(0, 256, (40, 120, 120, 3)).astype(np.uint8)


def test_an_augmentation_that_never_happens_changes_no_draw_of_the_others() -> None:
    faces = noise()
    plain = Augmentation(rotation=5, contrast=0.2)
    assert np.array_equal(augment(faces, (64, 64), plain, random()), augment(faces, (64, 64), plain, random()))
    worse = augment(faces, (64, 64), Augmentation(rotation=5, contrast=0.2, blur=0.5), random())
    same = (worse == augment(faces, (64, 64), plain, random())).all((1, 2, 3))
    assert 8 < same.sum() < 32  # those without blur are the very crops


@pytest.mark.parametrize("kind", ["blur", "low_resolution", "jpeg"])
def test_a_worse_photo_has_less_detail_and_the_same_face(kind: str) -> None:
    faces = noise()
    plain = augment(faces, (112, 112), STILL, random()).astype(float)
    worse = augment(faces, (112, 112), Augmentation(flip=0, shift=0, **{kind: 1.0}), random()).astype(float)
    assert np.abs(worse.mean((1, 2)) - plain.mean((1, 2))).max() < 4
    detail = [np.abs(np.diff(crops, axis=1)).mean((1, 2, 3)) for crops in (worse, plain)]
    assert (detail[0] < detail[1]).mean() > 0.9


def test_an_occluded_crop_is_black_outside_one_box_of_a_fifth_or_more() -> None:
    faces = np.full((200, 120, 120, 3), 200, np.uint8)
    seen = augment(faces, (112, 96), Augmentation(flip=0, shift=0, occlusion=1), random())[..., 0] > 0
    for each in seen:
        rows, columns = np.flatnonzero(each.any(1)), np.flatnonzero(each.any(0))
        assert each[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert each.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    shares = seen.mean((1, 2))
    assert shares.min() == pytest.approx(0.2, abs=0.02)
    assert shares.max() > 0.9


def test_what_came_later_changes_no_draw_of_an_older_config() -> None:
    """The number that comes next, whatever an older config draws, is the one that came next before."""
    drawing = random(3)
    draw(16, 120, (112, 96), Augmentation(rotation=6, low_resolution=0.5), drawing)
    assert drawing.random() == 0.8764309030577203


def test_a_smear_keeps_the_sum_and_lies_along_its_line() -> None:
    for angle, axis in ((0.0, 0), (np.pi / 2, 1)):
        kernel = motion_kernel(9, angle)
        assert kernel.sum() == pytest.approx(1)
        assert np.count_nonzero(kernel.sum(1 - axis)) == 1 or np.count_nonzero(kernel.sum(axis)) == 1
        assert np.count_nonzero(kernel) == 9
