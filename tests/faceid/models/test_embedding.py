"""An embedder gives the unit vectors one can work out by hand, the same on every backend."""

import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from faceid.inference.cpu_features import has_bfloat16
from faceid.models.embedding import BATCH, Embedder
from faceid.models.model_file import Model, ModelError, ModelSpec, write_model
from faceid.models.networks import build_network
from faceid.vision.alignment import reference_points

pytest.importorskip("onnxruntime")
from faceid.models.model_zoo import import_onnx
from tests.faceid.hand_made_network import SIDE, corner_crop, corner_network

# With mean 100 and std 25 the corner (175, -, 200) is (3, 4) to the network: a vector of length 5.
LEFT, RIGHT = (175, 9, 200), (200, 77, 175)


@pytest.fixture(autouse=True)
def models_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEID_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def needs(package: str) -> None:
    """Skip where a package is missing, without importing it (OpenVINO's import reports to its makers)."""
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def corner_model(tmp_path: Path, batch: int | str = "batch", **settings: Any) -> Model:
    source = corner_network(tmp_path / "corner.onnx", batch)
    return import_onnx(source, **({"mean": 100, "std": 25} | settings))


def sphereface(tmp_path: Path, **changes: Any) -> Model:
    torch.manual_seed(1)
    network = build_network("sphereface10", width=0.25, dimension=64, input_size=(48, 32))
    values: dict[str, Any] = {
        "name": "small",
        "architecture": "sphereface10",
        "arguments": {"width": 0.25, "dimension": 64, "input_size": [48, 32]},
        "input_size": (48, 32),
        "colour": "rgb",
        "mean": 127.5,
        "std": 128.0,
        "reference_points": reference_points(32, 32),
        "flip": "sum",
        "dimension": 64,
    }
    spec = ModelSpec(**(values | changes))
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return write_model(tmp_path / "small.safetensors", spec, state)


def random_crops(count: int, model: Model) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *model.spec.input_size, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.6, 0.8]),
        ({"colour": "bgr"}, [0.8, 0.6]),
        ({"mean": 125, "std": 1}, [50 / np.hypot(50, 75), 75 / np.hypot(50, 75)]),
        ({"flip": "sum"}, [np.sqrt(0.5), np.sqrt(0.5)]),
        ({"flip": "concat"}, np.array([3, 4, 4, 3]) / np.sqrt(50)),
    ],
    ids=str,
)
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_embedding_is_the_one_worked_out_by_hand(
    tmp_path: Path, backend: Any, settings: dict[str, Any], expected: Any
) -> None:
    needs(backend)
    embedder = Embedder(corner_model(tmp_path, **settings), backend=backend)

    (embedding,) = embedder.embed(corner_crop(LEFT, RIGHT)[None])

    assert embedding.dtype == np.float32
    assert embedder.dimension == len(expected)
    np.testing.assert_allclose(embedding, expected, atol=1e-6)


@pytest.mark.parametrize("batch", ["batch", 1, 4])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_any_number_of_crops_comes_back_in_order(tmp_path: Path, backend: Any, batch: int | str) -> None:
    needs(backend)
    embedder = Embedder(corner_model(tmp_path, batch), backend=backend)
    crops = np.stack([corner_crop((100 + i, 0, 200)) for i in range(BATCH + 7)])

    embeddings = embedder.embed(crops)

    tangents = embeddings[:, 0] / embeddings[:, 1]
    np.testing.assert_allclose(tangents, np.arange(BATCH + 7) / 100, atol=1e-6)
    assert embedder.embed(crops[:0]).shape == (0, 2)


@pytest.mark.parametrize("backend", ["onnxruntime", "torch", "openvino"])
def test_our_own_network_gives_what_the_formula_says(tmp_path: Path, backend: Any) -> None:
    needs(backend)
    model = sphereface(tmp_path)
    crops = random_crops(11, model)
    torch.manual_seed(1)
    network = build_network("sphereface10", width=0.25, dimension=64, input_size=(48, 32)).eval()
    images = (torch.from_numpy(crops).permute(0, 3, 1, 2).double() - 127.5) / 128
    with torch.no_grad():
        features = network.double()(images) + network(images.flip(3))
    expected = torch.nn.functional.normalize(features).numpy()

    embeddings = Embedder(model, backend=backend).embed(crops)

    assert (embeddings * expected).sum(1).min() >= 1 - 1e-6
    np.testing.assert_allclose(np.linalg.norm(embeddings.astype(np.float64), axis=1), 1, atol=1e-6)


