"""Real networks and engines for the tests of the pipeline and of the command line; drawn people need no given data."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.demo.people import write_people
from faceid.engine import FaceEngine
from faceid.models.model_file import write_model
from faceid.models.model_zoo import find_model, import_onnx
from tests.conftest import SHARED


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory that holds `mobilefacenet`: the given network, else the shipped one under that name."""
    folder = tmp_path_factory.mktemp("models")
    if SHARED.is_dir():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FACEID_MODELS", str(folder))
            import_onnx(SHARED / "weights" / "mobilefacenet.onnx", input_size=(112, 112))
    else:
        shipped = find_model()
        spec = replace(shipped.spec, name="mobilefacenet", calibrations=(), accuracies=())
        write_model(folder / "mobilefacenet.safetensors", spec, shipped.tensors())
    return folder


@pytest.fixture
def with_models(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine find those models."""
    monkeypatch.setenv("FACEID_MODELS", str(models_dir))


@pytest.fixture(scope="session")
def engine(models_dir: Path) -> FaceEngine:
    """An engine with that `mobilefacenet`."""
    return FaceEngine(models_dir / "mobilefacenet.safetensors")


@pytest.fixture(scope="session")
def drawn_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six people who do not exist, with three photos each: person-0001/1.jpg .. person-0006/3.jpg."""
    folder = tmp_path_factory.mktemp("drawn") / "people"
    write_people(folder, 6, 3, seed=5)
    return folder


@pytest.fixture(scope="session")
def shipped_engine() -> FaceEngine:
    """An engine with the model that ships."""
    return FaceEngine()
