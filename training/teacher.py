"""What a better network makes of the training faces: computed once, kept on disk, taken up again after a kill."""

import hashlib
import sys
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from faceid.models.embedding import Embedder
from faceid.models.model_file import Model
from faceid.models.model_zoo import find_model
from faceid.vision.alignment import centre_points
from indexer.records import FloatMatrix
from training.augment import centre_crops
from training.data.faces import FaceSource, Ints, Selection
from training.data.joined import Joined
from training.errors import ConfigError

BATCH = 512  # what a kill can lose
TOLERANCE_PX = 0.5  # how far a teacher's reference points may lie from those that the packs are aligned to
TOLERANCE_LENGTH = 0.01  # of a row that was written whole, from 1

Halves = np.memmap[tuple[int, ...], np.dtype[np.float16]]


def teacher_embeddings(
    teacher: str, faces: FaceSource, cache: Path, progress: TextIO = sys.stderr, *, mirrored: bool = True
) -> FloatMatrix:
    """Return what the teacher makes of each face: unit rows [N, T] float32.

    The teacher sees a face as it is, without augmentation. With `mirrored` it sees the mirror image too, and the
    target is the direction of the sum, which is a little better than either and costs twice the time; one target
    serves the crop and its mirror image.

    Rows are kept in `cache` as float16, in files named by the digests of the teacher and of the faces. Only the rows
    that are asked for and not there yet are computed; what is left out may change between two runs.

    Args:
        teacher: a model's name or the path of its file.
        faces: N faces.
        cache: folder of the files.
        progress: where it says that it computes.
        mirrored: add what the teacher makes of the mirror image.

    Raises:
        ModelError: no such model, or it cannot run here.
        ConfigError: the teacher's crops are aligned otherwise than the packs.
    """
    whole, wanted = _unselected(faces)
    if isinstance(whole, Joined):
        first = len(whole.labelled.labels)
        parts = (whole.labelled, wanted[wanted < first]), (whole.unlabelled, wanted[wanted >= first] - first)
        return np.concatenate([_embeddings(teacher, part, rows, cache, progress, mirrored) for part, rows in parts])
    return _embeddings(teacher, whole, wanted, cache, progress, mirrored)


def _embeddings(
    teacher: str, whole: FaceSource, wanted: Ints, cache: Path, progress: TextIO, mirrored: bool
) -> FloatMatrix:
    """Return the rows `wanted` of a reader that selects nothing."""
    model = find_model(teacher)
    key = hashlib.sha256(f"{model.digest} {whole.digest}".encode()).hexdigest()[:16]
    dimension = model.spec.dimension
    total = np.zeros((len(wanted), dimension), np.float32)
    for view in ("crop", "mirrored") if mirrored else ("crop",):
        kept = _open_rows(cache / f"teacher-{key}-{view}.npy", (len(whole.labels), dimension))
        missing = wanted[~_is_written(kept, wanted)]
        if len(missing) > 0:
            _check_alignment(model)
            print(f"the teacher {model.spec.name} embeds {len(missing)} faces ({view}) once", file=progress, flush=True)
            _compute(model, whole, missing, kept, mirror=view == "mirrored")
        total += kept[wanted]
    unit: FloatMatrix = total / np.linalg.norm(total, axis=1, keepdims=True)
    return unit


def _unselected(faces: FaceSource) -> tuple[FaceSource, Ints]:
    """Find the reader below all selections, and the indices into it that they leave."""
    wanted = np.arange(len(faces.labels))
    while isinstance(faces, Selection):
        wanted = faces.kept[wanted]
        faces = faces.faces
    return faces, wanted


def _open_rows(file: Path, shape: tuple[int, int]) -> Halves:
    """Open the rows on disk, anew where there are none or the file is torn; rows of zeros are not computed yet."""
    try:
        rows = np.lib.format.open_memmap(file, mode="r+")
        if rows.dtype == np.float16 and rows.shape == shape:
            return rows
    except (OSError, ValueError):
        pass
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    return np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)


def _is_written(rows: Halves, wanted: Ints) -> npt.NDArray[np.bool_]:
    """Tell whole rows by their unit length: bool, one for each of `wanted`."""
    written = np.zeros(len(wanted), np.bool_)
    for start in range(0, len(wanted), BATCH):
        lengths = np.linalg.norm(rows[wanted[start : start + BATCH]].astype(np.float32), axis=1)
        written[start : start + BATCH] = np.abs(lengths - 1) < TOLERANCE_LENGTH
    return written


def _compute(model: Model, faces: FaceSource, missing: Ints, rows: Halves, *, mirror: bool) -> None:
    embedder = Embedder(model, precision="auto")
    for start in range(0, len(missing), BATCH):
        chosen = missing[start : start + BATCH]
        crops = centre_crops(faces.read(chosen), embedder.spec.input_size)
        rows[chosen] = embedder.embed(np.ascontiguousarray(crops[:, :, ::-1]) if mirror else crops)
        rows.flush()


def _check_alignment(model: Model) -> None:
    """Refuse a teacher whose crops have other reference points than the packs' faces."""
    expected = centre_points(*model.spec.input_size)
    if np.abs(np.asarray(model.spec.reference_points) - expected).max() > TOLERANCE_PX:
        raise ConfigError(
            f"the teacher {model.spec.name} wants faces aligned to other reference points than the packs have; "
            "take a teacher that was imported with the standard 112x112 points"
        )