def test_the_size_of_the_batch_does_not_matter(tmp_path: Path) -> None:
    model = sphereface(tmp_path)
    crops = random_crops(9, model)
    embedder = Embedder(model)

    one_by_one = np.concatenate([embedder.embed(crop[None]) for crop in crops])

    np.testing.assert_allclose(embedder.embed(crops), one_by_one, atol=2e-6)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bfloat16_stays_close_and_says_so(tmp_path: Path, backend: Any) -> None:
    needs(backend)
    if backend == "openvino" and not has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    model = sphereface(tmp_path)
    crops = random_crops(11, model)

    embedder = Embedder(model, backend=backend, precision="bfloat16")

    assert (embedder.backend, embedder.precision) == (backend, "bfloat16")
    cosine = (embedder.embed(crops) * Embedder(model).embed(crops)).sum(1)
    assert 0.999 <= cosine.min() < 1 - 1e-7


def test_weights_stored_in_half_precision_are_used_in_float32(tmp_path: Path) -> None:
    model = sphereface(tmp_path)
    half = {name: tensor.astype(np.float16) for name, tensor in model.tensors().items()}
    crops = random_crops(3, model)

    rounded = Embedder(write_model(tmp_path / "half.safetensors", model.spec, half)).embed(crops)

    assert (rounded * Embedder(model).embed(crops)).sum(1).min() >= 1 - 1e-5


def test_onnx_runtime_in_float32_is_the_default(tmp_path: Path) -> None:
    ours = Embedder(sphereface(tmp_path))
    imported = Embedder(corner_model(tmp_path))

    assert (ours.backend, ours.precision) == ("onnxruntime", "float32")
    assert (imported.backend, imported.precision) == ("onnxruntime", "float32")


def test_the_fastest_precision_is_the_processors_bfloat16(tmp_path: Path) -> None:
    embedder = Embedder(sphereface(tmp_path), precision="auto")

    assert embedder.precision == ("bfloat16" if has_bfloat16() else "float32")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"backend": "torch"}, "an imported network"),
        ({"backend": "onnxruntime", "precision": "bfloat16"}, "no bfloat16"),
        ({"backend": "openvino", "device": "cuda"}, "not on cuda"),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_refused(tmp_path: Path, options: Any, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        Embedder(corner_model(tmp_path), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_gpu_is_an_error_and_not_a_slow_success(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="CUDA"):
        Embedder(sphereface(tmp_path), device="cuda")
    with pytest.raises(ModelError, match="CUDA"):
        Embedder(corner_model(tmp_path), device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA")
def test_the_gpu_agrees_with_the_processor(tmp_path: Path) -> None:
    model = sphereface(tmp_path)
    crops = random_crops(20, model)

    assert (Embedder(model, device="cuda").embed(crops) * Embedder(model).embed(crops)).sum(1).min() >= 1 - 1e-6


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((1, SIDE, SIDE, 3), np.float32),
        np.zeros((1, SIDE, SIDE + 1, 3), np.uint8),
        np.zeros((SIDE, SIDE, 3), np.uint8),
        np.zeros((1, 3, SIDE, SIDE), np.uint8),
    ],
    ids=lambda crops: f"{crops.dtype} {crops.shape}",
)
def test_crops_of_another_kind_are_refused(tmp_path: Path, crops: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        Embedder(corner_model(tmp_path)).embed(crops)


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_forty_threads_get_the_embeddings_that_one_gets(tmp_path: Path, backend: Any) -> None:
    embedder = Embedder(sphereface(tmp_path), backend=backend)
    crops = random_crops(40, embedder.model)
    alone = embedder.embed(crops)
    before = torch.get_num_threads()

    with ThreadPoolExecutor(40) as pool:
        together = np.concatenate(list(pool.map(lambda crop: embedder.embed(crop[None]), crops)))

    np.testing.assert_allclose(together, alone, atol=2e-6)
    assert torch.get_num_threads() == before


def test_an_embedding_without_direction_is_refused(tmp_path: Path) -> None:
    embedder = Embedder(corner_model(tmp_path))

    with pytest.raises(ModelError, match="zero or not finite"):
        embedder.embed(corner_crop((100, 0, 100))[None])


def test_a_network_that_overflows_is_refused(tmp_path: Path) -> None:
    source = corner_network(tmp_path / "loud.onnx", weight=3e38)
    embedder = Embedder(import_onnx(source, mean=100, std=100))

    with pytest.raises(ModelError, match="zero or not finite"):
        embedder.embed(corner_crop((255, 0, 255))[None])


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "sphereface4"},
        {"architecture": "resnet-of-my-own"},
        {"arguments": {"width": 0.5, "dimension": 64}},
        {"arguments": {"width": 0.25, "dimension": 10**12}},
        {"arguments": {"width": "wide"}},
        {"arguments": {"width": 1e300}},
        {"arguments": {"colour": "rgb"}},
        {"arguments": {"width": 0.25, "dimension": 64, "input_size": [32, 48]}},
        {"arguments": {"width": 0.25, "dimension": 64, "input_size": "48x32"}},
        {"input_size": (40, 32), "arguments": {"width": 0.25, "dimension": 64}},
    ],
    ids=str,
)
@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], backend: Any) -> None:
    with pytest.raises(ModelError, match=r"small\.safetensors"):
        Embedder(sphereface(tmp_path, **changes), backend=backend)


