"""The files of MegaFace's devkit: one small file of floats a photo, JSON lists of photos, JSON results.

A feature file is `<photo's relative path><ending>`, such as `4/2/11084833664_0.jpg_algo.bin`: four little-endian int32
(rows = D, columns = 1, bytes a row = 4, OpenCV's type 5 for float32) and D numbers.
"""

import json
import math
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.rates import rate
from benchmarks.results.results import Curve, Curves, IdentificationRow, Results
from faceid.feature_set import FeatureError, FeatureSet, Strings, feature_set
from indexer.durable_file import replacing
from indexer.errors import FaceIdError
from indexer.records import FloatVector
from indexer.text import printable

HEADER = struct.Struct("<4i")
# OpenCV's type numbers CV_32F and CV_64F.
TYPES: dict[int, np.dtype[np.float32] | np.dtype[np.float64]] = {5: np.dtype("<f4"), 6: np.dtype("<f8")}
# Ordered mated pairs of the published probe list (80 people, 3,530 photos).
MATED_PAIRS = 153_634
# A results file keeps so many points of a CMC; the devkit's have about as many.
CMC_POINTS = 1000
RESULTS_NAME = re.compile(r"cmc_.*?_megaface_(?P<algorithm>.*)_(?P<distractors>\d{1,15})_(?P<set>\d{1,9})\.json")


class DevkitError(FaceIdError):
    """A list or results file of the devkit that is damaged, or is none."""


@dataclass(frozen=True)
class PhotoList:
    """A list of photos: relative `paths`, and the identity of each in `ids` (None in lists of distractors)."""

    paths: tuple[str, ...]
    ids: tuple[str, ...] | None


def read_feature(path: Path) -> FloatVector:
    """Read one feature file: [D] float32. Raises FeatureError unless header and size fit each other."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FeatureError(f"{printable(path)}: cannot be read ({error.strerror})") from error
    if len(data) < HEADER.size:
        raise FeatureError(f"{printable(path)}: {len(data)} bytes; a feature file begins with 16 bytes of header")
    rows, columns, stride, kind = HEADER.unpack_from(data)
    dtype = TYPES.get(kind)
    if dtype is None or columns != 1 or rows < 1 or stride != dtype.itemsize:
        raise FeatureError(
            f"{printable(path)}: the header ({rows}, {columns}, {stride}, {kind}) is not that of a feature file: "
            "(D, 1, 4, 5) for float32, (D, 1, 8, 6) for float64"
        )
    if len(data) != HEADER.size + rows * dtype.itemsize:
        raise FeatureError(
            f"{printable(path)}: {len(data)} bytes, but a header for {rows} numbers, which take "
            f"{HEADER.size + rows * dtype.itemsize}; write it again"
        )
    return np.frombuffer(data, dtype, offset=HEADER.size).astype(np.float32)


def write_feature(path: Path, vector: FloatVector) -> None:
    """Write one feature file: vector [D] as float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(HEADER.pack(len(vector), 1, 4, 5) + np.ascontiguousarray(vector, "<f4").tobytes())


def read_tree(root: Path, list_file: Path, ending: str | None = None) -> FeatureSet:
    """Read the features of a list's photos from `<root>/<path><ending>`, in the list's order.

    `ending` None takes the one that the first photo's files have. Labels are the list's ids ('' without). Raises
    DevkitError for a damaged list, FeatureError for missing or unsound feature files; of missing ones it names three.
    """
    photos = read_photo_list(list_file)
    ending = _only_ending(root, photos.paths[0]) if ending is None else ending
    files = [root / (path + ending) for path in photos.paths]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise FeatureError(
            f"{printable(root)}: {len(missing):,} of {len(files):,} feature files are missing, such as "
            + ", ".join(printable(file.relative_to(root)) for file in missing[:3])
        )
    first = read_feature(files[0])
    features = np.empty((len(files), len(first)), np.float32)
    for row, file in enumerate(files):
        vector = read_feature(file)
        if len(vector) != len(first):
            raise FeatureError(f"{printable(file)}: {len(vector)} numbers, but {printable(files[0])} has {len(first)}")
        features[row] = vector
    labels = np.array(photos.ids, np.str_) if photos.ids is not None else np.zeros(len(files), "U1")
    return feature_set(features, labels, np.array(photos.paths, np.str_), root)


