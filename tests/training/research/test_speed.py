"""Training speed: the count of operations against a count by hand, and the measurement from end to end."""

from pathlib import Path

import pytest

from tests.training.tiny_run import config
from training.research.speed import TrainingSpeed, flop_per_image, measure_speed, report


def test_operations_are_those_counted_by_hand(packs: Path, tmp_path: Path) -> None:
    # sphereface4 at 16x16, width 1/8: convolutions of stride 2 to 8, 16, 32, 64 channels on 8, 4, 2, 1 pixels; 64 x 8.
    forward = 9 * (3 * 8 * 64 + 8 * 16 * 16 + 16 * 32 * 4 + 32 * 64 * 1) + 64 * 8
    backward = 2 * forward - 9 * 3 * 8 * 64  # the images get no gradient
    assert flop_per_image(config(packs, tmp_path)) == pytest.approx(2 * (forward + backward), rel=0.01)


def test_a_config_is_measured(packs: Path, tmp_path: Path) -> None:
    speed = measure_speed(config(packs, tmp_path, batch_size=4))
    assert speed.images_per_second > 0
    assert speed.product_flops > 0
    assert speed.share > 0


def test_the_report_says_what_share_of_the_product_it_is() -> None:
    speed = TrainingSpeed(images_per_second=100, flop_per_image=2e9, product_flops=1e12, peak_memory_bytes=2**31)
    first, second, third = report(speed)
    assert first.startswith("100 images/s at 2.000 GFLOP an image")
    assert "training reaches 20 % of that" in second
    assert "2.0 GiB" in third
