"""A model's cohort on the disk: safetensors with int8 embeddings of strangers, never photos, beside the model.

Shipped ones lie in the package beside the weights, those made by `faceid models calibrate` in the user's directory. A
cohort is bound to its model's digest and sealed by a SHA-256 over all it says.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from faceid.models.model_file import Model, ModelError
from indexer.calibration.cohort import Cohort
from indexer.durable_file import replacing
from indexer.errors import CalibrationError, FileNotWritten
from indexer.regular_file import read_regular

FORMAT_VERSION = 1

_LARGEST = 1 << 28  # bytes that are read: ten times the largest cohort of 16,384 dimensions
_TEXTS = ("model_digest", "data", "date", "detector", "precision")


def write_cohort(path: Path, cohort: Cohort) -> Path:
    """Write a cohort whole or not at all; the same one gives the same bytes. Raises ModelError."""
    arrays: dict[str, NDArray[np.generic]] = {"codes": cohort.codes, "persons": cohort.persons.astype(np.int32)}
    laws = sorted(cohort.own_scores.items())
    if laws:
        arrays["own_scores"] = np.stack([law for _, law in laws]).astype(np.float32)
    facts: dict[str, object] = {name: getattr(cohort, name) for name in _TEXTS}
    facts |= {"format_version": FORMAT_VERSION, "own_scores": [list(which) for which, _ in laws]}
    facts["sha256"] = _digest(facts, arrays)
    content = save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()},
        metadata={"faceid_cohort": json.dumps(facts, sort_keys=True)},
    )
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except FileNotWritten as error:
        raise ModelError(str(error)) from error
    return path


def read_cohort(path: Path, model: Model) -> Cohort:
    """Read a cohort and check that it is whole and the model's. Raises ModelError, which names the file."""
    try:
        content = read_regular(path, _LARGEST)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        facts = json.loads(header["faceid_cohort"])
        arrays = load(content)
        if facts["format_version"] != FORMAT_VERSION:
            raise ValueError(f"its format version is {facts['format_version']!r}, this program reads {FORMAT_VERSION}")
        if facts["sha256"] != _digest({k: v for k, v in facts.items() if k != "sha256"}, arrays):
            raise ValueError("it is not as it was written")
        if facts["model_digest"] != model.digest:
            raise ValueError(f"it belongs to another model ({facts['model_digest'][:12]})")
        laws = [(str(fusion), int(count)) for fusion, count in facts["own_scores"]]
        cohort = Cohort(
            arrays["codes"],
            arrays["persons"].astype(np.int64),
            own_scores=dict(zip(laws, arrays.get("own_scores", []), strict=True)),
            **{name: str(facts[name]) for name in _TEXTS},
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
        OverflowError,
        SafetensorError,
        CalibrationError,
    ) as error:
        raise ModelError(
            f"{path}: damaged or not this model's cohort ({error}); delete it and run"
            f" `faceid models calibrate {model.spec.name} --photos DIR`, with one folder of photos per person"
        ) from error
    if cohort.codes.shape[1] != model.spec.dimension:
        raise ModelError(f"{path}: a cohort of {cohort.codes.shape[1]} numbers a face; the model has another length")
    return cohort


def _digest(facts: dict[str, object], arrays: dict[str, NDArray[np.generic]]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
