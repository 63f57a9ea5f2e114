"""A training config is checked to the last key before anything runs."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from training.augment import Augmentation
from training.config import read_config
from training.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"
MINIMAL = {
    "name": "tiny",
    "data": {"training": ["a.tar"], "validation": ["b.tar"]},
    "network": {"name": "sphereface4", "arguments": {"input_size": [64, 64]}},
    "head": {"name": "asoftmax"},
    "epochs": 1,
    "batch_size": 8,
}


def written(folder: Path, record: object) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(record), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_configs_of_the_project_are_good(path: Path) -> None:
    assert read_config(path).name


def test_packs_are_sought_beside_the_config(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, MINIMAL)).data.training == (tmp_path / "a.tar",)


def test_a_path_may_begin_at_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = read_config(written(tmp_path, MINIMAL | {"cache": "~/cache", "initial": "~/runs/one/best.safetensors"}))
    assert config.cache == tmp_path / "home" / "cache"
    assert config.initial == tmp_path / "home" / "runs" / "one" / "best.safetensors"


@pytest.mark.parametrize("path", ["", "$FACES"])
def test_a_path_of_an_empty_variable_does_not_mean_the_configs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("FACES", "")
    record = MINIMAL | {"data": {"training": [path], "validation": ["b.tar"]}}
    with pytest.raises(ConfigError, match=r"data\.training.*which is empty"):
        read_config(written(tmp_path, record))


def test_what_is_not_said_has_the_default(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, MINIMAL))
    assert config.augmentation == Augmentation()
    assert config.optimiser.momentum == 0.9
    assert config.optimiser.weight_decay == 5e-4


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"learning_rate": 0.1}, "unknown key 'learning_rate'"),
        ({"optimiser": {"rate": 0.1}}, "unknown key 'optimiser.rate'; known are peak_rate"),
        ({"augmentation": {"fog": 1}}, "unknown key 'augmentation.fog'"),
        ({"epochs": "many"}, "epochs: Expected `int`, got `str`"),
        ({"epochs": 2.5}, "epochs: Expected `int`"),
        ({"epochs": True}, "epochs: Expected `int`"),
        ({"epochs": 0}, "epochs must be 1 or more"),
        ({"batch_size": -1}, "batch_size must be 1 or more"),
        ({"precision": "float16"}, "precision is float32, bfloat16 or auto"),
        ({"ema": 1.0}, "ema lies in 0..1"),
        ({"device": "tpu"}, "device is cpu or cuda"),
        ({"device": "cuda"}, "threads must be 1 on a GPU"),
        ({"class_shards": {"sampling_rate": 0}}, "sampling_rate lies above 0"),
        ({"head": None, "distill": {"teacher": "a"}, "class_shards": {}}, "class_shards needs a head"),
        ({"photos_per_identity": 3}, "a batch of 8 does not hold 3 photos each"),
        ({"photos_per_identity": 8}, "of two people or more"),
        ({"distill": {"weight": 1}}, "distill: give a teacher, or the targets that one made"),
        ({"distill": {"teacher": "a", "targets": "b"}}, "not both"),
        ({"distill": {"targets": "b", "components": 8}}, "targets have been cut to theirs"),
        ({"initial": 3}, "initial: Expected the path of a file, got 3"),
        ({"data": {"training": ["a.tar"]}}, "data: Object missing required field `validation`"),
        ({"data": {"training": "a.tar", "validation": []}}, "data.training: Expected `array`, got `str`"),
        ({"network": {"name": "sphereface4"}}, "needs input_size"),
        ({"network": {"name": "sphereface4", "arguments": {"input_size": 64}}}, "input_size is [height, width]"),
        ({"network": {"name": "sphereface4", "arguments": {"input_size": [64, 0]}}}, "input_size is [height, width]"),
        ({"optimiser": {"clip_norm": float("nan")}}, "optimiser.clip_norm must be a finite number"),
        ({"optimiser": {"warmup_epochs": float("inf")}}, "optimiser.warmup_epochs must be a finite number"),
        ({"optimiser": {"momentum": -0.9}}, "optimiser.momentum must be 0 or more"),
        (
            {"head": {"name": "cosface", "arguments": {"margin": float("nan")}}},
            "head.arguments.margin must be a finite",
        ),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"data": {"training": [], "validation": [], "side": 0}}, "data.side must be 1 or more"),
        ({"network": "sphereface4"}, "network: Expected `object`, got `str`"),
    ],
)
def test_a_mistake_is_refused_with_file_and_key(tmp_path: Path, change: dict[str, object], text: str) -> None:
    path = written(tmp_path, MINIMAL | change)
    with pytest.raises(ConfigError) as raised:
        read_config(path)
    assert text in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_key_that_is_there_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    lines = len(path.read_text(encoding="utf-8").splitlines())
    path.write_text(f"{path.read_text(encoding='utf-8')}epochs: 30\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"line {lines + 1}: the key epochs is there twice"):
        read_config(path)


@pytest.mark.parametrize("number", ["1e-3", "1E-3", ".1e-2", "1.e-3", "0.01e-1", "+1e-3"])
def test_a_number_is_one_with_or_without_a_dot(tmp_path: Path, number: str) -> None:
    path = written(tmp_path, MINIMAL)
    path.write_text(f"{path.read_text(encoding='utf-8')}optimiser: {{peak_rate: {number}}}\n", encoding="utf-8")
    assert read_config(path).optimiser.peak_rate == 0.001


@pytest.mark.parametrize("text", ["epochs: [", "- a list", ""])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_config(path)


def test_every_amount_of_chance_has_a_meaning_written_down() -> None:
    assert Augmentation.__doc__ is not None
    assert all(f"{each.name}: " in Augmentation.__doc__ for each in fields(Augmentation))
