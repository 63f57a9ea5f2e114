"""The README's tour: every command is run, and prints what the README shows."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.demo.cast import SEED
from benchmarks.demo.people import write_people
from faceid.cli import cli

README = Path(__file__).parents[1] / "README.md"


def tour() -> Iterator[tuple[str, str]]:
    """Yield the commands of the tour with what the README shows of their output."""
    section = README.read_text(encoding="utf-8").split("## A tour\n")[1].split("\n## ")[0]
    for block in re.findall(r"```console\n(.*?)```", section, flags=re.DOTALL):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = step.partition("\n")
            yield command, shown


def as_pattern(shown: str) -> str:
    """Return a pattern for the shown output: `...` stands for any lines, a time for any time."""
    lines = []
    for line in shown.splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
        else:
            escaped = re.escape(line.rstrip())
            lines.append(re.sub(r"\d{4}\\-\d\d\\-\d\d(?:T[\d:]+Z)?", r"[\\dTZ:-]+", escaped) + r" *\n")
    return "".join(lines)


def test_the_tour_prints_what_the_readme_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("FACEID_GALLERY", "FACEID_MODEL", "FACEID_MODELS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    steps = list(tour())
    assert len(steps) > 8
    for command, shown in steps:
        if command == "faceid demo --output tour":
            # The demo has tests of its own; the tour needs some of the people that it draws.
            write_people(tmp_path / "tour" / "people", 40, 5, SEED)
            write_people(tmp_path / "tour" / "strangers", 60, 1, SEED + 1, prefix="stranger")
            write_people(tmp_path / "tour" / "others", 64, 1, SEED + 2, prefix="other")
        elif command.startswith("faceid "):
            result = CliRunner().invoke(cli, command.split()[1:], prog_name="faceid")
            assert result.exit_code == 0, f"{command}\n{result.stderr}"
            assert re.fullmatch(as_pattern(shown), result.stdout), f"{command}\n{result.stdout}\nis not\n{shown}"
        else:
            subprocess.run(command, shell=True, check=True)
