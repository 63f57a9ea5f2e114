"""Measures, on real crops, how far the backends and precisions of a model differ, and how fast each is.

`python -m benchmarks.measurements.embedding_precision MODEL CROPS_DIR`: CROPS_DIR holds aligned crops, as large as
the model's input or with an even border around it, which is cut away.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from faceid.models.embedding import Backend, Embedder, Precision
from faceid.models.model_file import ONNX, Model, ModelError
from faceid.models.model_zoo import find_model
from faceid.vision.opencv import cv2

BATCHES = (1, 8, 64)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@click.command()
@click.argument("model")
@click.argument("crops_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--count", default=1000, show_default=True, help="How many crops to compare on.")
@click.option("--seconds", default=2.0, show_default=True, help="How long to time each batch size.")
def main(model: str, crops_dir: Path, count: int, seconds: float) -> None:
    """Print cosines to the model's own float32 backend, and the speed, of all that runs here."""
    found = find_model(model)
    crops = read_crops(crops_dir, found.spec.input_size, count)
    headers = ["backend", "precision", "min cosine", "mean cosine"]
    headers += [f"{unit} at {batch}" for batch in BATCHES for unit in ("img/s", "CPU ms")]
    click.echo(f"{found.spec.name} ({found.spec.architecture}, digest {found.digest[:12]}), {len(crops)} crops")
    click.echo(tabulate(compare(found, crops, seconds), headers, floatfmt=("", "", ".7f", ".7f", *[".0f", ".1f"] * 3)))


def read_crops(directory: Path, input_size: tuple[int, int], count: int) -> NDArray[np.uint8]:
    """Read `count` crops spread evenly over a directory's images: uint8 RGB [N, H, W, 3], borders cut away."""
    paths = sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES)
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]
    height, width = input_size
    crops = np.empty((len(chosen), height, width, 3), np.uint8)
    for crop, path in zip(crops, chosen, strict=True):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None or image.shape[0] < height or image.shape[1] < width:
            raise click.ClickException(f"{path}: no image of at least {height}x{width} pixels")
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        crop[:] = image[top : top + height, left : left + width, ::-1]
    return crops


def compare(model: Model, crops: NDArray[np.uint8], seconds: float) -> list[Sequence[str | float]]:
    """Return a row for each backend and precision that runs here, the reference first."""
    native: Backend = "onnxruntime" if model.spec.architecture == ONNX else "torch"
    choices: list[tuple[Backend, Precision]] = [
        (native, "float32"),
        ("openvino", "float32"),
        (native, "bfloat16"),
        ("openvino", "bfloat16"),
    ]
    rows: list[Sequence[str | float]] = []
    reference: NDArray[np.float32] | None = None
    for backend, precision in choices:
        try:
            embedder = Embedder(model, backend=backend, precision=precision)
        except ModelError as error:
            click.echo(f"{backend} {precision}: {error}", err=True)
            continue
        embeddings = embedder.embed(crops)
        reference = embeddings if reference is None else reference
        cosines = np.einsum("nd,nd->n", embeddings, reference, dtype=np.float64)
        speeds = [figure for batch in BATCHES for figure in speed(embedder, crops[:batch], seconds)]
        rows.append([backend, precision, cosines.min(), cosines.mean(), *speeds])
    return rows


def speed(embedder: Embedder, crops: NDArray[np.uint8], seconds: float) -> tuple[float, float]:
    """Embed these crops again and again: images a second by the clock, and milliseconds of CPU time an image.

    The second figure, of all threads together, hardly depends on what else the machine is doing.
    """
    embedder.embed(crops)
    start, cpu, done = time.perf_counter(), time.process_time(), 0
    while (elapsed := time.perf_counter() - start) < seconds or done == 0:
        embedder.embed(crops)
        done += len(crops)
    return done / elapsed, 1000 * (time.process_time() - cpu) / done


if __name__ == "__main__":
    main()
