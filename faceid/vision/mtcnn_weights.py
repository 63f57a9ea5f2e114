"""The weights of MTCNN's three networks: one file in the package, taken only if it is the one that was shipped.

They are those of the package `mtcnn` 1.0.0 (MIT licence); `benchmarks/measurements/convert_mtcnn.py` made the file.
"""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from faceid.vision.detection import DetectorError

FILE = Path(__file__).with_name("mtcnn.safetensors")
SHA256 = "402c7c6379e85714c11a78194c06fa013a20a43898b2973fb5af7cc1f378c05b"


def load_weights() -> dict[str, NDArray[np.float32]]:
    """Return the weights by name, `pnet.conv1.weight` and so on, in PyTorch's layout.

    Raises:
        DetectorError: the file is missing, or not the one that was shipped.

    """
    try:
        content = FILE.read_bytes()
    except OSError as error:
        raise DetectorError(f"{FILE}: cannot be read ({error.strerror}); {_REINSTALL}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise DetectorError(f"{FILE}: SHA-256 {digest} is not that of the detector's weights ({SHA256}); {_REINSTALL}")
    return load(content)


_REINSTALL = "reinstall it with `pip install --force-reinstall --no-deps faceid-engine`"
