"""`faceid models ...`: networks from elsewhere come in, and get their threshold table."""

import shutil
from pathlib import Path

import pytest

from tests.faceid.cli.conftest import Run


@pytest.fixture
def own_models(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Path:
    folder = Path(shutil.copytree(models_dir, tmp_path / "models"))
    monkeypatch.setenv("FACEID_MODELS", str(folder))
    return folder


def test_import_names_the_model_after_its_file_and_says_what_comes_next(
    run: Run, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEID_MODELS", str(tmp_path / "models"))
    network = shared / "weights" / "mobilefacenet.onnx"
    outcome = run("models", "import", network, "--input", "112x112", "--rgb", "--mean", "127.5", "--std", "128")
    assert outcome.code == 0
    assert "faceid models calibrate mobilefacenet" in outcome.stderr
    (listed,) = [record for record in run("models", "list", "--json").records if record["name"] == "mobilefacenet"]
    assert (listed["architecture"], listed["dimension"], listed["input"]) == ("onnx", 128, "112x112")
    assert run("models", "import", network).code == 1, "the name is taken"


def test_info_and_verify_tell_the_same_digest(run: Run, own_models: Path) -> None:
    (info,) = run("models", "info", "mobilefacenet", "--json").records
    verified = run("models", "verify", "mobilefacenet")
    assert verified.code == 0
    assert info["digest"] in verified.stderr


def test_a_damaged_model_is_listed_with_its_error(run: Run, own_models: Path) -> None:
    (own_models / "torn.safetensors").write_bytes((own_models / "mobilefacenet.safetensors").read_bytes()[:1000])
    listed = {record["name"]: record for record in run("models", "list", "--json").records}
    assert listed["torn"]["error"]
    assert listed["mobilefacenet"]["error"] is None
    assert run("models", "verify", "torn").code == 1


def test_a_table_from_labelled_photos_serves_verify_or_says_how_many_are_needed(
    run: Run, own_models: Path, lfw_people: Path
) -> None:
    outcome = run("models", "calibrate", "mobilefacenet", "--photos", lfw_people, "--faces", "centre", "--json")
    assert outcome.code == 0
    rows = {(row["target"], row["value"]): row for row in outcome.records}
    # 12 people make 66 pairs: enough for 1 in 10 (needs 30), not for 1 in 100 (needs 300).
    assert rows["far", 0.01]["basis"] == "refused"
    assert "300" in rows["far", 0.01]["reason"]
    photo, again = sorted(next(lfw_people.iterdir()).iterdir())[:2]
    (record,) = run("verify", photo, again, "--model", "mobilefacenet", "--far", "0.1", "--json").records
    assert record["threshold_source"]["kind"] == "model"
    assert record["threshold_source"]["trials"] == 66
    assert run("verify", photo, again, "--model", "mobilefacenet", "--far", "1e-4").code == 1


@pytest.mark.parametrize("size", ["112", "112x", "axb", "112x112x3", "\u00b2x\u00b2", f"{'9' * 5000}x1"])
def test_a_size_that_is_none_is_a_usage_error(run: Run, shared: Path, size: str) -> None:
    assert run("models", "import", shared / "weights" / "mobilefacenet.onnx", "--input", size).code == 2


def test_a_network_beside_the_one_that_is_calibrated_is_not_taken_without_a_word(run: Run, lfw_people: Path) -> None:
    outcome = run("models", "calibrate", "mobilefacenet", "--photos", lfw_people, "--model", "sphereface")
    assert outcome.code == 2
    assert "--model" in outcome.stderr


def test_photos_that_lie_in_no_persons_folder_are_told_and_not_only_that_people_are_missing(
    run: Run, tmp_path: Path, own_models: Path, lfw_people: Path
) -> None:
    photo = next(next(lfw_people.iterdir()).iterdir())
    (tmp_path / "photos").mkdir()
    shutil.copy(photo, tmp_path / "photos" / "loose.jpg")
    outcome = run("models", "calibrate", "mobilefacenet", "--photos", tmp_path / "photos")
    assert outcome.code == 1
    assert "1 photo gave no face" in outcome.stderr
    assert "loose.jpg: not in a person's folder" in outcome.stderr
