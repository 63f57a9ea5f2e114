"""What a GPU makes of a search, a distractor pass and embedding, beside the processor: the same answers, how fast.

python -m benchmarks.measurements.gpu search [--vectors 1000000]
python -m benchmarks.measurements.gpu distractors [--distractors 1000000]
python -m benchmarks.measurements.gpu embed CROPS.tar... [--model sphereface]
"""

import tarfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
import torch

from benchmarks.distractors.device_fold import device_pass
from benchmarks.distractors.distractor_pass import distractor_pass, mated_pairs
from benchmarks.inputs.aligned_crops import input_crop
from faceid.models.embedding import Embedder
from faceid.models.model_zoo import find_model
from faceid.vision.images import UInt8Image, decode
from indexer.records import FloatMatrix
from indexer.search.certified_search import Part, search
from indexer.search.shortlist import Segment

T = TypeVar("T")
DIMENSION = 256
QUERIES = 1024
BEST = 10
PROBES, PHOTOS = 3500, 40  # about MegaFace's: 3,530 probes of 80 people
KEPT = 1_000_000
COMPARED = 20_000  # distractors of which the processor counts too
FACES = 2048


@click.group(help=__doc__)
def main() -> None:
    """Say what measures."""
    if torch.cuda.is_available():
        click.echo(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")


@main.command("search")
@click.option("--vectors", default=1_000_000, show_default=True)
def search_command(vectors: int) -> None:
    """Search the same vectors by the index kinds gpu and int8: answers must be equal."""
    people = unit_rows(1, vectors)
    queries = unit_rows(2, QUERIES)
    queries[: QUERIES // 2] = near(people[:: vectors // QUERIES][: QUERIES // 2])
    parts = [Part(Segment(np.arange(vectors), people), np.arange(vectors))]
    found = {}
    for kind in ("gpu", "int8"):
        one, every = (partial(search, parts, some, BEST, kind=kind) for some in (queries[:1], queries))
        first, _ = timed(one)
        single = np.median([timed(one)[0] for _ in range(5)])
        batch, found[kind] = timed(every)
        click.echo(
            f"{kind}: {vectors:,} x {DIMENSION}: first search {first:.2f} s (the vectors are placed), then "
            f"{1e3 * single:.2f} ms for one photo, {batch:.3f} s for {QUERIES}; "
            f"proved {found[kind].exact_candidates.mean():.1%}"
        )
    same = all(np.array_equal(getattr(found["gpu"], name), getattr(found["int8"], name)) for name in ("ids", "scores"))
    click.echo(f"the answers of gpu and int8 are {'equal, scores to the last bit' if same else 'DIFFERENT'}")


@main.command("distractors")
@click.option("--distractors", default=1_000_000, show_default=True)
def distractors_command(distractors: int) -> None:
    """Count as MegaFace does, on the GPU and, for some of the distractors, on the processor: counts must be equal."""
    people = np.repeat(np.arange(-(-PROBES // PHOTOS)), PHOTOS)[:PROBES]
    probes = near(unit_rows(3, people.max() + 1)[people], 0.6)
    strangers = unit_rows(4, distractors)
    pairs = mated_pairs(probes, people)
    some = min(COMPARED, distractors)
    seconds, (here,) = timed(partial(distractor_pass, probes, pairs, strangers, [some], KEPT))
    click.echo(f"processor: {PROBES} probes, {some:,} distractors: {seconds:.1f} s")
    on_device = device_pass()
    seconds, (there,) = timed(partial(on_device, probes, pairs, strangers, [some], KEPT))
    names = ("above", "ties", "best", "best_at", "top_scores", "top_at", "accepted")
    same = all(np.array_equal(getattr(here, name), getattr(there, name)) for name in names)
    click.echo(f"GPU: the same in {seconds:.1f} s; the figures are {'equal' if same else 'DIFFERENT'}")
    seconds, _ = timed(partial(on_device, probes, pairs, strangers, [distractors], KEPT))
    click.echo(f"GPU: {distractors:,} distractors: {seconds:.1f} s")


@main.command("embed")
@click.argument("packs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", "models", multiple=True, default=["sphereface", "sphereface-scratch"], show_default=True)
def embed_command(packs: tuple[Path, ...], models: tuple[str, ...]) -> None:
    """Embed aligned crops on the GPU and on the processor: unit vectors must agree."""
    faces = [face for pack in packs for face in read_faces(pack)][:FACES]
    for name in models:
        model = find_model(name)
        crops = np.stack([input_crop(face, model.spec, Path(name)) for face in faces])
        there, here = Embedder(model, device="cuda"), Embedder(model)
        for embedder in (there, here):
            embedder.embed(crops[:256])
        seconds, on_gpu = timed(partial(there.embed, crops))
        slow, on_processor = timed(partial(here.embed, crops))
        apart = 1 - (on_gpu.astype(np.float64) * on_processor).sum(1).min()
        click.echo(
            f"{name}: {len(crops) / seconds:.0f} faces/s on the GPU, {len(crops) / slow:.0f} on the processor; "
            f"1 - cosine at most {apart:.1e}"
        )


def read_faces(pack: Path) -> list[UInt8Image]:
    """Decode every face of a tar of aligned crops, packed or not."""
    with tarfile.open(pack) as tar:
        files = [tar.extractfile(member) for member in tar if member.isfile()]
        return [decode(file.read(), pack).rgb for file in files if file is not None]


def unit_rows(seed: int, count: int) -> FloatMatrix:
    """Draw directions: float32 [count, DIMENSION]."""
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION), np.float32)
    unit: FloatMatrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def near(rows: FloatMatrix, apart: float = 0.5) -> FloatMatrix:
    """Other photos of these people: each row moved by noise of this length."""
    moved = rows + np.float32(apart) * unit_rows(5, len(rows))
    unit: FloatMatrix = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return unit


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds that the work takes, and what comes of it; all of it ends on the processor."""
    start = time.perf_counter()
    done = work()
    return time.perf_counter() - start, done


if __name__ == "__main__":
    main()
