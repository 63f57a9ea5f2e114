"""Running the command line in this process, and a gallery that it has enrolled."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from faceid.cli import cli


@dataclass(frozen=True)
class Outcome:
    """What a command printed and its exit code."""

    code: int
    stdout: str
    stderr: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON Lines on stdout."""
        return [json.loads(line) for line in self.stdout.splitlines()]


Run = Callable[..., Outcome]


@pytest.fixture
def run(with_models: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `faceid ARGUMENTS...`; a traceback fails the test, whatever the command is expected to say."""
    for variable in ("FACEID_GALLERY", "FACEID_MODEL", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Outcome:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="faceid")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def enrolled(lfw_people: Path, models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of the twelve people's first photos; copy it before changing it."""
    root = tmp_path_factory.mktemp("enrolled")
    people = first_photos(lfw_people, root / "people", sorted(path.name for path in lfw_people.iterdir()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEID_MODELS", str(models_dir))
        arguments = ["enroll", people, "--gallery", root / "gallery", "--model", "mobilefacenet", "--faces", "centre"]
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return root / "gallery"


@pytest.fixture
def gallery(enrolled: Path, tmp_path: Path) -> Path:
    """A copy of that gallery for this test alone."""
    return Path(shutil.copytree(enrolled, tmp_path / "gallery"))


def first_photos(lfw_people: Path, folder: Path, names: Sequence[str]) -> Path:
    """Copy the first photo of each of these people into a folder per person."""
    for name in names:
        (folder / name).mkdir(parents=True)
        shutil.copy(lfw_people / name / f"{name}_0001.jpg", folder / name)
    return folder
