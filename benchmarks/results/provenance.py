"""Runs a benchmark and writes what it found: results.json with where it came from, and the CSVs."""

import hashlib
import platform
import resource
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.results.results import FILES, DataUsed, ModelUsed, Provenance, Results, write_results
from faceid.feature_set import FeatureSet
from indexer.errors import FaceIdError, ModelMismatch
from indexer.text import printable

# What can change a figure: the arithmetic, the networks, the decoders.
PACKAGES = ("faceid-engine", "numpy", "scipy", "numba", "torch", "onnxruntime", "opencv-python-headless", "pillow")
BLOCK_BYTES = 2**20


class OutputError(FaceIdError):
    """A folder that results cannot be written to."""


@dataclass(frozen=True)
class Run:
    """What was found, and where it came from."""

    results: Results
    provenance: Provenance


def run_benchmark(
    measure: Callable[[], Results],
    inputs: Sequence[tuple[str, FeatureSet]],
    folder: Path,
    files: Sequence[tuple[str, Path]] = (),
    model: ModelUsed | None = None,
) -> Run:
    """Measure, and write results.json and the CSVs to the folder.

    `inputs` and `files` are what was used, each with its role (`probes`, `pairs` ...); they and the time of `measure`
    go into the provenance. `model` is the one that embeds while it measures, where one does. Raises ModelMismatch
    before anything is measured where two inputs are of different models, OutputError where the folder cannot be made,
    or one of `files` would be written over.
    """
    make_folder(folder)
    ours = {(folder / name).resolve() for name in FILES}
    for role, path in files:
        if path.resolve() in ours:
            raise OutputError(f"{printable(path)} ({role}) would be lost to the results; name another folder")
    model = model or _only_model(inputs)
    data = [DataUsed(role, Path(one.source).name, one.digest, len(one)) for role, one in inputs]
    data += [_file_used(role, path) for role, path in files]
    start = time.perf_counter()
    results = measure()
    seconds = round(time.perf_counter() - start, 3)
    notes = [note for _, one in inputs for note in one.notes]
    results = replace(results, notes=tuple(dict.fromkeys([*notes, *results.notes])))
    provenance = Provenance(
        model=model,
        data=tuple(data),
        versions=package_versions(),
        seconds=seconds,
        peak_memory_bytes=peak_memory(),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_results(results, provenance, folder)
    return Run(results, provenance)


def make_folder(folder: Path) -> None:
    """Make the folder that results go to, before hours are spent on them. Raises OutputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{printable(folder)}: cannot be made ({error.strerror}); name another folder") from error


def run_name(features: FeatureSet) -> str:
    """Return what a run is called in reports: its model, or where that is not known, the features' file."""
    return features.model.name if features.model is not None else Path(features.source).stem


def _only_model(inputs: Sequence[tuple[str, FeatureSet]]) -> ModelUsed | None:
    """Return the model of the inputs, if they tell; they must agree, and have as many numbers a row."""
    known = [(role, one.source, one.model) for role, one in inputs if one.model is not None]
    for role, source, model in known[1:]:
        if model.digest != known[0][2].digest:
            raise ModelMismatch(
                f"{source} ({role}) was embedded by {model.name} ({model.digest}), {known[0][1]} ({known[0][0]}) by"
                f" {known[0][2].name} ({known[0][2].digest}): embed both with one model"
            )
    for role, one in inputs[1:]:
        if one.features.shape[1] != inputs[0][1].features.shape[1]:
            raise ModelMismatch(
                f"{one.source} ({role}) has {one.features.shape[1]} numbers a row, {inputs[0][1].source}"
                f" ({inputs[0][0]}) {inputs[0][1].features.shape[1]}: embed both with one model"
            )
    return ModelUsed(known[0][2].name, known[0][2].digest) if known else None


def _file_used(role: str, path: Path) -> DataUsed:
    digest, lines = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            lines += block.count(b"\n")
    return DataUsed(role, printable(path.name), digest.hexdigest(), lines)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a figure, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def peak_memory() -> int:
    """Return the highest resident memory of this process so far, in bytes (mapped files count while they are in)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
