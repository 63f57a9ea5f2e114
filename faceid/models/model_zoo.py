"""The models at hand, those shipped in the package and those in the user's directory: found, taken in, checked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from faceid.models.model_file import (
    NAME_PATTERN,
    ONNX,
    SUFFIX,
    Colour,
    Flip,
    Model,
    ModelError,
    check_name,
    read_model,
    verify_weights,
    write_model,
)
from faceid.models.trial_crops import trial_crops
from indexer.durable_file import replacing
from indexer.regular_file import read_regular

if TYPE_CHECKING:
    from indexer.calibration.cohort import Cohort
    from indexer.decision.decision import Calibration

DEFAULT_MODEL = "sphereface"
_COHORT = ".cohort"  # ends the stem of a file that is a model's cohort and no model

_LARGEST_TABLE = 64 << 20  # bytes of a threshold table: millions of scores


def models_directory() -> Path:
    """Return the user's directory of models: the environment's FACEID_MODELS, else the user's data directory."""
    chosen = os.environ.get("FACEID_MODELS")
    return Path(chosen) if chosen else platformdirs.user_data_path("faceid") / "models"


def find_model(name_or_path: str | Path | None = None) -> Model:
    """Read the model of this name, or in this file; None: the default model.

    A name is looked up in the user's directory first, then among the shipped models. Raises ModelError when there
    is none, or when its file is damaged.
    """
    if name_or_path is None:
        path = _path_of(DEFAULT_MODEL)
        if path is None:
            raise ModelError(
                f"the default model, {DEFAULT_MODEL}, is not installed; import one with "
                "`faceid models import NETWORK.onnx --name NAME` and use it with --model NAME"
            )
        return read_model(path)
    if is_a_file(name_or_path):
        return read_model(name_or_path)
    text = str(name_or_path)
    path = _path_of(text)
    if path is None:
        known = ", ".join(sorted(_paths())) or "none"
        raise ModelError(f"there is no model {text!r}; models here: {known}. Import one with `faceid models import`.")
    return read_model(path)


def is_a_file(name_or_path: str | Path) -> bool:
    """Say whether this is taken for a file, and not for a name."""
    text = str(name_or_path)
    return isinstance(name_or_path, Path) or text.endswith(SUFFIX) or Path(text).name != text


@dataclass(frozen=True)
class ListedModel:
    """One line of the list of models: the model, or why its file cannot be used."""

    name: str
    path: Path
    shipped: bool
    model: Model | None
    error: str | None


def list_models() -> list[ListedModel]:
    """Every model that can be named, sorted by name; a damaged file is listed with what is wrong with it."""
    shipped = _shipped_directory()
    listed = []
    for name, path in sorted(_paths().items()):
        model, error = None, None
        try:
            model = read_model(path)
        except ModelError as problem:
            error = str(problem)
        listed.append(ListedModel(name, path, path.parent == shipped, model, error))
    return listed


def import_onnx(
    source: Path | str,
    name: str | None = None,
    *,
    input_size: tuple[int, int] | None = None,
    output: str | None = None,
    colour: Colour = "rgb",
    mean: float = 127.5,
    std: float = 128.0,
    flip: Flip = "none",
    reference_points: NDArray[np.float32] | None = None,
    licence: str = "unknown",
    training_data: str = "unknown",
    replace: bool = False,
) -> Model:
    """Check someone's ONNX face network and keep it in the user's directory, to be used like any model of ours.

    Arguments as in `ModelSpec`; `name` defaults to the file's stem, `input_size` to what the network states, `output`
    to the only one, `reference_points` to the usual five points for that size. Raises ModelError when the network does
    not qualify (see `faceid.models.onnx_import.read_onnx`) or costs too much (see `import_apart`), or when the
    name is taken and `replace` is not set.
    """
    from faceid.models.import_apart import read_onnx_apart

    source = Path(source)
    if source.suffix == SUFFIX:
        raise ModelError(
            f"{source}: a model file is not imported: give its path as the model, or copy it to {models_directory()}"
        )
    name = _name_from(source.stem) if name is None else name
    check_name(name)
    if name.endswith((SUFFIX, _COHORT)):
        raise ModelError(f"{name!r} would be taken for a file, or for a cohort; choose another --name")
    taken = _path_of(name)
    if taken is not None and not replace:
        raise ModelError(f"there is a model {name!r} already ({taken}); choose another --name, or --replace it")
    spec, network = read_onnx_apart(
        source,
        name,
        input_size=input_size,
        output=output,
        colour=colour,
        mean=mean,
        std=std,
        flip=flip,
        points=reference_points,
        licence=licence,
        training_data=training_data,
    )
    return write_model(models_directory() / f"{name}{SUFFIX}", spec, {ONNX: network})


