"""Turns aligned crops into unit vectors: an `Embedder` runs a model's network on the program chosen for it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from faceid.inference.cpu_features import has_bfloat16
from faceid.models.backends import Network
from faceid.models.model_file import ONNX, Model, ModelError, ModelSpec

Backend = Literal["torch", "onnxruntime", "openvino"]
Precision = Literal["float32", "bfloat16"]

BATCH = 64  # crops at a time: bounds memory; larger batches are no faster (they leave the cache)


class NoEmbedding(ModelError):
    """The network gives a crop a vector that is zero or not finite; another crop may well have one."""


class Embedder:
    """A model ready to embed crops on one device.

    `backend` and `precision` are what was chosen, never "auto". float32 is the default: all backends agree in it
    to 1e-4 in cosine, so a score does not depend on the machine that enrolled. bfloat16 is several times faster on
    processors that have it; each template should be stored with the precision it was made in.
    """

    model: Model
    spec: ModelSpec
    backend: Backend
    precision: Precision
    device: str
    dimension: int

    def __init__(
        self,
        model: Model,
        device: str = "cpu",
        backend: Literal["auto"] | Backend = "auto",
        precision: Literal["auto"] | Precision = "float32",
    ) -> None:
        """Load the model's network.

        `device` is `cpu`, `cuda` or `cuda:N`. `backend` "auto" takes ONNX Runtime in float32 (PyTorch for our own
        networks on CUDA), and in bfloat16 OpenVINO where it is installed, else PyTorch. `precision` "auto" takes the
        fastest: OpenVINO where it is installed, bfloat16 where the processor and one of the two have it. Raises
        ModelError when the backend or the device is missing or cannot run this model so, or the weights do not fit.
        """
        self.model = model
        self.spec = model.spec
        self.device = device
        self.dimension = model.spec.dimension
        self.backend, self.precision = choose_backend(model, device, backend, precision)
        self._network = _load(model, device, self.backend, self.precision)

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed aligned crops: uint8 RGB [N, H, W, 3] of the model's input size -> float32 unit vectors [N, D].

        Raises NoEmbedding when an embedding is zero or not finite, ValueError when the crops are of another kind.
        """
        height, width = self.spec.input_size
        if crops.dtype != np.uint8 or crops.shape[1:] != (height, width, 3):
            raise ValueError(f"crops must be uint8 [N, {height}, {width}, 3], not {crops.dtype} {list(crops.shape)}")
        embeddings = np.empty((len(crops), self.dimension), dtype=np.float32)
        for start in range(0, len(crops), BATCH):
            batch = crops[start : start + BATCH]
            embeddings[start : start + BATCH] = self._unit(self._features(normalise(batch, self.spec)))
        return embeddings

    def _features(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the network and the flip rule: f(x), f(x) + f(mirrored x), or both after each other."""
        features = self._run(crops)
        if features.shape != (len(crops), self.spec.network_dimension):
            raise ModelError(
                f"{self.model.path}: the network gave {list(features.shape)} for {len(crops)} crops, "
                f"its description says {self.spec.network_dimension} values each; import or export it again"
            )
        if self.spec.flip == "none":
            return features
        mirrored = self._run(np.ascontiguousarray(crops[..., ::-1]))
        return features + mirrored if self.spec.flip == "sum" else np.concatenate([features, mirrored], axis=1)

    def _run(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network; what PyTorch, OpenVINO and ONNX Runtime raise becomes a ModelError."""
        try:
            return self._network(crops)
        except RuntimeError as error:
            raise ModelError(
                f"{self.model.path}: the network failed on {len(crops)} crops ({self.backend}, {self.device}): {error}"
            ) from error

    def _unit(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Divide the rows by their lengths, which are taken in float64."""
        lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise NoEmbedding(
                f"{self.model.path}: the network gave an embedding that is zero or not finite; "
                "`faceid models verify` tells whether the weights are sound"
            )
        unit: NDArray[np.float32] = (features / lengths).astype(np.float32)
        return unit


def choose_backend(
    model: Model, device: str, backend: Literal["auto"] | Backend, precision: Literal["auto"] | Precision
) -> tuple[Backend, Precision]:
    """Choose what an Embedder with these arguments runs on; ModelError where it cannot be had."""
    imported = model.spec.architecture == ONNX
    if device != "cpu" and device.partition(":")[0] != "cuda":
        raise ModelError(f"there is no device {device!r}; choose cpu, cuda or cuda:N")
    if backend == "torch" and imported:
        raise ModelError(f"{model.spec.name} is an imported network; choose the backend auto, onnxruntime or openvino")
    if backend == "openvino" and device != "cpu":
        raise ModelError(f"OpenVINO runs on the processor, not on {device}; use --device cpu or another backend")
    openvino = device == "cpu" and find_spec("openvino") is not None
    pytorch = not imported and find_spec("torch") is not None
    if precision == "auto":
        if backend == "auto" and openvino:
            backend = "openvino"
        possible = backend == "openvino" or (backend in ("auto", "torch") and pytorch)
        precision = "bfloat16" if device == "cpu" and has_bfloat16() and possible else "float32"
    if backend == "auto" and precision == "bfloat16":
        backend = "openvino" if openvino else "torch" if pytorch else "onnxruntime"
    if backend == "auto":
        backend = "onnxruntime" if device == "cpu" or imported else "torch"
    if backend == "onnxruntime" and precision == "bfloat16":
        raise ModelError(
            "ONNX Runtime has no bfloat16; use float32, or install OpenVINO (pip install 'faceid-engine[openvino]')"
        )
    return backend, precision


def normalise(crops: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    """Make of RGB crops [N, H, W, 3] what the network sees: (v - mean) / std, its colour order, [N, 3, H, W]."""
    ordered = crops if spec.colour == "rgb" else crops[..., ::-1]
    values = ordered.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    values -= np.float32(spec.mean)
    values /= np.float32(spec.std)
    return values


def _load(model: Model, device: str, backend: Backend, precision: Precision) -> Network:
    if backend == "torch":
        try:
            from faceid.models.backends import torch_backend
        except ImportError as error:
            raise ModelError(f"{model.spec.name} was to run on PyTorch, which cannot be imported ({error})") from error
        return torch_backend.load(model, device, precision)
    if backend == "openvino":
        from faceid.models.backends import openvino_backend

        return openvino_backend.load(model, precision)
    from faceid.models.backends import onnxruntime_backend

    return onnxruntime_backend.load(model, device)