def write_tree(features: FeatureSet, root: Path, ending: str) -> None:
    """Write each row to `<root>/<path><ending>`. Raises FeatureError for paths that are not relative, or come twice."""
    paths = features.paths.tolist()
    if len(set(paths)) != len(paths):
        raise FeatureError(f"{features.source}: a photo is there twice; the devkit keeps one feature a photo")
    for path in paths:
        if not _inside(path):
            raise FeatureError(f"{printable(path)}: the devkit's files need the photo's path relative to its folder")
    for path, vector in zip(paths, features.features, strict=True):
        write_feature(root / (path + ending), vector)


def read_photo_list(path: Path) -> PhotoList:
    """Read a JSON list: an object with `path`, and `id` beside it in lists of probes. Raises DevkitError."""
    record = _read_json(path)
    paths, ids = record.get("path"), record.get("id")
    if not _is_text_list(paths) or not paths:
        raise DevkitError(f'{printable(path)}: not a list of photos: {{"path": [...], "id": [...]}}')
    assert isinstance(paths, list)
    # Exactly text or a whole number: to Python true is a number, too, and null would be one more person.
    named = isinstance(ids, list) and len(ids) == len(paths) and all(type(name) in (str, int) for name in ids)
    if ids is not None and not named:
        raise DevkitError(f"{printable(path)}: `id` must name the person of each of the {len(paths)} photos")
    outside = next((name for name in paths if not _inside(name)), None)
    if outside is not None:
        raise DevkitError(f"{printable(path)}: {outside!r} is no path inside the folder of features")
    return PhotoList(tuple(paths), None if ids is None else tuple(str(name) for name in ids))


def write_photo_list(path: Path, paths: Strings, ids: Strings | None = None) -> None:
    """Write a JSON list of photos; with `ids` a list of probes."""
    record = {} if ids is None else {"id": ids.tolist()}
    _write_json(path, {**record, "path": paths.tolist()})


def results_name(algorithm: str, distractors: int, number: int) -> str:
    """Return the name that the devkit gives to the results of so many distractors of one set."""
    return f"cmc_facescrub_megaface_{algorithm}_{distractors}_{number}.json"


def write_devkit_results(path: Path, cmc: Curve, roc: Curve, traditional_cmc: Curve | None = None) -> None:
    """Write curves as the devkit's results: `cmc`, `roc` and, where given, `traditional_cmc`, each [[x...], [y...]].

    Numbers are float32. Ranks count from 0 and are thinned out: the first, the last, and between them about a thousand,
    evenly on a log axis. The ROC keeps all points of `roc`.
    """
    record = {"cmc": _thinned(cmc), "roc": [_float32s(roc.x), _float32s(roc.y)]}
    if traditional_cmc is not None:
        record["traditional_cmc"] = _thinned(traditional_cmc)
    _write_json(path, record)


def write_results_files(results: Results, folder: Path) -> None:
    """Write the first set of MegaFace's results as the devkit does: a file for each number of distractors."""
    algorithm = re.sub(r"[^A-Za-z0-9.-]+", "-", results.name) or "features"
    sizes = [row.distractors for row in results.identification if row.set == 1]
    curves = results.curves
    for size, cmc, roc, traditional in zip(sizes, curves.cmc, curves.roc, curves.traditional_cmc, strict=True):
        write_devkit_results(folder / results_name(algorithm, size, 1), cmc, roc, traditional)


