"""README, how-to pages and some others: every command and Python block is run, and prints what the page shows."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from benchmarks.demo.cast import SEED
from benchmarks.demo.people import write_people
from faceid.cli import cli
from tests.postgres_server import postgres

__all__ = ["postgres"]

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{page}.md" for page in ("python", "protection", "cancelable-templates")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language (the fence's first word) and its text."""

    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for language, text in re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.M):
        yield Block(language, text)


def steps(block: Block) -> Iterator[tuple[str, str]]:
    """Yield the commands of a console block with what the page shows of their output."""
    for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
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


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a page's reader has at hand: folders `people`, `strangers`, and `visitor.jpg`, one of the people."""
    folder = tmp_path_factory.mktemp("reader")
    write_people(folder / "people", 4, 4, SEED)
    write_people(folder / "strangers", 40, 1, SEED + 1, prefix="stranger")
    shutil.move(folder / "people" / "person-0001" / "4.jpg", folder / "visitor.jpg")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_pages_commands_and_code_do_what_the_page_shows(
    page: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if page.stem == "postgresql":
        server = urlsplit(request.getfixturevalue("postgres"))
        monkeypatch.setenv("PGHOST", parse_qs(server.query)["host"][0])
        monkeypatch.setenv("PGUSER", server.username or "")
    for variable in [name for name in os.environ if name.startswith("FACEID_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    # `faceid` in a shell line is the one of this environment.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    shutil.copytree(drawn, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        if block.language == "console":
            for command, shown in steps(block):
                if command.startswith("export "):
                    monkeypatch.setenv(*command.removeprefix("export ").split("="))
                else:
                    _check(command, shown)
        if block.language == "python":
            with redirect_stdout(StringIO()):
                exec(compile(block.text, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_block_that_is_not_run_says_what_it_needs(page: Path) -> None:
    for block in blocks(page):
        if block.language == "sh":
            first = block.text.splitlines()[0]
            assert first.startswith(("# needs ", "pip install ", "make ")), first


def _check(command: str, shown: str) -> None:
    if command == "faceid demo --output tour":
        # The demo has tests of its own; the tour needs some of the people that it draws.
        write_people(Path("tour/people"), 40, 5, SEED)
        write_people(Path("tour/strangers"), 60, 1, SEED + 1, prefix="stranger")
        write_people(Path("tour/others"), 64, 1, SEED + 2, prefix="other")
        return
    words = shlex.split(command)
    if words[0] == "faceid" and not set(words) & {"|", ">", "<", "&&", "||", ";", "2>"}:
        result = CliRunner().invoke(cli, words[1:], prog_name="faceid")
        assert result.exit_code == 0, f"{command}\n{result.stderr}"
        printed = result.stdout
    else:
        printed = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
    if shown:
        assert re.fullmatch(as_pattern(shown), printed), f"{command}\n{printed}\nis not\n{shown}"


def test_the_page_on_settings_names_every_variable_that_is_read() -> None:
    named = set(re.findall("FACEID_[A-Z_]+", (ROOT / "docs" / "how-to" / "settings.md").read_text()))
    sources = [file.read_text() for room in ("faceid", "indexer") for file in (ROOT / room).rglob("*.py")]
    read = {name for source in sources for name in re.findall('"(FACEID_[A-Z_]+)"', source)}
    assert read - named == {"FACEID_KEY_ID"}  # given to a command that finds a key
