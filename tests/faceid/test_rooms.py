"""A user's own folder that hides one of our packages is named."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def run_beside(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    path = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(REPOSITORY)!r}]\n"
    return subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, cwd=folder)


def test_a_folder_called_indexer_is_named_at_import(tmp_path: Path) -> None:
    (tmp_path / "indexer").mkdir()
    (tmp_path / "indexer" / "__init__.py").touch()
    ended = run_beside(tmp_path, "from faceid import Gallery")
    assert "ImportError: faceid's package 'indexer' is hidden by" in ended.stderr
    assert str(tmp_path / "indexer") in ended.stderr


def test_a_module_called_indexer_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "indexer.py").touch()
    assert str(tmp_path / "indexer.py") in run_beside(tmp_path, "import faceid").stderr


@pytest.mark.parametrize(("room", "command"), [("benchmarks", "benchmark"), ("training", "train")])
def test_a_hidden_room_of_the_command_line_is_named_by_its_commands_alone(
    tmp_path: Path, room: str, command: str
) -> None:
    (tmp_path / room).mkdir()
    (tmp_path / room / "__init__.py").touch()
    run = "sys.argv = ['faceid', {!r}, '--help']; from faceid.cli import main; main()"
    hidden = run_beside(tmp_path, run.format(command))
    assert hidden.returncode == 1
    assert f"'{room}' is hidden by {tmp_path / room}" in hidden.stderr
    assert "Traceback" not in hidden.stderr
    assert run_beside(tmp_path, run.format("enroll")).returncode == 0
