"""Training speed: the count of operations against a count by hand, and the measurement from end to end."""

from pathlib import Path
from typing import TextIO

import pytest

from tests.training.tiny_run import config
from training.config import Config
from training.data.opening import TrainingData
from training.logs import CsvLog
from training.research import speed as module
from training.research.speed import TrainingSpeed, flop_per_image, measure_speed, report
from training.trainer import TRAINING_LOG


def test_operations_are_those_counted_by_hand(packs: Path, tmp_path: Path) -> None:
    # sphereface4 at 16x16, width 1/8: convolutions of stride 2 to 8, 16, 32, 64 channels on 8, 4, 2, 1 pixels; 64 x 8.
    forward = 9 * (3 * 8 * 64 + 8 * 16 * 16 + 16 * 32 * 4 + 32 * 64 * 1) + 64 * 8
    backward = 2 * forward - 9 * 3 * 8 * 64  # the images get no gradient
    assert flop_per_image(config(packs, tmp_path)) == pytest.approx(2 * (forward + backward), rel=0.01)


def test_a_config_is_measured_by_the_median_of_its_steps_beside_the_products_around_them(
    packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[Config, int]] = []

    def train(config: Config, folder: Path, progress: TextIO, data: TrainingData) -> None:
        trained.append((config, len(data.training.labels)))
        log = CsvLog(folder / TRAINING_LOG, keep_until=0)
        for step, images_per_second in ((10, 1.0), (20, 50.0), (30, 700.0), (40, 60.0)):
            log.add(step, {"images_per_second": images_per_second})

    products = iter((1e9, 3e9))
    monkeypatch.setattr(module, "run", train)
    monkeypatch.setattr(module, "product_flops", lambda config: next(products))
    settings = config(packs, tmp_path, batch_size=4, epochs=9)
    speed = measure_speed(settings)
    ((short, faces),) = trained
    assert short.batch_size == 4
    assert faces <= module.STEPS * 4
    assert module.STEPS <= short.epochs * (faces // 4) < 2 * module.STEPS, "few faces are gone through several times"
    assert speed.images_per_second == 60, "the median, without the first steps, which warm up"
    assert speed.product_flops == 2e9, "the mean of before and after"
    assert speed.share == pytest.approx(60 * flop_per_image(settings) / 2e9)


@pytest.mark.slow
def test_a_config_is_trained_to_be_measured(packs: Path, tmp_path: Path) -> None:
    settings = config(packs, tmp_path, batch_size=4)
    speed = measure_speed(settings)
    seconds = 4 / speed.images_per_second
    assert speed.flop_per_image == flop_per_image(settings)
    assert 0 < speed.share < 1, f"{seconds:.3f} s a step would be faster than products of matrices"


def test_the_report_says_what_share_of_the_product_it_is() -> None:
    speed = TrainingSpeed(images_per_second=100, flop_per_image=2e9, product_flops=1e12, peak_memory_bytes=2**31)
    first, second, third = report(speed)
    assert first.startswith("100 images/s at 2.000 GFLOP an image")
    assert "training reaches 20 % of that" in second
    assert "2.0 GiB" in third
