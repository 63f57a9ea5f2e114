"""What the runs of a study are worth on photos of people they have not seen: LFW's pairs and LFW as MegaFace.

The photos are detected and aligned once for all runs, as the engine does it; each run's network then embeds the same
crops. The figures of a run stay in its folder, and are not computed again.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.inputs.inputs import people_of_many_and_of_one
from benchmarks.protocols.lfw import lfw, read_pairs
from benchmarks.protocols.megaface import megaface
from benchmarks.results.record_json import UnexpectedValue, decode, encode
from benchmarks.results.results import Rate
from faceid.feature_set import feature_set
from faceid.models.embedding import Embedder
from faceid.npz_file import read_arrays
from faceid.pipeline import DECODE_THREADS
from faceid.vision.alignment import Points, align, centre_points
from faceid.vision.detection import select_faces
from faceid.vision.images import ImageError, UInt8Image, read_photo
from faceid.vision.mtcnn import MtcnnDetector
from faceid.vision.photo_list import PersonPhoto, photos_of_people
from indexer.durable_file import replacing
from indexer.text import counted
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
        inputs: hex SHA-256 of the photos, the pairs and the weights that were measured.
    """

    run: str
    accuracy: float
    standard_error: float
    tar: Rate
    rank1: Rate
    fnir: Rate
    distractors: int
    inputs: str = ""  # of figures before there was this one: of nobody knows what


def measure_study(
    folder: Path, photos: Path, pairs: Path, landmarks: Path, jobs: int = 1, progress: TextIO = sys.stderr
) -> list[Figures]:
    """Measure the runs in `folder` that have ended with a network, but for those that an earlier call measured so.

    Args:
        folder: of the study.
        photos: PHOTOS/NAME/NAME_0001.jpg, people with several photos and with one (the distractors).
        pairs: LFW's pairs.txt.
        landmarks: file in which the photos' landmarks are kept, or from which they are taken.
        jobs: runs that are measured at a time.
        progress: where it says what it does.

    Raises:
        DataError: no run has ended yet, or the photos are too few for the rates.
        FeatureError, ProtocolError: the photos or the pairs cannot be used.
    """
    ended = sorted(path.parent for path in folder.glob(f"*/{OUTCOME}"))
    networks = [run for run in ended if (outcome := read_outcome(run)) is not None and outcome.diverged is None]
    if not networks:
        raise DataError(f"no run in {folder} has ended with a network yet")
    listed = list(photos_of_people(photos))
    digest = _digest(listed)
    inputs = {run: _inputs(digest, pairs, run) for run in networks}
    todo: dict[tuple[int, int], list[Path]] = {}
    for run in networks:
        if _measured(run) != inputs[run]:
            height, width = read_checkpoint(run / CHECKPOINT).config["network"]["arguments"]["input_size"]
            todo.setdefault((height, width), []).append(run)
    for size, runs in todo.items():
        crops = align_photos(listed, size, landmarks, progress)
        torch.set_num_threads(1)
        with ProcessPoolExecutor(jobs, get_context("fork")) as pool:
            measure = partial(_measure, crops=crops, pairs=pairs)
            for run in pool.map(measure, runs, [inputs[run] for run in runs]):
                print(f"measured {run.name}", file=progress, flush=True)
    return [read_figures(run) for run in networks]


def read_figures(run: Path) -> Figures:
    """Read the figures that `measure_study` left in a run's folder."""
    return decode(json.loads((run / FIGURES).read_text(encoding="utf-8")), Figures)


def _inputs(photos: str, pairs: Path, run: Path) -> str:
    """Return what stands for all that a run's figures come from."""
    digest = hashlib.sha256(photos.encode())
    for file in (pairs, run / CHECKPOINT):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _measured(run: Path) -> str | None:
    """Return the `inputs` of the figures in a run's folder; None where there are none that can be read."""
    try:
        return read_figures(run).inputs
    except (OSError, ValueError, UnexpectedValue):
        return None


