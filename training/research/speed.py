"""How fast a config trains here, and what share that is of the fastest that this machine multiplies matrices."""

import io
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.results.provenance import peak_memory
from faceid.models.networks import build_network
from training.config import Config
from training.data.faces import Selection
from training.data.opening import TrainingData, open_data
from training.logs import CsvLog
from training.trainer import TRAINING_LOG, in_bfloat16, run

STEPS, LOG_STEPS = 60, 10
SIDES = {"cpu": 2048, "cuda": 8192}  # of the square matrices: large enough for the best rate
PRODUCTS = 20


@dataclass(frozen=True)
class TrainingSpeed:
    """What was measured, in one process.

    Attributes:
        images_per_second: median over tens of steps: reading, augmentation, network, loss and optimiser.
        flop_per_image: of the network, forward and backward; a multiply-add counts two.
        product_flops: floating-point operations a second of square matrix products in the config's precision, on as
            many threads or on the GPU, before and after the steps (the mean of both).
        peak_memory_bytes: of the process, the decoded faces included; of the GPU's memory where one trains.
    """

    images_per_second: float
    flop_per_image: float
    product_flops: float
    peak_memory_bytes: int

    @property
    def share(self) -> float:
        """Share of the matrix product's rate that the network's own operations reach, in 0..1."""
        return self.images_per_second * self.flop_per_image / self.product_flops


def measure_speed(config: Config, data: TrainingData | None = None) -> TrainingSpeed:
    """Train `STEPS` steps of a config, without validation and from its start, and time them.

    `data` is what `open_data(config.data)` gives, for callers who have it.

    Raises:
        ConfigError, DataError: as `training.trainer.run`.
    """
    data = data if data is not None else open_data(config.data)
    few = np.arange(min(len(data.training.labels), STEPS * config.batch_size))
    some = Selection(data.training, few, data.training.labels[few], data.training.identities)
    epochs = -(-STEPS // max(1, len(few) // config.batch_size))  # of few faces several: the median is of several lines
    last = 10**9
    short = replace(
        config, epochs=epochs, initial=None, log_steps=LOG_STEPS, validation_steps=last, checkpoint_steps=last
    )
    before = product_flops(config)
    with tempfile.TemporaryDirectory() as folder:
        run(short, Path(folder), io.StringIO(), TrainingData(some, data.validation))
        log = CsvLog(Path(folder) / TRAINING_LOG, keep_until=STEPS)
        speeds = [speed for (speed,) in log.rows("images_per_second")]
    after = product_flops(config)
    memory = torch.cuda.max_memory_allocated() if config.device == "cuda" else peak_memory()
    return TrainingSpeed(statistics.median(speeds[1:]), flop_per_image(config), (before + after) / 2, memory)


def flop_per_image(config: Config) -> float:
    """Count the network's operations for one image, forward and backward."""
    network = build_network(config.network.name, **config.network.arguments)
    images = torch.zeros(2, 3, *config.input_size)
    with FlopCounterMode(display=False) as counter:
        network(images).sum().backward()
    return float(counter.get_total_flops()) / len(images)


def product_flops(config: Config) -> float:
    """Operations a second of square matrix products: one stream of them a thread, or the GPU's."""
    side = SIDES[config.device]
    kind = torch.bfloat16 if in_bfloat16(config) else torch.float32
    matrix = torch.randn(side, side, device=config.device).to(kind)
    if config.device == "cuda":
        return PRODUCTS * 2 * side**3 / _seconds_on_gpu(matrix)

    def multiply() -> None:
        torch.set_num_threads(1)
        for _ in range(PRODUCTS):
            matrix @ matrix

    with ThreadPoolExecutor(config.threads) as pool:
        start = time.perf_counter()
        for done in [pool.submit(multiply) for _ in range(config.threads)]:
            done.result()
        seconds = time.perf_counter() - start
    return config.threads * PRODUCTS * 2 * side**3 / seconds


def _seconds_on_gpu(matrix: Tensor) -> float:
    for _ in range(3):
        matrix @ matrix
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(PRODUCTS):
        matrix @ matrix
    torch.cuda.synchronize()
    return time.perf_counter() - start


def report(speed: TrainingSpeed) -> list[str]:
    """Write the measurement in words."""
    return [
        f"{speed.images_per_second:.0f} images/s at {speed.flop_per_image / 1e9:.3f} GFLOP an image, forward and back: "
        f"{speed.images_per_second * speed.flop_per_image / 1e9:.0f} GFLOP/s",
        f"square matrix products of that precision on the same device: {speed.product_flops / 1e9:.0f} GFLOP/s; "
        f"training reaches {100 * speed.share:.0f} % of that",
        f"peak memory {speed.peak_memory_bytes / 2**30:.1f} GiB, decoded faces included",
    ]
