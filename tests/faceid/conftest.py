"""A real network and a real engine for the tests of the pipeline and of the command line."""

from pathlib import Path

import pytest

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
