"""Feature sets: unit vectors with the identity and the photo of each row, as every protocol takes them."""

import hashlib
import math
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results.results import ModelUsed
from indexer.errors import FaceIdError
from indexer.records import FloatMatrix, FloatVector
from indexer.text import printable

# Rows are looked at in blocks of so many values (64 MiB of float32), so that a mapped file is never copied whole.
BLOCK_VALUES = 2**24
# float32 vectors of unit length keep it within 1e-6 up to thousands of dimensions; float16 ones do not.
UNIT_TOLERANCE = 1e-5
# What numpy.savez writes; its third version is for names of columns alone.
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

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
    model: ModelUsed | None = None

    def __len__(self) -> int:
        return len(self.features)


def read_features(path: Path) -> FeatureSet:
    """Read a feature file: `.npz` of labelled rows, or `.npy` of distractors alone.

    `.npz`: `features` [N, D] float32 or float16, `labels` [N] and `paths` [N] text, and where it is known `model` [2],
    the network's name and digest. `.npy`: [N, D] alone. float32 rows of unit length stay on the disk (memory-mapped,
    read-only), unless the archive is compressed. The devkit's trees of `.bin` files:
    `benchmarks.formats.megaface_devkit.read_tree`. Raises FeatureError for a file that is missing, of another format,
    or with a row that is not finite, or zero.
    """
    if not path.is_file():
        raise FeatureError(f"{printable(path)}: no such feature file (.npz or .npy)")
    if path.suffix == ".npz":
        arrays = _read_npz(path)
        labelled = feature_set(arrays["features"], arrays["labels"], arrays["paths"], path)
        return replace(labelled, model=_model(arrays.get("model"), path))
    if path.suffix == ".npy":
        features = _read_npy(path)
        return feature_set(features, np.zeros(len(features), "U1"), _row_numbers(len(features)), path)
    raise FeatureError(f"{printable(path)}: a feature file ends in .npz (with labels) or .npy (distractors alone)")


def read_norms(path: Path, rows: int) -> FloatVector:
    """Read the lengths that raw features had, `.npy` [rows] of floats above 0, as float32. Raises FeatureError."""
    lengths = _read_npy(path)
    if lengths.shape != (rows,) or lengths.dtype.kind != "f" or not (np.isfinite(lengths) & (lengths > 0)).all():
        raise FeatureError(f"{printable(path)}: must hold the lengths of {rows} rows, finite numbers above 0")
    return lengths.astype(np.float32)


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


def sums_of_people(rows: FloatMatrix, people: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Add up the rows [N, D] of each of K people, numbered [N] from 0: float64 [K, D]."""
    sums = np.zeros((people.max() + 1, rows.shape[1]))
    np.add.at(sums, people, rows)
    return sums


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays; the features are mapped, not copied, where the archive holds them uncompressed."""
    if not zipfile.is_zipfile(path):
        raise FeatureError(f"{printable(path)}: not a sound .npz file, which is a zip archive; write it again")
    try:
        with zipfile.ZipFile(path) as archive:
            there = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
            missing = {"features", "labels", "paths"} - there
            if missing:
                raise FeatureError(f"{printable(path)}: no array {', '.join(sorted(missing))} in it")
            wanted = there & {"features", "labels", "paths", "model"}
            return {key: _read_member(path, archive, f"{key}.npy", mapped=key == "features") for key in wanted}
    except FeatureError:
        raise
    except Exception as error:  # a damaged archive can end in nearly any error
        raise FeatureError(f"{printable(path)}: not a sound .npz file without pickles ({error})") from error


def _model(names: NDArray[Any] | None, path: Path) -> ModelUsed | None:
    if names is None:
        return None
    if names.dtype.kind != "U" or names.shape != (2,):
        raise FeatureError(f"{printable(path)}: `model` must be the name and the digest of a model, two texts")
    return ModelUsed(str(names[0]), str(names[1]))


def _read_member(path: Path, archive: zipfile.ZipFile, name: str, mapped: bool) -> NDArray[Any]:
    """Read one array of an archive, or map it, where it lies there uncompressed and row by row.

    Nothing is allocated before the array's own header agrees with the size that the archive declares, and zipfile reads
    no more than that.
    """
    member = archive.getinfo(name)
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = HEADERS.get(version)
        if read_header is None:
            raise FeatureError(f"{printable(path)}: {name} is of format {version}; write it with numpy.savez")
        shape, by_columns, dtype = read_header(file)
        size = dtype.itemsize * math.prod(shape)
        if not dtype.hasobject and file.tell() + size != member.file_size:
            raise FeatureError(f"{printable(path)}: the size of {name} does not fit its header; write the file again")
        plain = member.compress_type == zipfile.ZIP_STORED and not by_columns and not dtype.hasobject
        if mapped and plain and size:
            return np.memmap(path, dtype, "r", _offset(path, member) + file.tell(), shape)
        file.seek(0)
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Return where the member's bytes begin."""
    with path.open("rb") as file:
        # The local header: 30 bytes that end in the lengths of the name and of the extra field, which follow.
        file.seek(member.header_offset + 26)
        return member.header_offset + 30 + int(np.fromfile(file, "<u2", 2).sum(dtype=np.int64))


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        # Not np.load, which would take a pickle or an archive for one, too.
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header can end in nearly any error
        raise FeatureError(f"{printable(path)}: not a sound .npy file without pickles ({error})") from error


def _row_numbers(rows: int) -> Strings:
    return np.arange(rows).astype(f"U{len(str(rows))}")


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
