"""The detector's weights are those of the published package, layer by layer."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import pytest

from benchmarks.measurements.convert_mtcnn import LAYERS, converted, named, unpickled
from faceid.vision.mtcnn_weights import load_weights

# SHA-256 of assets/weights/*.lz4 in the wheel mtcnn-1.0.0 (PyPI, MIT licence).
PUBLISHED = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}


@pytest.mark.parametrize("network", LAYERS)
def test_the_shipped_weights_are_those_of_the_package(network):
    spec = find_spec("mtcnn")  # looked up, not imported: that would import TensorFlow
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package mtcnn is not installed")
    content = (Path(spec.submodule_search_locations[0]) / "assets" / "weights" / f"{network}.lz4").read_bytes()
    assert hashlib.sha256(content).hexdigest() == PUBLISHED[network]

    theirs = named(network, unpickled(content))

    ours = {name.removeprefix(f"{network}."): array for name, array in load_weights().items() if network in name}
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])


def test_another_wheel_is_not_opened(tmp_path):
    wheel = tmp_path / "mtcnn-1.0.0-py3-none-any.whl"
    wheel.write_bytes(b"another")
    with pytest.raises(click.ClickException, match="is not that of mtcnn"):
        converted(wheel)