def export_model(name_or_path: str | Path, destination: Path | str) -> Path:
    """Write a model to `destination`: NAME.safetensors copies its file, NAME.onnx gives the network in ONNX.

    An imported network comes back as it was taken in; one of ours is converted. The ONNX takes
    normalised crops and gives embeddings that are not of unit length. Raises ModelError when the destination exists,
    has another ending, or cannot be written.
    """
    destination = Path(destination)
    model = find_model(name_or_path)
    if destination.suffix not in (SUFFIX, ".onnx"):
        raise ModelError(f"{destination}: a model is exported to a file that ends in {SUFFIX} or .onnx")
    if destination.exists():
        raise ModelError(f"{destination}: there is a file already; delete it first or choose another name")
    with replacing(destination) as temporary:
        if destination.suffix == SUFFIX:
            shutil.copyfile(model.path, temporary)
        else:
            temporary.write_bytes(model.onnx_bytes())
    return destination


def verify_model(name_or_path: str | Path | None = None) -> Model:
    """Check a model from the file to the embedding, and return it.

    The file is read and hashed, the weights are compared with what was written, the network is rebuilt and embeds a
    drawn face on the processor in float32. Raises ModelError, which says what is wrong.
    """
    from faceid.models.embedding import Embedder

    model = find_model(name_or_path)
    verify_weights(model)
    Embedder(model).embed(trial_crops(*model.spec.input_size)[:1])
    return model


def load_calibrations(model: Model) -> list[Calibration]:
    """Read the model's threshold table: what was measured here, else what its file came with; may be empty."""
    from indexer.decision.decision import Calibration

    path = _calibrations_path(model)
    try:
        content = read_regular(path, _LARGEST_TABLE)
    except FileNotFoundError:
        # The digest covers the header, so no record in it can state the digest: it is filled in here.
        records = [record | {"model_digest": model.digest} for record in model.spec.calibrations]
        return [Calibration.from_record(record) for record in records]
    except OSError as error:
        raise _damaged(path, error.strerror) from error
    try:
        record = json.loads(content)
        # Older files carry no checksum; a damaged name of the checksum is no older file.
        if set(record) != {"model_digest", "calibrations"} and record.pop("sha256") != _digest_of(record):
            raise ValueError("it is not as it was written")
        if record["model_digest"] != model.digest:
            raise ValueError("it belongs to another model")
        return [Calibration.from_record(each) for each in record["calibrations"]]
    # RecursionError: brackets without end.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: object) -> ModelError:
    return ModelError(f"{path}: damaged ({reason}); delete it and run `faceid models calibrate` again")


def save_calibrations(model: Model, calibrations: Sequence[Calibration]) -> Path:
    """Keep the model's threshold table beside the user's models and return its path.

    The model's own file never changes: galleries are bound to its digest. Raises ModelError when a calibration was
    measured with another model.
    """
    for calibration in calibrations:
        if calibration.model_digest != model.digest:
            raise ModelError(
                f"a calibration of model {calibration.model_digest[:12]} cannot serve {model.spec.name} "
                f"({model.digest[:12]}); run `faceid models calibrate` with this model"
            )
    records: dict[str, Any] = {
        "model_digest": model.digest,
        "calibrations": [each.to_record() for each in calibrations],
    }
    records["sha256"] = _digest_of(records)
    path = _calibrations_path(model)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(records, allow_nan=False), encoding="utf-8")
    return path


def load_cohort(model: Model) -> Cohort | None:
    """Read the model's cohort of strangers: the one made here, else the one it was shipped with; None without.

    Raises ModelError for one that is damaged or another model's.
    """
    from faceid.models.cohort_file import read_cohort

    for directory in (models_directory(), _shipped_directory()):
        path = directory / cohort_name(model)
        if path.exists():
            return read_cohort(path, model)
    return None


def save_cohort(model: Model, cohort: Cohort) -> Path:
    """Keep a cohort beside the user's models and return its path. Raises ModelError for another model's."""
    from faceid.models.cohort_file import write_cohort

    if cohort.model_digest != model.digest:
        raise ModelError(f"a cohort of model {cohort.model_digest[:12]} cannot serve {model.spec.name}")
    return write_cohort(models_directory() / cohort_name(model), cohort)


def _paths() -> dict[str, Path]:
    """Return every model file by name, the user's before the shipped ones."""
    paths: dict[str, Path] = {}
    for directory in (_shipped_directory(), models_directory()):
        if directory.is_dir():
            files = (path for path in directory.glob(f"*{SUFFIX}") if not path.stem.endswith(_COHORT))
            paths |= {path.stem: path for path in files if NAME_PATTERN.fullmatch(path.stem)}
    return paths


def _path_of(name: str) -> Path | None:
    return _paths().get(name)


def _shipped_directory() -> Path:
    return Path(str(resources.files("faceid") / "weights"))


def _digest_of(records: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()


def _name_from(stem: str) -> str:
    """Make a model's name of a file's: lower case, what a name may not hold as dashes."""
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).lstrip("._-")[:64]


def _calibrations_path(model: Model) -> Path:
    # The digest in the name keeps apart two models whose files are called alike.
    return models_directory() / f"{model.path.stem}.{model.digest[:12]}.calibration.json"


def cohort_name(model: Model) -> str:
    """Return what the file of a model's cohort is called: the digest in it keeps apart models of one name."""
    return f"{model.spec.name}.{model.digest[:12]}{_COHORT}{SUFFIX}"