def read_devkit_results(path: Path) -> Results:
    """Read results of the devkit, ours or other people's, to lay them over measured ones.

    The curves are labelled by the number of distractors that the file's name tells. The file holds rates only; where
    rank-1 is a whole number of the published list's 153,634 ordered mated pairs, it is given with those counts, else
    not at all. Raises DevkitError for a file that is not such results.
    """
    record = _read_json(path)
    name = RESULTS_NAME.fullmatch(path.name)
    label = f"N = {int(name['distractors']):,}" if name else path.stem
    curves = {
        key: _curve(record[key], label, path, first_rank=1 if key != "roc" else 0)
        for key in ("cmc", "roc", "traditional_cmc")
        if key in record
    }
    if "cmc" not in curves:
        raise DevkitError(f"{printable(path)}: not the devkit's results: it has no `cmc`")
    rows, notes = _rank1_row(curves["cmc"], name, path)
    return Results(
        "megaface",
        name["algorithm"] if name else path.stem,
        {"from": "results of the MegaFace devkit"},
        identification=rows,
        curves=Curves(**{key: (curve,) for key, curve in curves.items()}),
        notes=notes,
    )


def _only_ending(root: Path, photo: str) -> str:
    """Return what follows the photo's name in the names of its feature files; it must be one thing."""
    place = root / photo
    names = sorted(file.name for file in place.parent.glob("*.bin")) if place.parent.is_dir() else []
    endings = [name[len(place.name) :] for name in names if name.startswith(place.name)]
    if len(endings) != 1:
        found = ", ".join(printable(ending) for ending in endings) or "no file"
        raise FeatureError(
            f"{printable(place)}*.bin: {found}; one feature file a photo is needed: check the folder"
            " and the list, or name the ending"
        )
    return endings[0]


def _inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    try:
        os.fsencode(path)
    except UnicodeEncodeError:  # half a surrogate pair: no file has such a name
        return False
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\0" not in path


def _is_text_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _thinned(curve: Curve) -> list[list[float]]:
    """Return a CMC [[ranks from 0], [rates]] with about CMC_POINTS of its points."""
    last = len(curve.x) - 1
    kept = np.unique(np.concatenate([[0, last], np.geomspace(1, max(1, last), CMC_POINTS)]).astype(np.int64))
    kept = kept[kept <= last]
    return [_float32s(curve.x[kept] - 1), _float32s(curve.y[kept])]


def _float32s(values: NDArray[np.float64]) -> list[float]:
    floats: list[float] = values.astype(np.float32).tolist()
    return floats


def _curve(value: object, label: str, path: Path, first_rank: int) -> Curve:
    """Check a curve [[x...], [y...]] of the devkit; `first_rank` is added to x."""
    try:
        x, y = (np.array(axis, np.float64) for axis in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError) as error:
        raise DevkitError(f"{printable(path)}: a curve must be [[x...], [y...]], all numbers") from error
    sound = x.ndim == y.ndim == 1 and len(x) == len(y) > 0 and bool(np.isfinite(x).all() and np.isfinite(y).all())
    if not sound or x.min() < 0 or y.min() < 0 or y.max() > 1 + 1e-6:
        raise DevkitError(f"{printable(path)}: a curve must be two lists of one length, ranks or rates above 0")
    return Curve(label, x + first_rank, y)


def _rank1_row(
    cmc: Curve, name: re.Match[str] | None, path: Path
) -> tuple[tuple[IdentificationRow, ...], tuple[str, ...]]:
    """Return rank-1 with its counts, if the name tells N and the rate fits the published probe list; and a note."""
    rank1 = float(cmc.y[0])
    hits = round(rank1 * MATED_PAIRS)
    # float32 keeps a rate to 6e-8, which is 0.01 of a pair.
    if name is None or not math.isclose(rank1 * MATED_PAIRS, hits, abs_tol=0.02):
        return (), (f"{path.name}: rank-1 {rank1:.6f}; its counts are not known",)
    row = IdentificationRow(int(name["distractors"]), int(name["set"]), rate(hits, MATED_PAIRS), None, 0, None)
    return (row,), (f"{path.name}: counts worked out from the rate, of {MATED_PAIRS:,} pairs; ties are not known",)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DevkitError(f"{printable(path)}: not a readable JSON file ({error})") from error
    if not isinstance(record, dict):
        raise DevkitError(f"{printable(path)}: not a JSON object of lists")
    return record


def _write_json(path: Path, record: Mapping[str, Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record), encoding="utf-8")
