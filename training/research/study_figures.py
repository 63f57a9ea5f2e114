"""What the runs of a study are worth on photos of people they have not seen: LFW's pairs and LFW as MegaFace.

The photos are detected and aligned once for all runs, as the engine does it; each run's network then embeds the same
crops. The figures of a run stay in its folder, and are not computed again.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from benchmarks.inputs.inputs import people_of_many_and_of_one
from benchmarks.protocols.lfw import lfw, read_pairs
from benchmarks.protocols.megaface import megaface
from benchmarks.results.record_json import decode, encode
from benchmarks.results.results import Rate
from faceid.feature_set import feature_set
from faceid.models.embedding import Embedder
from faceid.pipeline import DECODE_THREADS
from faceid.vision.alignment import Points, align, centre_points
from faceid.vision.detection import select_faces
from faceid.vision.images import UInt8Image, read_photo
from faceid.vision.mtcnn import MtcnnDetector
from faceid.vision.photo_list import PersonPhoto, photos_of_people
from indexer.durable_file import replacing
from training.checkpoint import read_checkpoint
from training.errors import DataError
from training.export import export_model
from training.research.study import OUTCOME, read_outcome
from training.trainer import CHECKPOINT

FAR, FPIR = 1e-3, 1e-2
BATCH = 64
MODEL = "network.safetensors"
FIGURES = "figures.json"
LANDMARKS = "landmarks.npz"


@dataclass(frozen=True)
class Crops:
    """Aligned faces: `images` uint8 [N, H, W, 3] RGB, whom they show, and the photos they were cut from."""

    images: UInt8Image
    labels: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Figures:
    """One run on the photos; each rate with its counts and intervals.

    Attributes:
        run: its name, with the seed.
        accuracy: mean of ten folds of pairs, 0..1.
        standard_error: of that mean.
        tar: at FAR 1e-3 among all distractors.
        rank1: among all distractors.
        fnir: at FPIR 1 % among all distractors.
        distractors: how many.
    """

    run: str
    accuracy: float
    standard_error: float
    tar: Rate
    rank1: Rate
    fnir: Rate
    distractors: int


def measure_study(
    folder: Path, photos: Path, pairs: Path, landmarks: Path, jobs: int = 1, progress: TextIO = sys.stderr
) -> list[Figures]:
    """Measure the runs in `folder` that have ended with a network, but for those that an earlier call measured.

    Args:
        folder: of the study.
        photos: PHOTOS/NAME/NAME_0001.jpg, people with several photos and with one (the distractors).
        pairs: LFW's pairs.txt.
        landmarks: file in which the photos' landmarks are kept, or from which they are taken.
        jobs: runs that are measured at a time.
        progress: where it says what it does.

    Raises:
        DataError: no run has ended yet.
        FeatureError, ProtocolError: the photos or the pairs cannot be used.
    """
    ended = sorted(path.parent for path in folder.glob(f"*/{OUTCOME}"))
    networks = [run for run in ended if (outcome := read_outcome(run)) is not None and outcome.diverged is None]
    if not networks:
        raise DataError(f"no run in {folder} has ended with a network yet")
    todo = [run for run in networks if not (run / FIGURES).exists()]
    if todo:
        height, width = read_checkpoint(todo[0] / CHECKPOINT).config["network"]["arguments"]["input_size"]
        crops = align_photos(photos, (height, width), landmarks, progress)
        torch.set_num_threads(1)
        with ProcessPoolExecutor(jobs, get_context("fork")) as pool:
            for run in pool.map(partial(_measure, crops=crops, pairs=pairs), todo):
                print(f"measured {run.name}", file=progress, flush=True)
    return [read_figures(run) for run in networks]


def read_figures(run: Path) -> Figures:
    """Read the figures that `measure_study` left in a run's folder."""
    return decode(json.loads((run / FIGURES).read_text(encoding="utf-8")), Figures)


def align_photos(photos: Path, size: tuple[int, int], cache: Path, progress: TextIO = sys.stderr) -> Crops:
    """Cut the face nearest the middle out of each photo, aligned; the landmarks stay in the file `cache` for later."""
    if not cache.exists():
        print(f"finding the faces of {photos} once", file=progress, flush=True)
        found = list(_landmarks(photos))
        with replacing(cache) as unfinished, unfinished.open("wb") as file:
            np.savez(
                file,
                labels=np.array([photo.name for photo, _ in found]),
                paths=np.array([str(photo.path) for photo, _ in found]),
                landmarks=np.stack([landmarks for _, landmarks in found]),
            )
    with np.load(cache) as arrays:
        labels, paths, points = arrays["labels"], arrays["paths"], arrays["landmarks"]
    reference = centre_points(*size)
    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        images = pool.map(
            lambda path, landmarks: align(read_photo(Path(path)).pixels, landmarks[None], reference, size)[0],
            paths,
            points,
        )
        return Crops(np.stack(list(images)), tuple(labels.tolist()), tuple(paths.tolist()))


def _landmarks(photos: Path) -> Iterator[tuple[PersonPhoto, Points]]:
    """Yield each photo with its landmarks [5, 2], without those that show no face."""
    detector = MtcnnDetector()
    everything = list(photos_of_people(photos))
    for start in range(0, len(everything), BATCH):
        batch = everything[start : start + BATCH]
        images = [read_photo(photo.path).pixels for photo in batch]
        for photo, image, faces in zip(batch, images, detector.detect(images), strict=True):
            chosen = select_faces(faces, "centre", (image.shape[1], image.shape[0]))
            if len(chosen):
                yield photo, chosen.landmarks[0]


def _measure(run: Path, crops: Crops, pairs: Path) -> Path:
    """Embed the crops by the run's network, and leave the figures in the run's folder."""
    model = export_model(run, run / MODEL, training_data="a study", licence="Apache-2.0")
    vectors = Embedder(model).embed(crops.images)
    features = feature_set(vectors, np.array(crops.labels), np.array(crops.paths), run / MODEL)
    accuracy = lfw(features, read_pairs(pairs), run.name).accuracy[0]
    probes, others = people_of_many_and_of_one(features)
    searches = megaface(probes, others, [len(others)], fars=[FAR], fpirs=[FPIR], name=run.name)
    figures = Figures(
        run=run.name,
        accuracy=accuracy.rate,
        standard_error=accuracy.standard_error,
        tar=searches.verification[0].tar,
        rank1=searches.identification[0].rank1,
        fnir=searches.open_set[0].fnir,
        distractors=len(others),
    )
    with replacing(run / FIGURES) as unfinished:
        unfinished.write_text(json.dumps(encode(figures), indent=1), encoding="utf-8")
    return run


def table(figures: Sequence[Figures], diverged: dict[str, str]) -> list[str]:
    """Write the study as a Markdown table: percent, the standard error or the clustered 95 % interval behind each."""
    lines = [
        f"| run | LFW 10-fold, % | TAR at FAR 1e-3, % | rank-1 among {figures[0].distractors:,}, % "
        "| FNIR at FPIR 1 %, % |",
        "|---|---|---|---|---|",
    ]
    for each in figures:
        rates = " | ".join(_with_interval(rate) for rate in (each.tar, each.rank1, each.fnir))
        lines.append(f"| {each.run} | {100 * each.accuracy:.2f} +- {100 * each.standard_error:.2f} | {rates} |")
    lines += [f"| {run} | diverged: {why} | | | |" for run, why in diverged.items()]
    return lines


def _with_interval(rate: Rate) -> str:
    low, high = rate.ci95_clustered or rate.ci95
    return f"{100 * rate.rate:.1f} ({100 * low:.1f} .. {100 * high:.1f})"
