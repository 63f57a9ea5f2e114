"""Feature sets: unit vectors with the identity and the photo of each row, as every protocol takes them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.errors import FaceIdError
from indexer.records import FloatMatrix, ModelBinding
from indexer.text import printable

# Rows are looked at in blocks of so many values (64 MiB of float32), so that a mapped file is never copied whole.
BLOCK_VALUES = 2**24
# float32 vectors of unit length keep it within 1e-6 up to thousands of dimensions; float16 ones do not.
UNIT_TOLERANCE = 1e-5

Strings = NDArray[np.str_]


class FeatureError(FaceIdError):
    """Features that cannot be used: no such file, another format, not finite, zero, or of the wrong shape."""


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Unit vectors, whose they are and where they come from.

    `features` [N, D] float32 with rows of unit length (may be a read-only memory map), `labels` [N] the identity
    ('' for a distractor), `paths` [N] the photo (or the row's number), `digest` the hex SHA-256 of the rows as they
    came (float32, little-endian, before any normalisation), `source` the file or folder, `notes` what was done to them,
    `model` the network that made them, where the file tells.
    """

    features: FloatMatrix
    labels: Strings
    paths: Strings
    digest: str
    source: str
    notes: tuple[str, ...] = ()
    model: ModelBinding | None = None

    def __len__(self) -> int:
        return len(self.features)


def feature_set(features: NDArray[Any], labels: Strings, paths: Strings, source: Path) -> FeatureSet:
    """Check rows [N, D] of floats and make a FeatureSet of them: float32, of unit length, with their digest.

    Rows of another length are normalised, which the notes say. Raises FeatureError for what is not a matrix of floats,
    for labels or paths of another number, and for a row with NaN or infinity, or that is zero; it names the row.
    """
    _check_shapes(features, labels, paths, source)
    digest, longest, shortest = _examine(features, paths, source)
    notes: tuple[str, ...] = ()
    if shortest < 1 - UNIT_TOLERANCE or longest > 1 + UNIT_TOLERANCE:
        features = _normalised(features)
        notes = (f"{source.name}: rows of length {shortest:.6g} to {longest:.6g} were normalised to 1",)
    return FeatureSet(features.astype(np.float32, copy=False), labels, paths, digest, printable(source), notes)


def unit_rows(rows: NDArray[np.floating[Any]]) -> FloatMatrix:
    """Divide rows [N, D] by their lengths, in float64: float32 of unit length; a row of zeros stays zero."""
    wide = rows.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: FloatMatrix = (wide / np.maximum(lengths, np.finfo(np.float64).tiny)).astype(np.float32)
    return unit


def _check_shapes(features: NDArray[Any], labels: Strings, paths: Strings, source: Path) -> None:
    where = printable(source)
    if features.ndim != 2 or 0 in features.shape:
        raise FeatureError(f"{where}: features must be [N, D], N and D at least 1, not {list(features.shape)}")
    if features.dtype not in (np.float32, np.float16):
        raise FeatureError(f"{where}: features must be float32 or float16, not {features.dtype}")
    for what, strings in (("labels", labels), ("paths", paths)):
        if strings.dtype.kind != "U" or strings.shape != features.shape[:1]:
            raise FeatureError(
                f"{where}: {what} must be text [{len(features)}], not {strings.dtype} {list(strings.shape)}"
            )


def _examine(features: NDArray[Any], paths: Strings, source: Path) -> tuple[str, float, float]:
    """Return the digest of the rows and their greatest and least length, in one pass."""
    digest = hashlib.sha256()
    longest, shortest = 0.0, np.inf
    step = max(1, BLOCK_VALUES // features.shape[1])
    for start in range(0, len(features), step):
        block = np.ascontiguousarray(features[start : start + step], dtype="<f4")
        digest.update(block.data)
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
        bad = np.flatnonzero(~((lengths > 0) & np.isfinite(lengths)))  # NaN must not pass
        if len(bad):
            row = start + int(bad[0])
            what = "is zero" if lengths[bad[0]] == 0 else "is not finite"
            raise FeatureError(
                f"{printable(source)}: row {row} ({printable(str(paths[row]))}) {what}; "
                "leave it out or embed its photo again"
            )
        longest, shortest = max(longest, float(lengths.max())), min(shortest, float(lengths.min()))
    return digest.hexdigest(), longest, shortest


def _normalised(features: NDArray[Any]) -> FloatMatrix:
    """Bring each row to length 1, in blocks: the rows may be more than memory holds twice."""
    normalised = np.empty(features.shape, np.float32)
    step = max(1, BLOCK_VALUES // features.shape[1])
    for start in range(0, len(features), step):
        normalised[start : start + step] = unit_rows(features[start : start + step])
    return normalised
