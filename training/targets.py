"""What a teacher makes of the faces, in a file: for machines that get neither the teacher nor the crops that it saw.

Along the axes that a run would match, a byte a number: a face's row is found again by its name, so the faces may have
been encoded anew, or be fewer.
"""

import hashlib
import sys
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from indexer.durable_file import writing
from indexer.records import FloatMatrix
from training.config import Config
from training.data.faces import FaceSource
from training.data.opening import open_training
from training.errors import ConfigError, DataError
from training.growth import read_start
from training.objectives import axes_for
from training.teacher import teacher_embeddings

FORMAT = "faceid-targets-1"
LARGEST = 127  # of a row's codes: only its direction is wanted, so each row uses the whole range


def make_targets(config: Config, output: Path, progress: TextIO = sys.stderr) -> int:
    """Have the config's teacher embed the training faces, and write what its run would match; returns how many faces.

    Raises:
        ConfigError: the config names no teacher, or cuts it to a number of axes that there are not.
        CheckpointError, DataError, ModelError: as the run itself.
    """
    distill = config.distill
    if distill is None or distill.teacher is None:
        raise ConfigError(f"the config {config.name} names no distill.teacher")
    faces = open_training(config.data)
    cache = config.cache if config.cache is not None else output.parent
    rows = torch.from_numpy(teacher_embeddings(distill.teacher, faces, cache, progress, mirrored=distill.mirrored))
    rows = rows.half()  # as the run has them: its axes come to the last digit
    initial = read_start(config.initial) if config.initial is not None else None
    try:
        axes = axes_for(rows, distill.components, initial)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    aims = rows.float() if axes is None else rows.float() @ axes
    write_targets(output, faces, aims.numpy(), distill.teacher)
    return len(rows)


def write_targets(path: Path, faces: FaceSource, aims: FloatMatrix, teacher: str) -> None:
    """Write what is to be matched, float32 [N, C], for each of N faces; a row of 256 is off by less than 0.01 degrees.

    Raises:
        DataError: two faces have the same name; or, as FileNotWritten, the disk does not take the file.
    """
    names = _keys(faces)
    if len(np.unique(names)) < len(names):
        raise DataError("two of the faces have the same name; targets are found again by names")
    largest = np.abs(aims).max(axis=1, keepdims=True)
    codes = np.rint(aims / largest * LARGEST).astype(np.int8)
    try:
        with writing(path) as unfinished:
            save_file({"codes": codes, "names": names}, unfinished, {"format": FORMAT, "teacher": teacher})
    except SafetensorError as error:  # of a full disk: to safetensors that is no OSError
        raise DataError(f"the targets {path} could not be written: {error}") from error


def read_targets(path: Path, faces: FaceSource) -> FloatMatrix:
    """Read the rows of these N faces: unit, float32 [N, C].

    Raises:
        DataError: the file is missing, torn or another one, or has no row for one of the faces.
    """
    codes, names = _read(path)
    if codes.ndim != 2 or names.shape != (len(codes),) or codes.dtype != np.int8 or names.dtype != np.uint64:
        raise DataError(f"{path}: codes {codes.dtype} {codes.shape} and names {names.dtype} {names.shape} do not match")
    order = np.argsort(names)
    wanted = _keys(faces)
    places = np.minimum(np.searchsorted(names, wanted, sorter=order), len(names) - 1)
    missing = np.flatnonzero(names[order[places]] != wanted) if len(names) else np.arange(len(wanted))
    if len(missing):
        raise DataError(
            f"{path} has no target for {len(missing)} of {len(wanted)} faces, {faces.name(int(missing[0]))!r} for one; "
            "write it for the config that names these faces"
        )
    rows = codes[order[places]].astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise DataError(f"{path}: a row of zeros points nowhere; write it anew")
    unit: FloatMatrix = rows / lengths
    return unit


def _read(path: Path) -> tuple[NDArray[np.int8], NDArray[np.uint64]]:
    try:
        with safe_open(path, framework="np") as file:
            if (file.metadata() or {}).get("format") != FORMAT:
                raise DataError(f"{path} holds no targets ({FORMAT}); `faceid train targets` writes them")
            return file.get_tensor("codes"), file.get_tensor("names")
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read the targets {path}: {error}") from error


def _keys(faces: FaceSource) -> NDArray[np.uint64]:
    """Stand for each face's name in 8 bytes: uint64 [N]."""
    names = (faces.name(index).encode() for index in range(len(faces.labels)))
    return np.frombuffer(b"".join(hashlib.sha256(name).digest()[:8] for name in names), "<u8").astype(np.uint64)
