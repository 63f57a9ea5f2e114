"""What the `train` commands refuse before they work for hours."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from training.commands import train


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "CONFIG", "-o", "out", "--within", "nan"], "nan is not a finite number"),
        (["run", "CONFIG", "-o", "out", "--within", "inf"], "'--within'"),
        (["clean", "CONFIG", "--model", "m", "-o", "out", "--limit", "nan"], "nan is not a finite number"),
        (["pack", "CONFIG", "--model", "m", "-o", "out", "--cosine", "nan"], "nan is not a finite number"),
        (["pack", "CONFIG", "--model", "m", "-o", "out", "--part-mib", "nan"], "nan is not a finite number"),
        (["pack", "CONFIG", "--model", "m", "-o", "out", "--part-mib", "-1"], "'--part-mib'"),
        (["toy", "-o", "toy.png", "--seed", "-1"], "'--seed'"),
        (["toy", "-o", "toy.txt"], "does not end in .png"),
        (["angles", "CONFIG", "-o", "angles.txt"], "does not end in .png"),
        (["export", ".", "-o", "mine.onnx", "--training-data", "a"], "does not end in .safetensors"),
    ],
)
def test_a_number_or_a_file_that_cannot_be_is_a_usage_error(tmp_path: Path, arguments: list[str], text: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("name: x\n", encoding="utf-8")
    result = CliRunner().invoke(train, [str(config) if each == "CONFIG" else each for each in arguments])
    assert result.exit_code == 2, result.output
    assert text in result.output


@pytest.mark.parametrize("text", ["{}", "\ufeff[]", '[{"measure": NaN}]', '[{"x": ' + "[" * 100_000], ids=range(4))
def test_accuracies_that_are_none_are_a_usage_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    options = ["-o", "m.safetensors", "--training-data", "x", "--accuracies", str(tmp_path / "a.json")]
    result = CliRunner().invoke(train, ["export", str(tmp_path), *options])
    assert result.exit_code == 2, result.output
    assert "not a list of measured accuracies" in result.output