def _digest(photos: Sequence[PersonPhoto]) -> str:
    """Return what stands for the photos: their names, places, sizes and times of change."""
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(f"{photo.name}\n{photo.path}\n".encode(errors="replace"))
        with suppress(OSError):  # reading it says why it cannot be looked at
            status = photo.path.stat()
            digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def align_photos(
    photos: Sequence[PersonPhoto], size: tuple[int, int], cache: Path, progress: TextIO = sys.stderr
) -> Crops:
    """Cut the face nearest the middle out of each photo, aligned; the landmarks stay in the file `cache` for later."""
    digest = _digest(photos)
    kept = _kept_landmarks(cache, digest)
    if kept is None:
        print(f"finding the faces of {counted(len(photos), 'photo', 'photos')} once", file=progress, flush=True)
        found = list(_landmarks(photos, progress))
        if not found:
            raise DataError("none of the photos shows a face")
        kept = {
            "digest": np.array(digest),
            "labels": np.array([photo.name for photo, _ in found]),
            "paths": np.array([str(photo.path) for photo, _ in found]),
            "landmarks": np.stack([landmarks for _, landmarks in found]),
        }
        with replacing(cache) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **kept)  # type: ignore[arg-type]
    labels, paths, points = kept["labels"], kept["paths"], kept["landmarks"]
    reference = centre_points(*size)
    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        images = pool.map(
            lambda path, landmarks: align(read_photo(Path(path)).pixels, landmarks[None], reference, size)[0],
            paths,
            points,
        )
        return Crops(np.stack(list(images)), tuple(labels.tolist()), tuple(paths.tolist()))


def _kept_landmarks(cache: Path, digest: str) -> Mapping[str, NDArray[Any]] | None:
    """Read the landmarks of these photos; None where there are none, or those of others."""
    try:
        kept = read_arrays(cache)
    except (FileNotFoundError, ValueError):
        return None
    return kept if str(kept.get("digest")) == digest else None


def _landmarks(photos: Sequence[PersonPhoto], progress: TextIO) -> Iterator[tuple[PersonPhoto, Points]]:
    """Yield each photo with its landmarks [5, 2], without those that show no face, or are none."""
    detector = MtcnnDetector()
    for start in range(0, len(photos), BATCH):
        batch, images = [], []
        for photo in photos[start : start + BATCH]:
            try:
                images.append(read_photo(photo.path).pixels)
                batch.append(photo)
            except ImageError as error:
                print(f"left out: {error}", file=progress, flush=True)
        for photo, image, faces in zip(batch, images, detector.detect(images), strict=True):
            chosen = select_faces(faces, "centre", (image.shape[1], image.shape[0]))
            if len(chosen):
                yield photo, chosen.landmarks[0]


def _measure(run: Path, inputs: str, crops: Crops, pairs: Path) -> Path:
    """Embed the crops by the run's network, and leave the figures in the run's folder."""
    model = export_model(run, run / MODEL, training_data="a study", licence="Apache-2.0")
    vectors = Embedder(model).embed(crops.images)
    features = feature_set(vectors, np.array(crops.labels), np.array(crops.paths), run / MODEL)
    accuracy = lfw(features, read_pairs(pairs), run.name).accuracy[0]
    probes, others = people_of_many_and_of_one(features)
    searches = megaface(probes, others, [len(others)], fars=[FAR], fpirs=[FPIR], name=run.name)
    for refused in searches.refusals:
        raise DataError(
            f"{refused.what}: {refused.trials:,} trials are too few, it takes {refused.needed:,}; give more photos"
        )
    figures = Figures(
        run=run.name,
        accuracy=accuracy.rate,
        standard_error=accuracy.standard_error,
        tar=searches.verification[0].tar,
        rank1=searches.identification[0].rank1,
        fnir=searches.open_set[0].fnir,
        distractors=len(others),
        inputs=inputs,
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
