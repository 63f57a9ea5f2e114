"""A network in 8-bit integers: an ONNX file a quarter of the size of float32, with what it costs measured.

Static quantisation: weights per output channel, activations per tensor in the range that calibration faces show them in
(Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR
2018, section 2, in ONNX's form with QuantizeLinear and DequantizeLinear).
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceid.inference.onnx_session import onnx_runtime
from faceid.models.backends.onnxruntime_backend import open_session, run_with
from faceid.models.embedding import normalise
from faceid.models.model_file import ONNX, Model, ModelError
from training.augment import centre_crops
from training.data.faces import FaceSource, UInt8Images
from training.errors import ConfigError
from training.validation import Validation, validate

INPUT = "crops"  # as the exported network calls it
BATCH = 64


@dataclass(frozen=True)
class Quantised:
    """An int8 network beside the float32 one it was made of.

    Attributes:
        path: the ONNX file.
        size, size_float32: bytes of both.
        cosine, lowest_cosine: between the two embeddings of a face, mean and minimum over the validation faces.
        int8, float32: the figures on the validation people, no flip.
    """

    path: Path
    size: int
    size_float32: int
    cosine: float
    lowest_cosine: float
    int8: Validation
    float32: Validation


def quantise(
    model: Model, output: Path, calibration: FaceSource, strangers: FaceSource, *, count: int = 512
) -> Quantised:
    """Write the model's network as int8 ONNX, and measure what that costs on people it was not trained on.

    Args:
        model: one of our own networks.
        output: the ONNX file; `faceid models import` takes it, with the flip rule that one wants.
        calibration: faces that show the ranges, such as those it was trained on; `count` of them are drawn.
        strangers: faces of other people, to measure on.
        count: faces that are drawn.

    Raises:
        ConfigError: the model is an imported one, or the packages for it are missing.
        ModelError: the network cannot be exported.
    """
    onnx_runtime()  # before anything else imports it
    try:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ConfigError(f"int8 needs {error.name}; pip install 'faceid-engine[onnx]'") from error
    if model.spec.architecture == ONNX:
        raise ConfigError(f"{model.spec.name} is an imported network; quantise it with the tools it came from")
    chosen = np.sort(np.random.default_rng(0).permutation(len(calibration.labels))[:count])
    crops = centre_crops(calibration.read(chosen), model.spec.input_size)
    with TemporaryDirectory() as scratch:
        exported, prepared = Path(scratch) / "float32.onnx", Path(scratch) / "prepared.onnx"
        exported.write_bytes(model.onnx_bytes())
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)  # it advises to do what has been done
        try:
            quant_pre_process(exported, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                output,
                _Calibration(crops, model),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                # Signed weights beside unsigned activations overflow 16 bits on processors without VNNI.
                weight_type=QuantType.QUInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        finally:
            logging.getLogger().setLevel(level)
        whole = _embed(exported, model, strangers)
        size = exported.stat().st_size
    coarse = _embed(output, model, strangers)
    cosines = (whole * coarse).sum(1)
    return Quantised(
        output,
        output.stat().st_size,
        size,
        float(cosines.mean()),
        float(cosines.min()),
        validate(coarse, strangers.labels),
        validate(whole, strangers.labels),
    )


def report(quantised: Quantised) -> Iterator[str]:
    """Say what was measured, line by line."""
    yield f"{quantised.path}: {quantised.size:,} bytes, float32 {quantised.size_float32:,}"
    yield f"cosine of int8 and float32: mean {quantised.cosine:.5f}, lowest {quantised.lowest_cosine:.5f}"
    yield f"float32  {quantised.float32.text()}"
    yield f"int8     {quantised.int8.text()}"


class _Calibration:
    """Gives the calibration crops batch by batch, as ONNX Runtime asks for them."""

    def __init__(self, crops: UInt8Images, model: Model) -> None:
        parts = np.array_split(crops, max(1, len(crops) // BATCH))
        self._batches = iter([{INPUT: normalise(part, model.spec)} for part in parts])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)


def _embed(network: Path, model: Model, faces: FaceSource) -> NDArray[np.float32]:
    """Embed the centre crops: unit rows [N, D]."""
    run: Any = run_with(open_session(network.read_bytes(), str(network)), None)
    rows = []
    for start in range(0, len(faces.labels), BATCH):
        chosen = np.arange(start, min(start + BATCH, len(faces.labels)))
        rows.append(run(normalise(centre_crops(faces.read(chosen), model.spec.input_size), model.spec)))
    features = np.concatenate(rows)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ModelError(f"{network}: the network gave an embedding that is zero or not finite")
    unit: NDArray[np.float32] = (features / lengths).astype(np.float32)
    return unit
