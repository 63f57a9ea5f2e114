"""Makes faceid/vision/mtcnn.safetensors of the weights in the published wheel of `mtcnn`, once and for all.

    pip download mtcnn==1.0.0 --no-deps
    python -m benchmarks.measurements.convert_mtcnn mtcnn-1.0.0-py3-none-any.whl faceid/vision/mtcnn.safetensors

The wheel (MIT licence) carries the three networks as joblib pickles, which are opened here, and only here, after the
wheel has shown its SHA-256. What comes out is in PyTorch's layout, by the names of our layers: `pnet.conv1.weight`
[out, in, kh, kw] and so on. Of the two classes (no face, face) only the difference counts, since the softmax of two is
the sigmoid of their difference: `face` has one output, the logit of a face.
"""

import hashlib
import io
import zipfile
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from indexer.durable_file import replacing

WHEEL_SHA256 = "0a96b4868e56db9ae984449519642be6dba03240e608a67e928ebb47833e9144"
FOLDER = "mtcnn/assets/weights"

# Each network's layers in the order of its arrays: a kernel and a bias, or the slope of a PReLU.
LAYERS = {
    "pnet": ("conv1", "prelu1", "conv2", "prelu2", "conv3", "prelu3", "offsets", "face"),
    "rnet": ("conv1", "prelu1", "conv2", "prelu2", "conv3", "prelu3", "dense4", "prelu4", "offsets", "face"),
    "onet": (
        *("conv1", "prelu1", "conv2", "prelu2", "conv3", "prelu3", "conv4", "prelu4", "dense5", "prelu5"),
        *("offsets", "landmarks", "face"),
    ),
}  # fmt: skip

Float32Array = NDArray[np.float32]


@click.command(help=__doc__)
@click.argument("wheel", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
def main(wheel: Path, output: Path) -> None:
    """Convert, write, and print the SHA-256 of the file."""
    content = save(converted(wheel))
    with replacing(output) as temporary:
        temporary.write_bytes(content)
    click.echo(hashlib.sha256(content).hexdigest())


def converted(wheel: Path) -> dict[str, Float32Array]:
    """Return the weights of all three networks by name; refuses any wheel but the published one."""
    content = wheel.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != WHEEL_SHA256:
        raise click.ClickException(f"{wheel}: SHA-256 {digest} is not that of mtcnn 1.0.0 ({WHEEL_SHA256})")
    weights = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for network in LAYERS:
            for name, array in named(network, unpickled(archive.read(f"{FOLDER}/{network}.lz4"))).items():
                weights[f"{network}.{name}"] = array
    return weights


def unpickled(content: bytes) -> list[Float32Array]:
    """Open one of the wheel's files: joblib's pickle of a list of arrays, in an lz4 frame."""
    import joblib
    import lz4.frame

    arrays: list[Float32Array] = joblib.load(io.BytesIO(lz4.frame.decompress(content)))
    return arrays


def named(network: str, arrays: list[Float32Array]) -> dict[str, Float32Array]:
    """Name the arrays of a network, in PyTorch's layout."""
    remaining = iter(arrays)
    weights = {}
    for layer in LAYERS[network]:
        if layer.startswith("prelu"):  # [1, 1, out] or [out]
            weights[f"{layer}.weight"] = next(remaining).reshape(-1)
            continue
        kernel, bias = next(remaining), next(remaining)
        # Convolution [kh, kw, in, out] -> [out, in, kh, kw], dense [in, out] -> [out, in].
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        if layer == "face":
            kernel, bias = kernel[1:] - kernel[:1], bias[1:] - bias[:1]
        weights[f"{layer}.weight"], weights[f"{layer}.bias"] = np.ascontiguousarray(kernel), bias
    assert next(remaining, None) is None
    return weights


if __name__ == "__main__":
    main()
