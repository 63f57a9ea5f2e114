"""An int8 network is a quarter of the size, close to its float32 one, and is measured and imported like any other."""

from pathlib import Path

import pytest

from faceid.models.embedding import Embedder
from faceid.models.model_file import read_model
from faceid.models.model_zoo import find_model, import_onnx
from tests.training.tiny_run import SIDE, write_teacher
from training.augment import centre_crops
from training.data.pack import read_packs
from training.errors import ConfigError
from training.research.quantise import Quantised, quantise, report


@pytest.fixture(scope="module")
def quantised(packs: Path, tmp_path_factory: pytest.TempPathFactory) -> Quantised:
    folder = tmp_path_factory.mktemp("int8")
    model = write_teacher(folder / "whole.safetensors", width=1.0)
    faces, strangers = (read_packs([packs / f"{name}.tar"], side=SIDE) for name in ("training", "validation"))
    return quantise(model, folder / "whole-int8.onnx", faces, strangers, count=32)


def test_int8_is_a_quarter_of_the_size_and_hardly_another_direction(quantised: Quantised) -> None:
    assert quantised.size < 0.3 * quantised.size_float32
    assert 0.99 < quantised.lowest_cosine <= quantised.cosine < 1
    assert quantised.int8.accuracy == pytest.approx(quantised.float32.accuracy, abs=0.05)
    assert [line.split()[0] for line in report(quantised)][2:] == ["float32", "int8"]


def test_an_int8_network_is_imported_and_embeds_as_the_float32_one(
    quantised: Quantised, packs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FACEID_MODELS", str(tmp_path))
    imported = import_onnx(quantised.path, "small")
    crops = centre_crops(read_packs([packs / "validation.tar"], side=SIDE).images, (32, 32))
    whole = Embedder(read_model(quantised.path.with_name("whole.safetensors"))).embed(crops)
    assert (Embedder(imported).embed(crops) * whole).sum(1).min() == pytest.approx(quantised.lowest_cosine, abs=1e-3)
    assert find_model("small").spec.dimension == 12


def test_an_imported_network_is_not_quantised(
    quantised: Quantised, packs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FACEID_MODELS", str(tmp_path))
    imported = import_onnx(quantised.path, "small")
    faces = read_packs([packs / "validation.tar"], side=SIDE)
    with pytest.raises(ConfigError, match="small is an imported network"):
        quantise(imported, tmp_path / "again.onnx", faces, faces)
