"""Feature files: unit vectors with their labels and photos, written by `faceid embed`, read by the benchmarks.

`.npz`, uncompressed and without pickles: `features` [N, D] float32 (or float16), `labels` [N] and `paths` [N] text, and
where it is known `model` [2], the network's name and digest. `.npy`: the features alone, of distractors.
"""

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceid.feature_set import FeatureError, FeatureSet, Strings, feature_set
from faceid.npz_file import read_header
from indexer.durable_file import writing
from indexer.records import FloatMatrix, FloatVector, ModelBinding
from indexer.text import printable

_BLOCK = 2**20
_RATIO = 20  # features hardly shrink when they are packed; the texts beside them do


def read_features(path: Path) -> FeatureSet:
    """Read a feature file: `.npz` of labelled rows, or `.npy` of distractors alone.

    float32 rows of unit length stay on the disk (memory-mapped,
    read-only), unless the archive is compressed. The devkit's trees of `.bin` files:
    `benchmarks.formats.megaface_devkit.read_tree`. Raises FeatureError for a file that is missing, of another format,
    or with a row that is not finite, or zero.
    """
    if not path.is_file():
        raise FeatureError(f"{printable(path)}: no such feature file (.npz or .npy)")
    if path.suffix == ".npz":
        arrays = _read_npz(path)
        labelled = feature_set(arrays["features"], arrays["labels"], arrays["paths"], path)
        return replace(labelled, model=_model(arrays.get("model"), labelled.features.shape[1], path))
    if path.suffix == ".npy":
        features = _read_npy(path)
        # Rows that take no bytes may be of any number, and are refused; a single number is no rows.
        rows = features.shape[0] if features.ndim and features.nbytes else 0
        return feature_set(features, np.zeros(rows, "U1"), _row_numbers(rows), path)
    raise FeatureError(f"{printable(path)}: a feature file ends in .npz (with labels) or .npy (distractors alone)")


def read_norms(path: Path, rows: int) -> FloatVector:
    """Read the lengths that raw features had, `.npy` [rows] of floats above 0, as float32. Raises FeatureError."""
    lengths = _read_npy(path)
    if lengths.shape != (rows,) or lengths.dtype.kind != "f" or not (np.isfinite(lengths) & (lengths > 0)).all():
        raise FeatureError(f"{printable(path)}: must hold the lengths of {rows} rows, finite numbers above 0")
    return lengths.astype(np.float32)


def write_features(
    path: Path, vectors: FloatMatrix, labels: Sequence[str], paths: Sequence[str], model: ModelBinding
) -> None:
    """Write the file that `read_features` reads: `vectors` [N, D], and N labels and paths. Raises OSError."""
    texts = [
        TextColumn("labels", max(map(len, labels), default=0), [labels]),
        TextColumn("paths", max(map(len, paths), default=0), [paths]),
    ]
    write_feature_blocks(path, len(vectors), [vectors.astype("<f4").tobytes()], texts, model)


@dataclass(frozen=True)
class TextColumn:
    """Texts of at most `longest` characters, one a row, that come in blocks."""

    name: str
    longest: int
    blocks: Iterable[Sequence[str]]


def write_feature_blocks(
    path: Path, rows: int, vectors: Iterable[bytes], texts: Iterable[TextColumn], model: ModelBinding
) -> None:
    """Write a feature file of more rows than memory holds: `vectors` are little-endian float32, some rows at a time."""
    with writing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        _write_array(archive, "features", "<f4", (rows, model.dimension), vectors)
        for text in texts:
            dtype = f"<U{max(1, text.longest)}"
            _write_array(
                archive, text.name, dtype, (rows,), (np.array(block, dtype).tobytes() for block in text.blocks)
            )
        names = np.array([model.name, model.digest])
        _write_array(archive, "model", names.dtype.str, names.shape, [names.tobytes()])


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
            unpacked = sum(archive.getinfo(f"{key}.npy").file_size for key in wanted)
            if unpacked > _RATIO * path.stat().st_size + _BLOCK:
                raise FeatureError(
                    f"{printable(path)}: it would unpack to {unpacked:,} bytes, far more than features can be packed "
                    "into; write it again with numpy.savez"
                )
            return {key: _read_member(path, archive, f"{key}.npy", mapped=key == "features") for key in wanted}
    except FeatureError:
        raise
    except Exception as error:  # a damaged archive can end in nearly any error
        raise FeatureError(f"{printable(path)}: not a sound .npz file without pickles ({error})") from error


def _model(names: NDArray[Any] | None, dimension: int, path: Path) -> ModelBinding | None:
    if names is None:
        return None
    if names.dtype.kind != "U" or names.shape != (2,):
        raise FeatureError(f"{printable(path)}: `model` must be the name and the digest of a model, two texts")
    return ModelBinding(str(names[0]), str(names[1]), dimension)


def _read_member(path: Path, archive: zipfile.ZipFile, name: str, mapped: bool) -> NDArray[Any]:
    """Read one array of an archive, or map it, where it lies there uncompressed and row by row."""
    member = archive.getinfo(name)
    with archive.open(member) as file:
        shape, by_columns, dtype = read_header(file, archive, name)
        plain = member.compress_type == zipfile.ZIP_STORED and not by_columns and not dtype.hasobject
        if mapped and plain and file.tell() < member.file_size:
            start = _offset(path, member) + file.tell()
            while file.read(_BLOCK):  # to its end, where the checksum is compared
                pass
            return np.memmap(path, dtype, "r", start, shape)
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


def _write_array(
    archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...], blocks: Iterable[bytes]
) -> None:
    """Write one array of an .npz archive piece by piece."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, {"descr": dtype, "fortran_order": False, "shape": shape})
        for block in blocks:
            member.write(block)
