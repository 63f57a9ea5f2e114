"""From a checkpoint to a model file: the network without its head, in float16, with all that an embedder must know."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from faceid.models.model_file import Accuracy, Flip, Model, ModelSpec, digest_of_weights, write_model
from faceid.models.model_zoo import load_calibrations
from faceid.models.networks import build_network
from faceid.vision.alignment import centre_points
from training.checkpoint import Checkpoint, read_checkpoint
from training.errors import CheckpointError, ConfigError
from training.logs import whole_rows
from training.network_input import MEAN, STD
from training.trainer import BEST, CHECKPOINT, VALIDATION_LOG

MEASURES = {
    "accuracy": "verification accuracy, ten folds of pairs, no flip",
    "tar": "TAR at FAR 1e-3, all pairs, no flip",
    "low_tar": "TAR at FAR 1e-4, all pairs, no flip",
    "rank1": "rank-1, one enrolled photo a person, no flip",
    "fnir": "FNIR at FPIR 1 %, half of the people enrolled with a photo each, no flip",
}


def export_model(
    folder: Path,
    output: Path,
    *,
    training_data: str,
    licence: str,
    best: bool = False,
    flip: Flip = "sum",
    table_of: Model | None = None,
    accuracies: Sequence[Accuracy] = (),
) -> Model:
    """Write the network of a run's checkpoint as a model file; the model is called as the file is.

    Matrices and filters are stored as float16; what is small or spans many orders of magnitude (biases, slopes,
    BatchNorm) stays float32. Crops must be aligned as the packs are: to the 112x112 reference points, scaled.

    Args:
        folder: of the run.
        output: the model file to write.
        training_data: what the network has seen, in words.
        licence: of the weights.
        best: take the checkpoint with the best validation instead of the last one.
        flip: what becomes of the mirrored crop's features.
        table_of: an earlier export of the same network, calibrated since: its threshold table goes along.
        accuracies: what has been measured since; the run's own validation stands before them.

    Raises:
        CheckpointError: no checkpoint, or a torn one, or its weights do not fit its config.
        ConfigError: `table_of` is another network, whose thresholds say nothing of this one, or has no table.
        ModelError: the file cannot be written.
    """
    file = folder / (BEST if best else CHECKPOINT)
    checkpoint = read_checkpoint(file)
    network = checkpoint.config["network"]
    height, width = network["arguments"]["input_size"]
    try:
        dimension = _dimension(checkpoint, (height, width))
    except RuntimeError as error:
        raise CheckpointError(f"{file}: its weights do not fit its config ({error})") from error
    spec = ModelSpec(
        name=output.stem,
        architecture=network["name"],
        arguments=network["arguments"],
        input_size=(height, width),
        colour="rgb",
        mean=MEAN,
        std=STD,
        reference_points=centre_points(height, width),
        flip=flip,
        dimension=2 * dimension if flip == "concat" else dimension,
        head=_learned_from(checkpoint.config),
        training_data=f"{training_data} [{_run_in_words(checkpoint)}]",
        accuracies=(*_accuracies(folder / VALIDATION_LOG, checkpoint.step), *accuracies),
        licence=licence,
    )
    tensors = {name: _stored(tensor) for name, tensor in _weights(checkpoint).items()}
    if table_of is not None:
        spec = replace(spec, calibrations=_table(table_of, spec, tensors))
    return write_model(output, spec, tensors)


def _table(earlier: Model, spec: ModelSpec, tensors: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Any], ...]:
    """Return the threshold table of an earlier export; ConfigError unless it was measured with this very network."""
    measured = earlier.weights_digest, earlier.spec.input_size, earlier.spec.flip
    if measured != (digest_of_weights(tensors), spec.input_size, spec.flip):
        raise ConfigError(
            f"{earlier.path} is not this network with flip {spec.flip}: its thresholds say nothing of this one; export "
            "without a table, run `faceid models calibrate` with that, and take its table"
        )
    calibrations = load_calibrations(earlier)
    if not calibrations:
        raise ConfigError(f"{earlier.path} has no threshold table; run `faceid models calibrate` with it first")
    return tuple(calibration.to_record() for calibration in calibrations)


def _dimension(checkpoint: Checkpoint, size: tuple[int, int]) -> int:
    """Build the network to see that the weights fit; length of its embeddings."""
    network = build_network(checkpoint.config["network"]["name"], **checkpoint.config["network"]["arguments"])
    network.load_state_dict(_weights(checkpoint))
    network.eval()
    with torch.inference_mode():
        return int(network(torch.zeros(1, 3, *size)).shape[1])


def _weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Take the averaged weights where the run kept an average: they are what it validated."""
    return checkpoint.average or checkpoint.network


def _stored(tensor: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.numpy()
    return array.astype(np.float16) if tensor.is_floating_point() and tensor.ndim > 1 else array


def _learned_from(config: Mapping[str, Any]) -> str:
    """Head and teacher in words."""
    head, distill = config.get("head"), config.get("distill")
    parts = [f"{head['name']} {head['arguments']}"] if head else []
    if distill:
        teacher = distill["teacher"] or Path(distill["targets"]).stem
        parts.append(f"distilled from {teacher}, weight {distill['weight']}")
    return "; ".join(parts)


def _run_in_words(checkpoint: Checkpoint) -> str:
    """Name the run so that it can be told from every other one."""
    config = checkpoint.config
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    faces = f"{checkpoint.faces} faces" if checkpoint.faces else "faces"  # the first checkpoints do not say how many
    return (
        f"run {config['name']}: {faces} of {len(checkpoint.identities)} people, step "
        f"{checkpoint.step} of {config['epochs']} epochs, batch {config['batch_size']}, seed {config['seed']}, "
        f"config sha256 {digest[:16]}"
    )


def _accuracies(log: Path, step: int) -> tuple[Accuracy, ...]:
    """Read the validation figures of the checkpoint's step, where the run has measured them."""
    rows = [row for row in whole_rows(log) if int(row["step"]) == step]
    date = datetime.now(UTC).date().isoformat()
    return tuple(
        Accuracy(measure, float(row[name]), "the run's validation packs, people not trained on", date)
        for row in rows
        for name, measure in MEASURES.items()
        if not math.isnan(float(row[name]))  # too few pairs
    )
