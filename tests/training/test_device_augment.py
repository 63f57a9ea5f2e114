"""What a device makes of a face is what a processor makes of it, by the same draws."""

import numpy as np
import pytest
import torch

from training.augment import Augmentation, augment
from training.device_augment import augment_on_device, refusal

MOVES = Augmentation(flip=0.5, shift=3, rotation=6, scale=0.08, contrast=0.2, brightness=20)


def faces(count: int) -> np.ndarray:
    """Smooth pictures: where they are steep, two ways of bilinear sampling may differ by more than rounding."""
    y, x = np.mgrid[:120, :120] / 120
    random = np.random.default_rng(5)
    waves = [
        128 + 100 * np.sin(2 * np.pi * (random.uniform(0.5, 2) * x + random.uniform(0.5, 2) * y)) for _ in range(3)
    ]
    one = np.stack(waves, axis=-1).astype(np.uint8)
    return np.stack([np.roll(one, 7 * index, axis=1) for index in range(count)])


on_a_gpu = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")],
)


@pytest.mark.parametrize("device", ["cpu", on_a_gpu])
def test_moves_and_light_are_the_processors(device: str) -> None:
    packed = faces(16)
    on_processor = augment(packed, (112, 96), MOVES, np.random.default_rng(3))
    on_device = augment_on_device(torch.from_numpy(packed).to(device), (112, 96), MOVES, np.random.default_rng(3)).cpu()
    assert on_device.dtype == torch.uint8
    apart = np.abs(on_processor.astype(int) - on_device.numpy().astype(int))
    assert apart.mean() < 0.5
    assert np.quantile(apart, 0.99) <= 2


@pytest.mark.parametrize("worsened", ["low_resolution", "blur"])
def test_worsened_faces_lose_detail_and_keep_their_mean(worsened: str) -> None:
    noise = torch.from_numpy(np.random.default_rng(1).integers(60, 190, (32, 120, 120, 3)).astype(np.uint8))
    still = {"flip": 0.0, "shift": 0.0}
    plain = augment_on_device(noise, (112, 96), Augmentation(**still), np.random.default_rng(2)).float()
    worse = augment_on_device(
        noise, (112, 96), Augmentation(**still, **{worsened: 1.0}), np.random.default_rng(2)
    ).float()
    assert worse.std() < 0.8 * plain.std()
    assert worse.mean() == pytest.approx(plain.mean(), abs=2)


@pytest.mark.parametrize("cover", ["mask", "sunglasses"])
def test_covers_are_where_the_processor_draws_them(cover: str) -> None:
    green = np.full((64, 120, 120, 3), (0, 255, 0), np.uint8)
    settings = Augmentation(flip=0, shift=0, **{cover: 1.0})
    here = augment(green, (112, 96), settings, np.random.default_rng(2))
    there = augment_on_device(torch.from_numpy(green), (112, 96), settings, np.random.default_rng(2)).numpy()
    hidden = [(crops != green[0, 0, 0]).any(3).mean(0) for crops in (here, there)]
    assert np.abs(hidden[0] - hidden[1]).max() < 0.35  # of 64 shapes each
    assert hidden[0].mean() == pytest.approx(hidden[1].mean(), rel=0.05)
    assert (green == (0, 255, 0)).all()


def test_grey_and_motion_on_a_device_are_the_processors() -> None:
    packed = faces(8)
    still = {"flip": 0.0, "shift": 0.0}
    here, there = (
        np.asarray(make(some, (112, 96), Augmentation(**still, grey=1.0), np.random.default_rng(2))).astype(int)
        for make, some in ((augment, packed), (augment_on_device, torch.from_numpy(packed)))
    )
    assert np.abs(here - there).max() <= 2
    assert (here == here[..., :1]).all()
    smeared, plain = (
        augment_on_device(torch.from_numpy(packed), (112, 96), settings, np.random.default_rng(2)).float()
        for settings in (Augmentation(**still, motion=1.0), Augmentation(**still))
    )
    assert smeared.std() < plain.std()
    assert smeared.mean().item() == pytest.approx(plain.mean().item(), abs=3)


def test_nothing_of_it_stays_on_the_processor() -> None:
    """Torch's device `meta` holds nothing, and refuses the processor's tensors among its own as a GPU does."""
    everything = dict.fromkeys(("low_resolution", "blur", "occlusion", "mask", "sunglasses", "grey", "motion"), 0.5)
    packed = torch.empty((32, 120, 120, 3), dtype=torch.uint8, device="meta")
    crops = augment_on_device(packed, (112, 96), Augmentation(**everything), np.random.default_rng(2))
    assert (crops.device.type, crops.shape) == ("meta", (32, 112, 96, 3))


def test_an_occluded_face_is_black_outside_a_box() -> None:
    grey = torch.full((64, 120, 120, 3), 128, dtype=torch.uint8)
    crops = augment_on_device(grey, (112, 96), Augmentation(occlusion=1.0), np.random.default_rng(2))
    seen = crops[..., 0] > 0
    areas = seen.float().mean((1, 2))
    assert 0.15 < areas.min() < 0.4
    assert areas.max() > 0.8
    rows, columns = seen.any(2).sum(1), seen.any(1).sum(1)
    assert torch.equal(seen.sum((1, 2)), rows * columns)  # a box, whole


def test_what_a_device_cannot_do_is_said() -> None:
    assert refusal((112, 96), MOVES) is None
    assert "jpeg" in str(refusal((112, 96), Augmentation(jpeg=0.1)))
    assert "112 pixels" in str(refusal((64, 64), MOVES))
