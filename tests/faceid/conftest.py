"""Real networks and engines for the tests of the pipeline and of the command line; drawn people need no given data."""

from pathlib import Path

import pytest

from benchmarks.demo.people import write_people
from faceid.engine import FaceEngine
from faceid.models.model_zoo import import_onnx


@pytest.fixture(scope="session")
def models_dir(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory that holds the given `mobilefacenet`."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEID_MODELS", str(folder))
        import_onnx(shared / "weights" / "mobilefacenet.onnx", input_size=(112, 112))
    return folder


@pytest.fixture
def with_models(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine find those models."""
    monkeypatch.setenv("FACEID_MODELS", str(models_dir))


@pytest.fixture(scope="session")
def engine(models_dir: Path) -> FaceEngine:
    """An engine with the given `mobilefacenet`."""
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
