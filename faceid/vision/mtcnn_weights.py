"""Finds, checks and opens MTCNN's three weight files inside the installed `mtcnn` package, which is never imported.

Importing `mtcnn` would import TensorFlow.  The files are joblib pickles (lz4 frames), so two guards stand before
the data: the file's SHA-256 must be the published one, and the unpickler knows nothing but NumPy arrays.
"""

import hashlib
import importlib.util
import io
import math
import pickle
from pathlib import Path
from typing import Any, Literal

import lz4.frame
import numpy as np
import numpy.typing as npt

from faceid.vision.detection import DetectorError

NetworkName = Literal["pnet", "rnet", "onet"]
Float32Array = npt.NDArray[np.float32]

# SHA-256 of assets/weights/*.lz4 in the wheel mtcnn-1.0.0 (PyPI, MIT licence).
WEIGHTS_SHA256: dict[NetworkName, str] = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}


def load_weights(network: NetworkName) -> list[Float32Array]:
    """Return the arrays of one network, float32, in the order of its layers.

    A convolution is (kernel [kh, kw, in, out], bias [out]), a PReLU (slope [1, 1, out] or [out]), a dense layer
    (matrix [in, out], bias [out]): Keras's order and layout.

    Raises:
        DetectorError: the package or the file is missing, or its content is not the published one.

    """
    path = weights_folder() / f"{network}.lz4"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DetectorError(f"{path}: cannot be read ({error.strerror}); {_REINSTALL}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != WEIGHTS_SHA256[network]:
        raise DetectorError(
            f"{path}: SHA-256 {digest} is not that of mtcnn 1.0.0 ({WEIGHTS_SHA256[network]}); {_REINSTALL}"
        )
    return read_arrays(lz4.frame.decompress(content))


def weights_folder() -> Path:
    """Return the folder of the weight files in the installed package; nothing of the package is executed."""
    spec = importlib.util.find_spec("mtcnn")
    if spec is None or not spec.submodule_search_locations:
        raise DetectorError(f"the package `mtcnn`, which carries the detector's weights, is absent; {_REINSTALL}")
    return Path(spec.submodule_search_locations[0]) / "assets" / "weights"


_REINSTALL = "reinstall it with `pip install --force-reinstall --no-deps mtcnn==1.0.0`"


def read_arrays(stream: bytes) -> list[Float32Array]:
    """Read a joblib stream that holds one list of float32 arrays, and refuse anything else.

    Raises:
        DetectorError: the stream names any class or function but those that describe an array.

    """
    stored = _ArrayUnpickler(io.BytesIO(stream)).load()
    if not isinstance(stored, list):
        raise DetectorError(f"the weights hold a {type(stored).__name__}, not a list of arrays; {_REINSTALL}")
    return [item.array for item in stored]


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles joblib's description of an array, and reads the numbers that follow each description.

    joblib pickles a `NumpyArrayWrapper` in a frame of its own and writes the array's bytes right behind it, so at
    the moment the wrapper gets its state the stream stands at the numbers.
    """

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self._stream = stream

    def find_class(self, module: str, name: str) -> Any:
        """Allow three names, and answer to joblib's with a reader of our own."""
        match module, name:
            case "numpy", "ndarray":
                return np.ndarray
            case "numpy", "dtype":
                return np.dtype
            case "joblib.numpy_pickle", "NumpyArrayWrapper":
                return type("StoredArray", (_StoredArray,), {"stream": self._stream})
        raise DetectorError(f"the weights name {module}.{name}, which is no part of an array; {_REINSTALL}")


class _StoredArray:
    """One array of a joblib stream: takes joblib's description as its state, and reads the numbers."""

    stream: io.BytesIO
    array: Float32Array

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["dtype"] != np.dtype("<f4") or state["subclass"] is not np.ndarray:
            raise DetectorError(f"the weights hold an array of {state['dtype']}, not of float32; {_REINSTALL}")
        padding = self.stream.read(1)[0]  # one byte tells how many bytes were laid before the numbers to align them
        self.stream.seek(padding, io.SEEK_CUR)
        numbers = np.frombuffer(self.stream.read(4 * math.prod(state["shape"])), dtype="<f4")
        self.array = numbers.reshape(state["shape"], order=state["order"])