def test_a_network_of_another_dimension_is_refused(tmp_path: Path) -> None:
    model = sphereface(tmp_path, dimension=65)

    with pytest.raises(ModelError, match="its description says 65"):
        Embedder(model).embed(random_crops(1, model))


def test_no_engine_is_imported_before_a_network_needs_it() -> None:
    script = (
        "import sys, faceid.models.embedding, faceid.models.model_zoo\n"
        "engines = {'torch', 'onnx', 'onnxruntime', 'openvino', 'cv2', 'scipy'}\n"
        "print(sorted(engines & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_openvino_is_imported_without_its_telemetry(tmp_path: Path) -> None:
    needs("openvino")
    model = corner_model(tmp_path)
    script = (
        "import sys\n"
        "from faceid.models.embedding import Embedder\n"
        "from faceid.models.model_file import read_model\n"
        f"Embedder(read_model({str(model.path)!r}), backend='openvino')\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry.')])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_openvino_leaves_the_list_of_modules_as_it_was(tmp_path: Path) -> None:
    needs("openvino")
    Embedder(corner_model(tmp_path), backend="openvino")

    assert "openvino_telemetry" not in sys.modules or sys.modules["openvino_telemetry"] is not None


def test_the_given_network_agrees_on_real_faces(shared: Path) -> None:
    needs("openvino")
    model = import_onnx(shared / "weights" / "mobilefacenet.onnx", mean=127.5, std=128)
    crops = _faces(shared, 16)

    embedder = Embedder(model)

    embeddings = embedder.embed(crops)
    assert embeddings.shape == (16, 128)
    other = Embedder(model, backend="openvino").embed(crops)
    assert (embeddings * other).sum(1).min() >= 1 - 1e-4


def _faces(shared: Path, count: int) -> np.ndarray:
    """The first faces of the validation shard, without their 4 pixels of border."""
    import cv2

    crops = []
    with tarfile.open(shared / "data" / "faces-003.tar") as archive:
        for member in archive:
            if member.name.endswith(".webp") and (file := archive.extractfile(member)):
                image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
                crops.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)[4:-4, 4:-4])
            if len(crops) == count:
                break
    return np.stack(crops)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sphereface20", "iresnet18", "mobilefacenet"])
def test_torchs_compiler_is_not_imported_to_load_weights(tmp_path: Path, architecture: str) -> None:
    network = build_network(architecture, width=0.25, dimension=16, input_size=(32, 32))
    changes = {
        "architecture": architecture,
        "arguments": {"width": 0.25, "dimension": 16},
        "input_size": (32, 32),
        "dimension": 16,
    }
    spec = ModelSpec.from_record(sphereface(tmp_path).spec.to_record() | changes | {"input_size": [32, 32]})
    path = tmp_path / "one.safetensors"
    write_model(path, spec, {name: tensor.numpy() for name, tensor in network.state_dict().items()})
    script = (
        "import sys\n"
        "from faceid.models.embedding import Embedder\n"
        "from faceid.models.model_file import read_model\n"
        f"Embedder(read_model({str(path)!r}), backend='torch')\n"
        "print('torch._dynamo' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "False"
